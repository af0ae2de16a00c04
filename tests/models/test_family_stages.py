"""XTTS and GPT-SoVITS through the stages that know a family: encode, train, generate, listen."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import encode, generate, train
from tests.support.family_root import family_root
from tests.support.tiny_sovits import random_sovits
from tests.support.tiny_xtts import random_xtts
from timbre import audio, families
from timbre.core.params import read
from timbre.families import codes

FAMILIES: dict[str, tuple[Any, float, dict[str, Any], list[str]]] = {
    "xtts": (random_xtts, 2.0, {}, ["text", "codes"]),
    "sovits": (random_sovits, 3.1, {"stage2_epochs": 1}, ["mel", "divergence", "features", "adversarial"]),
}


@pytest.fixture(params=sorted(FAMILIES))
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make, seconds, changes, _ = FAMILIES[request.param]
    make(tmp_path / "models/base")
    family_root(tmp_path, request.param, seconds, changes)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_family_goes_through_the_stages(root: Path) -> None:
    family = read().voice.family
    folder, dataset, clips = Path(f"data/codes/{family}"), Path("data/dataset"), Path("data/clips")
    encode.main(clips, folder)
    assert len(list(folder.glob("*.safetensors"))) == 5
    encoded = {path.name: path.read_bytes() for path in folder.iterdir()}
    encode.main(clips, folder)
    assert encoded == {path.name: path.read_bytes() for path in folder.iterdir()}

    outs = Path("models/adapter"), Path("models/points"), Path("models/history.csv")
    train.main(dataset, folder, *outs, Path("speed.json"))
    facts = json.loads((outs[0] / "training.json").read_text())
    rows = list(csv.DictReader(outs[2].open()))
    *_, parts = FAMILIES[family]
    assert {f"train_loss/{part}" for part in parts} <= rows[0].keys()
    if family == "sovits":
        assert list(facts["courses"]) == ["stage1", "stage2"]
        assert {row["course"] for row in rows} == {"1", "2"}
        assert any(row["train_loss/judges"] for row in rows)
    learnt = {path.name: path.read_bytes() for path in outs[0].iterdir()}
    train.main(dataset, folder, *outs, Path("speed.json"))
    assert learnt == {path.name: path.read_bytes() for path in outs[0].iterdir()}, "it was trained before"

    samples = Path("reports/samples")
    generate.main(Path("data/prompts.tsv"), dataset, clips, folder, outs[0], samples, Path("said.json"))
    records = {path.stem: json.loads(path.read_text()) for path in samples.glob("*.json")}
    assert len(records) == 4, "base and tuned, each with and without a reference"
    sounds = {name: audio.read(samples / f"{name}.flac")[0] for name in records}
    assert all(len(sound) for sound in sounds.values())
    assert len({sound.tobytes() for sound in sounds.values()}) == 4


def test_a_killed_training_goes_on_to_the_same_bytes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = read().voice.family
    folder = Path(f"data/codes/{family}")
    encode.main(Path("data/clips"), folder)

    def trained(name: str) -> dict[str, bytes]:
        outs = Path(f"{name}/adapter"), Path(f"{name}/points"), Path(f"{name}/history.csv")
        train.main(Path("data/dataset"), folder, *outs, Path("speed.json"))
        files = [*outs[0].iterdir(), outs[2]]
        return {path.name: path.read_bytes() for path in files}

    whole = trained("whole")
    from timbre.training.loop import Training

    save, saved = Training.save, []

    def stopping(self: Training) -> None:
        save(self)
        saved.append(self.course.name)
        if len(saved) == (3 if family == "sovits" else 1):  # of two steps of each course
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Training, "save", stopping)
        with pytest.raises(KeyboardInterrupt):
            trained("killed")
    assert trained("killed") == whole


def test_codes_are_kept_whole(root: Path) -> None:
    voice = families.load(read().voice)
    [path] = sorted(Path("data/clips").iterdir())[:1]
    made = voice.encode([audio.read(path, voice.hearing_rate)[0]])[0]
    Path("one.safetensors").write_bytes(codes.to_bytes(made))
    again = codes.read(Path(), "one")
    assert made.keys() == again.keys()
    assert all(np.array_equal(made[name], again[name]) for name in made)
