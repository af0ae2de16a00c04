"""CSM and its adapters from files: what is refused, and what other releases of transformers write."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny_models import (
    LORA,
    adapted,
)
from timbre import families
from timbre.core.errors import ModelError
from timbre.core.sections import VoiceParams


@pytest.mark.parametrize(
    ("base", "revision", "told"),
    [
        ("models/nowhere", None, "no folder here"),
        ("nobody/no-such-model", "abc", "cannot be loaded"),
    ],
)
def test_a_model_that_is_not_there_is_told_with_the_way_out(base: str, revision: str | None, told: str) -> None:
    with pytest.raises(ModelError, match=told) as caught:
        families.load(VoiceParams("csm", base, revision))
    assert "\n" not in str(caught.value)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    with pytest.raises(ModelError, match="is a whisper model, not csm"):
        families.load(VoiceParams("csm", str(tmp_path), None))


def test_an_adapter_of_another_shape_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "target_modules": "nothing"}')
    with pytest.raises(ModelError, match="dvc repro -f train"):
        families.load(VoiceParams("csm", str(folder), None), adapter=tmp_path)


def test_an_adapter_whose_weights_find_no_place_or_are_zeros_is_refused(
    folder: Path, voice: Any, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    course = adapted(voice, LORA)
    course.set_weights({n: torch.ones_like(w) for n, w in course.weights().items()})
    voice.save_adapter(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    save_file({name.replace("layers", "blocks"): w for name, w in load_file(path).items()}, path)
    with pytest.raises(ModelError, match="missing adapter keys"):
        families.load(VoiceParams("csm", str(folder), None), adapter=tmp_path)
    save_file({name: torch.zeros_like(w) for name, w in course.weights().items()}, path)
    with pytest.raises(ModelError, match="changes nothing"):
        families.load(VoiceParams("csm", str(folder), None), adapter=tmp_path)


@pytest.mark.parametrize("damage", ["cut short", "without a weight", "without weights", "without tokenizer"])
def test_a_damaged_folder_is_told_in_one_line(folder: Path, tmp_path: Path, damage: str) -> None:
    from safetensors.torch import load_file, save_file

    base = shutil.copytree(folder, tmp_path / "csm")
    weights = base / "model.safetensors"
    if damage == "cut short":
        weights.write_bytes(weights.read_bytes()[:10_000])
    elif damage == "without a weight":
        kept = load_file(weights)
        del kept["lm_head.weight"]
        save_file(kept, weights, {"format": "pt"})
    else:
        (weights if damage == "without weights" else base / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="the folder is incomplete or damaged") as caught:
        families.load(VoiceParams("csm", str(base), None))
    assert "\n" not in str(caught.value)


def test_a_model_whose_embeddings_a_release_left_apart_hears_with_those_of_the_depth_decoder(
    voice: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import CsmForConditionalGeneration

    hear = "backbone_model.embed_tokens.embed_audio_tokens"
    load = CsmForConditionalGeneration.from_pretrained

    def apart(*given: Any, **said: Any) -> Any:
        model, report = load(*given, **said)
        model.get_submodule(hear).weight = torch.nn.Parameter(torch.randn_like(model.get_submodule(hear).weight))
        return model, report | {"missing_keys": {f"{hear}.weight"}}

    monkeypatch.setattr(CsmForConditionalGeneration, "from_pretrained", apart)
    loaded: Any = families.load(VoiceParams("csm", str(folder), None), precision="fp32")
    assert torch.equal(loaded.base.get_submodule(hear).weight, voice.base.get_submodule(hear).weight)
    assert loaded.base.get_submodule(hear).weight is loaded.base.depth_decoder.model.embed_tokens.weight


def test_what_only_newer_releases_know_of_a_config_is_not_asked_of_an_older_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import CsmConfig

    from timbre.families.csm.load import read_config

    given: list[dict[str, Any]] = []
    monkeypatch.setattr(CsmConfig, "from_dict", given.append)
    read_config(str(folder), {})
    assert given[0]["model_type"] == "csm"
    assert "tie_word_embeddings" not in given[0]


def test_the_fingerprint_follows_the_files_and_not_their_place(folder: Path, tmp_path: Path) -> None:
    first = families.fingerprint(VoiceParams("csm", str(folder), None))
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    (copy / "README.md").write_text("words")
    assert families.fingerprint(VoiceParams("csm", str(copy), None)) == first
    (copy / "generation_config.json").write_text("{}")
    assert families.fingerprint(VoiceParams("csm", str(copy), None)) != first
    pinned = families.fingerprint(VoiceParams("csm", "sesame/csm-1b", "abc"))
    assert pinned != families.fingerprint(VoiceParams("csm", "sesame/csm-1b", "abd"))
