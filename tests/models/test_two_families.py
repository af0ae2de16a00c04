"""A folder with the layout of the public Orpheus through the model stages, by its preset; and CSM beside it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import soundfile
from ruamel.yaml import YAML

from stages import generate, train
from stages.encode import encode_all
from tests.support.paths import ROOT
from tests.support.tiny_models import random_csm, write_clips
from tests.support.tiny_orpheus import random_orpheus
from tests.support.training_root import PARAMS
from timbre import families
from timbre.core import params
from timbre.core.records import Example, read_jsonl
from timbre.core.sections import VoiceParams
from timbre.project.prompts import Prompt
from timbre.synthesis.reference import choose_reference


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `cp presets/orpheus-3b.yaml params.yaml` gives, with small sizes."""
    random_orpheus(tmp_path / "models/orpheus-3b")
    random_csm(tmp_path / "models/csm")
    write_clips(tmp_path, 6)
    document = params.load(ROOT / "presets/orpheus-3b.yaml")
    document["train"] = dataclasses.asdict(dataclasses.replace(PARAMS, max_steps=2, points=1))
    document["generate"] |= {"cap_seconds": 0.3, "cap_seconds_per_character": 0.0}
    with (tmp_path / "params.yaml").open("w") as stream:
        YAML().dump(document, stream)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_orpheus_is_encoded_trained_and_spoken_by_its_preset_and_csms_codes_stay(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = params.read()
    csm, codes = VoiceParams("csm", "models/csm", None), Path("data/codes")
    for voice in (settings.voice, csm):
        encode_all(Path("data/clips"), codes / voice.family, settings.encode, voice)
    assert capsys.readouterr().out.count("6 computed") == 2
    for voice in (csm, settings.voice):
        encode_all(Path("data/clips"), codes / voice.family, settings.encode, voice)
    assert capsys.readouterr().out.count("0 computed, 6 kept") == 2, "back and forth computes nothing"

    names = {"dataset": "data/dataset", "out": "models/adapter", "points": "models/points"}
    rest = {"codes": "data/codes/orpheus", "history": "models/history.csv", "speed": "models/speed.json"}
    train.main(**{name: Path(path) for name, path in {**names, **rest}.items()})
    columns = Path("models/history.csv").read_text().splitlines()[0].split(",")
    assert {"eval_loss/coarse", "eval_loss/middle", "eval_loss/fine", "eval_loss/text"} <= set(columns)
    facts = json.loads(Path("models/adapter/training.json").read_text())
    chosen_by = "eval_loss/codes" if settings.orpheus.learn_text else "eval_loss"
    assert (facts["steps"], facts["chosen_by"]) == (2, chosen_by), "the words' loss chooses no step"
    assert chosen_by in columns

    family = families.family("orpheus")
    rows = read_jsonl(Path("data/dataset/train.jsonl"), Example)
    reference = choose_reference(rows, Path("data/clips"), codes / "orpheus", family.cloning)
    base = families.fingerprint(settings.voice)
    tuned = families.adapter_fingerprint(Path("models/adapter"))
    prompts = [Prompt("ferry", "domain", "The ferry waits.")]
    planned = generate.plan(prompts, settings.generate, base, tuned, reference, family.marks)
    made = list(generate.speak(planned, settings.voice, Path("models/adapter"), settings.generate, generate.Speed()))
    assert [sample.condition for sample, _ in planned] == list(generate.CONDITIONS)
    for files in made:
        assert isinstance(files[".flac"], bytes)
        Path("a.flac").write_bytes(files[".flac"])
        assert soundfile.info("a.flac").samplerate == 16_000
    other = reference._replace(turn=reference.turn._replace(speaker=families.SpeakerTag(0, "bob")))
    again = generate.plan(prompts, settings.generate, base, tuned, other, family.marks)
    assert not {sample.key for sample, _ in planned} & {sample.key for sample, _ in again}, (
        "another name, other samples"
    )
