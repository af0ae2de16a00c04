"""The sentence at points of the training: one entry per point, made as the finished voice's sample was."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ruamel.yaml import YAML

from stages import listen
from tests.support.consent import withdraw_consent, write_consent
from tests.support.fake_outputs import write_samples
from tests.support.paths import ROOT
from tests.support.tiny_models import CODEBOOK_SIZE, CODEBOOKS, SAMPLE_RATE, adapted, random_csm
from timbre import families
from timbre.core import params
from timbre.core.errors import DataError, SourceError
from timbre.core.records import Example, Point, from_json, write_jsonl
from timbre.core.sections import VoiceParams
from timbre.families import Lora
from timbre.families.codes import to_bytes
from timbre.synthesis import reference

REFERENCE = "0123456789abcdef"  # of the samples that tests/support/fake_outputs.py makes
ARGUMENTS = [
    Path("data/prompts.tsv"), Path("reports/samples"), Path("data/dataset"), Path("data/codes/csm"),
    Path("models/points"), Path("reports/points"),
]  # fmt: skip


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("listen")
    random_csm(root / "models/base")
    write_samples(root / "reports/samples", {"coffee": "Coffee, please.", "ferry": "The ferry waits."})
    example = Example(f"data/clips/{REFERENCE}.flac", "The green train.", "ann", REFERENCE, "talk", 0.0, 1.0, 1.0)
    write_jsonl(root / "data/dataset/train.jsonl", [example])
    write_consent(root)
    (root / "data/codes/csm").mkdir(parents=True)
    heard = np.random.default_rng(0).integers(1, CODEBOOK_SIZE, (20, CODEBOOKS)).astype(np.int16)
    (root / f"data/codes/csm/{REFERENCE}.safetensors").write_bytes(to_bytes({"codes": heard}))
    rows = ("id\tkind\ttext", "ferry\tdomain\tThe ferry waits.", "coffee\tdomain\tCoffee, please.", "")
    (root / "data/prompts.tsv").write_text("\n".join(rows))
    for step in (5, 20):
        write_adapter(root, step)
    for name in ("timbre", "stages"):
        (root / name).symlink_to(ROOT / name)
    document = params.load(ROOT / "params.yaml")
    document["voice"]["base"] = "models/base"
    document["generate"] |= {"cap_seconds": 0.4, "cap_seconds_per_character": 0.0}
    with (root / "params.yaml").open("w") as stream:
        YAML().dump(document, stream)
    return root


def write_adapter(root: Path, step: int) -> None:
    import torch

    voice = families.load(VoiceParams("csm", str(root / "models/base"), None))
    course = adapted(voice, Lora(4, 8, True, 0.0))
    torch.manual_seed(step)
    course.set_weights({n: torch.randn(w.shape) * 0.2 for n, w in course.weights().items()})
    voice.save_adapter(root / f"models/points/{step:06}")


@pytest.fixture
def place(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(template, tmp_path / "voice", symlinks=True)
    monkeypatch.chdir(tmp_path / "voice")
    return tmp_path / "voice"


def points(root: Path) -> list[Point]:
    return [from_json(p.read_text(), Point, p.name) for p in sorted((root / "reports/points").glob("*.json"))]


def test_each_point_says_the_first_prompt_with_its_own_adapter(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listen.main(*ARGUMENTS)
    made = points(place)
    assert [point.step for point in made] == [5, 20]
    assert {point.sample for point in made} == {"tuned_clone-ferry-0"}
    assert [p.adapter for p in made] == [families.adapter_fingerprint(place / f"models/points/{s:06}") for s in (5, 20)]
    sounds = [soundfile.read(place / f"reports/points/{step:06}.flac") for step in (5, 20)]
    assert all(rate == SAMPLE_RATE and len(sound) == 0.4 * SAMPLE_RATE for sound, rate in sounds)
    assert not np.array_equal(sounds[0][0], sounds[1][0]), "another adapter is another voice"
    assert "2 computed" in capsys.readouterr().out
    listen.main(*ARGUMENTS)
    assert "0 computed, 2 kept, 0 removed" in capsys.readouterr().out


def test_another_point_is_the_only_one_that_is_spoken_and_a_stranger_goes(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listen.main(*ARGUMENTS)
    shutil.rmtree(place / "models/points/000020")
    write_adapter(place, 10)
    listen.main(*ARGUMENTS)
    assert "1 computed, 1 kept, 1 removed" in capsys.readouterr().out
    assert [point.step for point in points(place)] == [5, 10]


def test_another_way_to_speak_the_sample_is_another_point(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listen.main(*ARGUMENTS)
    sample = place / "reports/samples/tuned_clone-ferry-0.json"
    sample.write_text(json.dumps(json.loads(sample.read_text()) | {"key": "0123456789abcdef"}))
    listen.main(*ARGUMENTS)
    assert "2 computed, 0 kept" in capsys.readouterr().out


def test_no_point_speaks_with_a_voice_whose_consent_was_withdrawn(place: Path) -> None:
    withdraw_consent(place)
    with pytest.raises(SourceError, match=r"^data/speakers.yaml:2: ann took the consent back on 2026-02-01"):
        listen.main(*ARGUMENTS)
    assert not (place / "reports/points").exists()


def test_no_points_are_an_empty_folder(place: Path) -> None:
    shutil.rmtree(place / "models/points")
    (place / "models/points").mkdir()
    listen.main(*ARGUMENTS)
    assert points(place) == []
    assert (place / "reports/points").is_dir()


def test_a_prompt_without_a_sample_and_a_reference_that_is_gone_are_named(place: Path) -> None:
    (sample,) = listen.spoken_samples(Path("data/prompts.tsv"), Path("reports/samples"))
    gone = dataclasses.replace(sample, reference="fedcba9876543210")
    with pytest.raises(DataError, match="tuned_clone-ferry-0: its reference fedcba9876543210 is gone"):
        reference.of_sample(gone, Path("data/dataset"), Path("data/codes/csm"), families.family("csm").cloning)
    Path("data/prompts.tsv").write_text("id\tkind\ttext\nharbour\tdomain\tHarbour.\n")
    with pytest.raises(DataError, match=r"data/prompts.tsv: no sample of its first prompt in reports/samples"):
        listen.main(*ARGUMENTS)
