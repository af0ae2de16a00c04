"""A GPT-SoVITS user's day: a list and wavs in, a line corrected in review, trained, spoken, and handed back."""

from __future__ import annotations

import importlib
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from ruamel.yaml import YAML

from tests.support.fake_outputs import RATE as SYLLABLES_RATE
from tests.support.fake_outputs import voice as syllables
from tests.support.family_root import GENERATE, TRAIN
from tests.support.paths import ROOT
from tests.support.review_client import serving
from tests.support.tiny_models import random_whisper
from tests.support.tiny_sovits import random_sovits
from timbre import audio, families
from timbre.commands import cli
from timbre.core import params
from timbre.core.records import Example, read_jsonl
from timbre.core.sections import VoiceParams
from timbre.exchange import releasing
from timbre.exchange.voice_versions import VoiceVersion
from timbre.families import Request, Speaking, codes
from timbre.families.sovits import load

RATE = 32_000
TEXTS = (
    "The night ferry waits for us at the old pier.", "Green coffee goes to Oslo by train again.",
    "Nobody knows when the boats will come back.", "It rained all day and the road was closed.",
    "We wait here for the fairy from the north.", "Seven small lamps stand along the harbour wall.",
)  # fmt: skip
WRONG, RIGHT = "We wait here for the fairy from the north.", "We wait here for the ferry from the north."


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """As GPT-SoVITS' own tools leave it: sliced wavs, and a list that names them where they once lay."""
    folder = tmp_path / "voice"
    (folder / "sliced").mkdir(parents=True)
    lines = []
    for number, text in enumerate(TEXTS):
        sound = audio.resample(syllables(3.6 + 0.1 * number, number), SYLLABLES_RATE, RATE)
        soundfile.write(folder / f"sliced/m_{number}.wav", sound, RATE)
        lines.append(f"D:\\GPT-SoVITS\\output\\sliced\\m_{number}.wav|marina|EN|{text}")
    (folder / "marina.list").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_params(version: str) -> None:
    random_sovits(Path("models/base"), version)
    random_whisper(Path("models/whisper.pt"))
    document = params.load(ROOT / "params.yaml")
    document["voice"] = {"family": "sovits", "base": "models/base", "revision": None}
    document["whisper"]["model"] = "models/whisper.pt"
    document["chunk"] |= {"vad": "energy", "max_seconds": 6, "min_seconds": 3}
    limits = ("pace_iqr", "snr", "silence", "clipping", "wrong_cer", "min_heard")  # random weights hear nothing
    document["dataset"] |= {"eval_share": 0.3, "block_seconds": 4} | dict.fromkeys(limits)
    document["train"] |= TRAIN
    document["generate"] |= GENERATE
    document["sovits"] |= {"stage2_epochs": 1}
    with Path("params.yaml").open("w") as stream:
        YAML().dump(document, stream)
    Path("data/prompts.tsv").write_text("id\tkind\ttext\nferry\tdomain\tThe ferry waits.\n")
    Path("data/drafts").mkdir()  # of the recordings without a transcript, and here are none
    for name in ("timbre", "stages", "models/tiny"):
        Path(name).symlink_to(ROOT / name)


def run_stages(*names: str) -> None:
    """By their commands in dvc.yaml, in this process: torch is loaded."""
    commands = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    for name in names:
        words = shlex.split(commands[name]["cmd"].replace("${voice.family}", "sovits"))[3:]
        options = {key.removeprefix("--"): Path(value) for key, value in zip(words[::2], words[1::2], strict=True)}
        importlib.import_module(f"stages.{name}").main(**options)


def corrected_in_review() -> None:
    with serving() as client:
        (recording,) = client.ask("api/recordings").value
        digest, lines = client.lines(recording["id"])
        mended = [[RIGHT if cell == WRONG else cell for cell in line] for line in lines]
        assert mended != lines
        assert client.save(digest, mended, recording["id"]).status == 200


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("version", ["v2Pro"])
def test_a_gpt_sovits_user_s_day(version: str, lists: Path, tmp_path: Path) -> None:
    who = ["--language", "en", "--licence", "CC-BY-4.0", "--consent", "Marina, 2026-03-01"]
    assert cli.execute(["import", str(lists / "marina.list"), *who]) == 0
    write_params(version)
    run_stages("fetch", "segment")
    corrected_in_review()
    run_stages("segment", "chunk", "check", "dataset", "encode", "train", "generate")

    learnt = [row for name in ("train", "eval") for row in read_jsonl(Path(f"data/dataset/{name}.jsonl"), Example)]
    assert sorted(row.text for row in learnt) == sorted(RIGHT if text == WRONG else text for text in TEXTS)
    adapter = {path.name for path in Path("models/adapter").iterdir()}
    assert {"adapter_model.safetensors", "stage2.safetensors", "voice.safetensors"} <= adapter
    assert len(list(Path("reports/samples").glob("*.flac"))) == 4, "base and tuned, each with and without a reference"
    assert cli.execute(["say", "--clone", "The night ferry waits.", "--out", "said.flac"]) == 0
    assert len(audio.read(Path("said.flac"))[0])

    people = Path("data/speakers.yaml")
    people.write_text(people.read_text().replace("repository learns", "repository learns, publish"))  # she agrees
    back = tmp_path / "back"
    base = VoiceParams("sovits", "models/base", None)
    releasing.release(VoiceVersion("v1", "0" * 32, base, Path("models/adapter"), {"marina": []}), back / "released")
    assert cli.execute(["export", "gpt-sovits", str(back / "lists")]) == 0
    handed = "".join((back / f"lists/{name}.list").read_text() for name in ("train", "eval"))
    assert RIGHT in handed
    assert WRONG not in handed
    speaks_alike(base, back / "released/merged", learnt[0])


def speaks_alike(base: VoiceParams, merged: Path, clip: Example) -> None:
    """The files that go back say what the tuned voice says, but for half precision."""
    for name in (load.HUBERT, "sv"):
        (merged / name).symlink_to(Path("models/base", name).resolve())
    turn = codes.turn(clip, Path("data/codes/sovits"))
    request = Request("The ferry waits.", (turn,), 1, 0.6, "en")
    sounds: list[Any] = []
    for voice in (families.load(base, Path("models/adapter")), families.load(VoiceParams("sovits", str(merged), None))):
        sounds += [spoken.sound for spoken in voice.speak([request], Speaking(0.0, 0, 1))]
    tuned, handed = sounds
    assert tuned.shape == handed.shape
    assert np.abs(tuned - handed).max() < 0.1 * np.abs(tuned).max()
