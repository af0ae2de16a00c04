"""Who speaks when: two tiny voices in turns, told apart by the tiny encoder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stages import transcribe
from tests.support.paths import ROOT
from tests.support.segment_factory import TALK
from timbre import audio
from timbre.audio import Samples
from timbre.core.errors import ModelError
from timbre.core.records import SpeakerTurn
from timbre.core.sections import SpeakerParams, WhoParams
from timbre.evaluation import diarisation, speaker_encoder, who_speaks
from timbre.evaluation.speaker_encoder import AnyVoiceEncoder
from timbre.project import turns as speaker_turns
from timbre.project.transcripts import Line

TINY = ROOT / "models/tiny"
RATE = 16_000
LIMIT = 0.5  # of the tiny encoder, whose cosines lie further apart than those of real ones
ENCODER = SpeakerParams(str(TINY / "speaker"), None)
EMBEDDINGS = WhoParams("embeddings", LIMIT, "unused", None)
Said = list[tuple[float, float, str]]


@pytest.fixture(scope="module")
def encoder() -> AnyVoiceEncoder:
    return speaker_encoder.load(ENCODER)


def spoken(name: str) -> Samples:
    return np.concatenate([audio.read(path, RATE)[0] for path in sorted((TINY / f"voices/{name}").glob("*.flac"))])


def in_turns(path: Path, *names: str) -> Said:
    """Each says some three seconds, with pauses between; who spoke from when to when."""
    sounds, said, places, at = [], [], dict.fromkeys(names, 0), 0.0
    for name in names:
        samples = spoken(name)[places[name] : places[name] + 3 * RATE]
        places[name] += 3 * RATE if places[name] == 0 else -3 * RATE
        said.append((at, at + len(samples) / RATE, name))
        sounds += [samples, np.zeros(RATE // 2, np.float32)]
        at += len(samples) / RATE + 0.5
    soundfile.write(path, np.concatenate(sounds), RATE, subtype="PCM_16")
    return said


@pytest.mark.parametrize("others", [("rasmus",), ("edda",), ("angus",), ("ruben", "nele")])
def test_nearly_all_speech_is_given_to_who_says_it(
    tmp_path: Path, encoder: AnyVoiceEncoder, others: tuple[str, ...]
) -> None:
    said = in_turns(tmp_path / "a.flac", *(name for _ in range(3) for name in ("mira", "mira", *others)))
    turns = who_speaks.find(tmp_path / "a.flac", encoder, LIMIT)
    assert {turn.voice for turn in turns} == set(range(1, len(others) + 2))
    lines = [Line(start, end, name, "", "words") for start, end, name in said]
    voices = speaker_turns.whose(lines, turns)
    assert len(set(voices.values())) == len(others) + 1
    assert voices["mira"] == 1, "who speaks most"
    seconds = [(line, speaker_turns.heard_in(line, turns)) for line in lines]
    right = sum(each[voices[line.speaker]] for line, each in seconds)
    assert right / sum(sum(each.values()) for _, each in seconds) > 0.9


def test_lines_of_another_are_found_where_all_stand_under_one_name(tmp_path: Path, encoder: AnyVoiceEncoder) -> None:
    said = in_turns(tmp_path / "a.flac", *["mira", "mira", "rasmus"] * 3)
    turns = who_speaks.find(tmp_path / "a.flac", encoder, LIMIT)
    lines = [Line(start, end, "mira", "", "words") for start, end, _ in said]
    voices = speaker_turns.whose(lines, turns)
    shares = [speaker_turns.others_share(line, voices, turns) for line in lines]
    assert [share > 0 for share in shares] == [name == "rasmus" for *_, name in said]


@pytest.mark.parametrize("name", ["mira", "rasmus", "nele"])
def test_one_voice_is_one_voice(tmp_path: Path, encoder: AnyVoiceEncoder, name: str) -> None:
    in_turns(tmp_path / "a.flac", *[name] * 6)
    assert {turn.voice for turn in who_speaks.find(tmp_path / "a.flac", encoder, LIMIT)} == {1}


def test_where_nobody_speaks_there_are_no_turns(tmp_path: Path, encoder: AnyVoiceEncoder) -> None:
    soundfile.write(tmp_path / "a.flac", np.zeros(3 * RATE), RATE)
    assert who_speaks.find(tmp_path / "a.flac", encoder, LIMIT) == []
    assert who_speaks.windows((1.0, 1.3)) == [], "too short to tell"
    assert who_speaks.windows((1.0, 1.9)) == [(1.0, 1.9)]
    assert who_speaks.windows((1.0, 4.0)) == [(1.0, 2.6), (1.8, 3.4), (2.6, 4.0)]


def test_a_recording_is_asked_once_and_again_with_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("raw").mkdir()
    in_turns(Path("raw/talk.flac"), "mira", "rasmus", "mira", "rasmus", "mira")
    other = WhoParams("embeddings", -0.9, "unused", None)
    off = WhoParams("none", LIMIT, "unused", None)
    found = {}
    for label, who in {"on": EMBEDDINGS, "again": EMBEDDINGS, "other": other, "off": off, "back": EMBEDDINGS}.items():
        transcribe.find_turns([TALK], Path("raw"), Path("turns"), who, ENCODER)
        found[label] = json.loads(Path("turns/talk.json").read_bytes())["turns"]
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("who: ")]
    assert [line.split(",")[0] for line in told] == [
        "who: 1 computed", "who: 0 computed", "who: 1 computed", "who: 1 computed", "who: 0 computed",
    ]  # fmt: skip
    assert {voice for *_, voice in found["on"]} == {1, 2}
    assert found["again"] == found["back"] == found["on"]
    assert {voice for *_, voice in found["other"]} == {1}
    assert found["off"] == []
    shutil.rmtree("turns")
    transcribe.find_turns([TALK], Path("raw"), Path("turns"), EMBEDDINGS, ENCODER)
    assert json.loads(Path("turns/talk.json").read_bytes())["turns"] == found["on"]


def test_voices_are_numbered_by_how_long_they_speak() -> None:
    spans = [(3.0, 9.6, "B"), (-0.01, 2.0, "A"), (2.5, 3.5, "A"), (9.1, 9.9, "C")]
    assert diarisation.numbered(spans, 9.0) == [SpeakerTurn(0, 2, 2), SpeakerTurn(2.5, 3.5, 2), SpeakerTurn(3, 9, 1)]


GOOD = "pipeline:\n  name: {name}\n  params: {{segmentation: {part}, embedding: $model/b, plda: $model/c}}\n"


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (None, "is no config of a pyannote pipeline"),
        ("[]", "is no config of a pyannote pipeline"),
        (GOOD.format(name="os.system", part="$model/a"), "names 'os.system', and only pyannote"),
        (GOOD.format(name=diarisation.PIPELINE, part="pyannote/other"), r"its segmentation is not \$model/"),
        (GOOD.format(name=diarisation.PIPELINE, part="$model/../.."), r"its segmentation is not \$model/"),
        (GOOD.format(name=diarisation.PIPELINE, part="$model/gone"), r"its segmentation is not \$model/"),
    ],
)
def test_a_pipeline_that_brings_code_or_lacks_a_part_is_refused(tmp_path: Path, config: str | None, told: str) -> None:
    for part in "abc":
        (tmp_path / part).mkdir()
    if config is not None:
        (tmp_path / "config.yaml").write_text(config)
    with pytest.raises(ModelError, match=told):
        diarisation.check(tmp_path)
    (tmp_path / "config.yaml").write_text(GOOD.format(name=diarisation.PIPELINE, part="$model/a"))
    diarisation.check(tmp_path)


def test_a_model_on_the_hub_needs_its_commit() -> None:
    with pytest.raises(ValueError, match="revision: name the commit of a/b"):
        WhoParams("pyannote", 0.5, "a/b", None)
    with pytest.raises(ModelError, match="gone is no folder here"):
        diarisation.fingerprint(WhoParams("pyannote", 0.5, "gone", None))
    with pytest.raises(ValueError, match="is not between -1 and 1"):
        WhoParams("none", 1, "a/b", None)
