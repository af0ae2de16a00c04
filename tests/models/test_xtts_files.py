"""XTTS' released files: loaded strictly, and one clear line for what is damaged, foreign or of another version."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny_xtts import random_xtts
from timbre.core.errors import ModelError
from timbre.families.xtts import load


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_xtts(tmp_path_factory.mktemp("models") / "xtts")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    for file in original.iterdir():
        (tmp_path / file.name).symlink_to(file)
    return tmp_path


def replaced(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def test_a_released_folder_loads_without_upstream_s_classes(folder: Path) -> None:
    model, settings = load.from_folder(folder)
    assert settings.model_args.gpt_layers == len(model.gpt.gpt.h)
    assert not any(name.split(".")[0] == "TTS" for name in sys.modules)
    speakers = load.stock_speakers(folder / "speakers_xtts.pth")
    assert list(speakers) == ["Claribel Dervla", "Daisy Studious"]
    assert speakers["Daisy Studious"].vector.shape == (1, 512)


def test_a_checkpoint_of_upstream_s_trainer_gives_the_same_weights(folder: Path) -> None:
    released = load.released_weights(folder / "model.pth")
    inner = {f"xtts.{key}": value for key, value in released.items()} | {"dvae.encoder.0.0.weight": torch.zeros(1)}
    torch.save({"model": inner, "step": 10, "optimizer": {}}, folder / "best_model.pth")
    again = load.released_weights(folder / "best_model.pth")
    assert again.keys() == released.keys()
    assert all(torch.equal(again[key], released[key]) for key in again)


def cut_off(folder: Path) -> None:
    whole = (folder / "model.pth").read_bytes()
    replaced(folder / "model.pth", whole[: len(whole) // 2])


def empty(folder: Path) -> None:
    replaced(folder / "dvae.pth", b"")


def foreign(folder: Path) -> None:
    module = types.ModuleType("other.place")
    kind = type("Surprise", (), {"__module__": "other.place", "__qualname__": "Surprise"})
    module.Surprise = kind  # type: ignore[attr-defined]
    sys.modules |= {"other": types.ModuleType("other"), "other.place": module}
    try:
        (folder / "model.pth").unlink()
        torch.save({"model": {}, "config": kind()}, folder / "model.pth")
    finally:
        del sys.modules["other.place"], sys.modules["other"]


def no_table(folder: Path) -> None:
    (folder / "model.pth").unlink()
    torch.save({"model": [1, 2]}, folder / "model.pth")


def pointer(folder: Path) -> None:
    replaced(folder / "model.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:c7ea20001c6a\n")


def configured(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        change(content)
        replaced(folder / "config.json", json.dumps(content).encode())

    return edit


def lacking(folder: Path) -> None:
    saved = load.released_weights(folder / "model.pth")
    del saved["gpt.mel_head.bias"]
    (folder / "model.pth").unlink()
    torch.save({"model": saved}, folder / "model.pth")


def surplus(folder: Path) -> None:
    saved = load.released_weights(folder / "model.pth") | {"gpt.extra.weight": torch.zeros(2)}
    (folder / "model.pth").unlink()
    torch.save({"model": saved}, folder / "model.pth")


def other_stats(folder: Path) -> None:
    (folder / "mel_stats.pth").unlink()
    torch.save(torch.ones(80), folder / "mel_stats.pth")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_off, r"model\.pth is damaged or cut off \(.*\); download it again"),
        (empty, r"dvae\.pth is damaged or cut off"),
        (foreign, r"model\.pth pickles other\.place\.Surprise, a class that"),
        (no_table, r"model\.pth holds no table of weights"),
        (pointer, r"model\.pth is no file that torch saved"),
        (lambda folder: (folder / "dvae.pth").unlink(), r"dvae\.pth is missing"),
        (lambda folder: (folder / "config.json").unlink(), r"config\.json is missing"),
        (lambda folder: replaced(folder / "config.json", b"{"), r"config\.json: line 1 is no JSON"),
        (configured(lambda c: c.update(model="tortoise")), r"describes a tortoise model, not xtts; see voice\.family"),
        (configured(lambda c: c["model_args"].update(gpt_use_perceiver_resampler=False)), "describes XTTS-v1"),
        (configured(lambda c: c["model_args"].pop("gpt_layers")), r"model_args\.gpt_layers: field required"),
        (configured(lambda c: c["model_args"].update(gpt_layers=3)), r"the gpt lacks gpt\.h\.2\..* of another version"),
        (configured(lambda c: c["model_args"].update(gpt_max_text_tokens=9)), "the gpt has another shape of text_pos"),
        (lacking, r"model\.pth: the gpt lacks mel_head\.bias \(1 in all\)"),
        (surplus, r"model\.pth: the gpt has more than this model: extra\.weight"),
        (other_stats, r"mel_stats\.pth is not the one that model\.pth was trained with"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_told_in_one_line(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load.from_folder(folder)
    assert "\n" not in str(caught.value)
