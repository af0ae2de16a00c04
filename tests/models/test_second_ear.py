"""A second recogniser: pocketsphinx with the words of the prompts, or another Whisper."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import evaluate
from tests.models.test_evaluate import sample
from tests.support.fake_outputs import SENTENCES, write_samples
from tests.support.paths import ROOT
from tests.support.tiny_models import random_whisper
from timbre import asr, audio
from timbre.asr import second_ear
from timbre.asr.second_ear import SecondEar
from timbre.core.errors import ModelError
from timbre.core.records import Example
from timbre.core.sections import VoiceParams, WhisperParams
from timbre.evaluation import hearing, speaker_similarity, word_errors
from timbre.evaluation.hearing import HeardSample
from timbre.evaluation.metrics import Evidence, Metric, SecondJudge
from timbre.project.transcripts import read as read_transcript
from timbre.report import second as report_second

CODED = 16_100  # samples of what the codec made
DEMO = ROOT / "data/recordings/harbour-noon.flac"
LINES = [
    line for line in read_transcript(ROOT / "data/transcripts/harbour-noon.tsv").lines if line.end - line.start < 3
]


def heard(*lines: int) -> list[str]:
    ear = second_ear.second_ear("pocketsphinx", [line.text for line in LINES])
    sounds = [audio.read(DEMO, asr.SAMPLE_RATE, LINES[n].start, LINES[n].end)[0] for n in lines]
    return second_ear.texts(ear, sounds, ["en"] * len(sounds))


def test_pocketsphinx_hears_the_demo_in_its_own_words_and_the_same_in_any_company() -> None:
    alone, (first, second) = heard(1), heard(0, 1)
    assert alone == [second], "what was heard before changes nothing"
    errors = [word_errors.compare(LINES[n].text, text) for n, text in ((0, first), (1, second))]
    assert sum(one.errors for one in errors) <= sum(one.words for one in errors) / 3


def test_words_that_pocketsphinx_lacks_are_named_and_numbers_are_spelt_out() -> None:
    ear = second_ear.second_ear("pocketsphinx", ["The ferry to Qwyxlia has 21 cabins."])
    assert {"twenty", "one"} <= set(ear.words)
    assert second_ear.unknown(ear) == ["qwyxlia"]
    assert second_ear.second_ear("small.en", ["The ferry."]) == SecondEar("small.en"), "a Whisper needs no words"
    with pytest.raises(ModelError, match="knows none of the words"):
        second_ear.texts(SecondEar("pocketsphinx", ("qwyxlia",)), [], [])


def test_a_sentence_of_known_words_changes_no_key_and_a_new_word_does() -> None:
    keys = [second_ear.fingerprint(second_ear.second_ear("pocketsphinx", said)) for said in (
        ["The old ferry.", "A train."], ["The old train.", "A ferry."], ["The old train.", "A red ferry."],
    )]  # fmt: skip
    assert keys[0] == keys[1] != keys[2]


def test_without_pocketsphinx_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(ModelError, match=r"pocketsphinx is not installed; `pip install -c constraints.txt '.\[ear\]'`"):
        second_ear.fingerprint(SecondEar("pocketsphinx"))


def test_a_language_that_the_second_ear_does_not_know_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match=r"evaluate\.second_ear: pocketsphinx does not know `de`"):
        evaluate.second_judge("pocketsphinx", [sample("The ferry."), sample("Guten Tag.", language="de")])
    assert evaluate.second_judge(None, [sample("Guten Tag.", language="de")]) is None


def test_what_the_codec_costs_is_told_by_both_ears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ear hears no harm in the codec, the second one wrong word of three."""
    write_samples(tmp_path / "samples", {"ferry": SENTENCES["ferry"]})
    paths = sorted((tmp_path / "samples").glob("*.flac"))
    row = Example("clip.flac", "Die Fähre wartet.", "ann", "a1", "noon", 0.0, 2.0, 2.0, "de")
    (tmp_path / "a1.safetensors").write_bytes(b"codes")
    paths[0].rename(tmp_path / "a1.flac")
    first, other = (random_whisper(tmp_path / f"{name}.pt") for name in ("first", "other"))
    spoken: list[str] = []

    def texts(options: WhisperParams, sounds: Sequence[Any], languages: Sequence[str]) -> list[str]:
        spoken.extend(languages)
        spoilt = options.model == str(other)
        return ["Die Ferse wartet." if spoilt and len(sound) == CODED else "Die Fähre wartet." for sound in sounds]

    monkeypatch.setattr(asr, "texts", texts)
    monkeypatch.setattr(speaker_similarity, "resound", lambda *_: np.full(CODED, 0.1, np.float32))
    clips = list(speaker_similarity.true_sounds([row], tmp_path, tmp_path))
    voice, second = VoiceParams("csm", str(ROOT / "models/tiny/csm"), None), SecondEar(str(other))
    options = WhisperParams(str(first))
    hearing.listen(tmp_path / "heard", paths[1:], options, 3, second=second, clips=clips, voice=voice)
    costs = [hearing.codec_cost(tmp_path / "heard", clips, prefix) for prefix in ("", hearing.SECOND)]
    assert costs == [0, pytest.approx(1 / 3)]
    assert spoken.count("de") == 4, "a clip is heard in its own language"
    hearing.listen(tmp_path / "heard", paths[1:], options, 3, clips=clips, voice=voice)
    assert not list((tmp_path / "heard").glob("*a1*")), "without a second ear nobody asks"
    judge = SecondJudge("pocketsphinx", codec=0.093, codec_first=0.007)
    (_, line) = report_second.sentences(Evidence({"base": Metric(wer=0.4)}, second={"wer": judge}))
    assert line.endswith("the codec makes +0.7 wrong by the first ear, +9.3 by pocketsphinx")


def test_the_second_ear_hears_what_is_new_beside_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_samples(tmp_path / "samples", {name: SENTENCES[name] for name in ("ferry", "one")})
    paths = sorted((tmp_path / "samples").glob("*.flac"))
    first, other = (random_whisper(tmp_path / f"{name}.pt") for name in ("first", "other"))
    monkeypatch.setattr(asr, "texts", lambda options, sounds, spoken: [Path(options.model).stem] * len(sounds))

    def listen(second: SecondEar | None) -> tuple[list[HeardSample], str]:
        sounds = evaluate.listen(tmp_path / "heard", paths, WhisperParams(str(first)), 3, second=second)
        return sounds, capsys.readouterr().out

    sounds, told = listen(None)
    assert "8 computed" in told
    assert {(one.text, one.second) for one in sounds} == {("first", None)}
    sounds, told = listen(SecondEar(str(other)))
    assert "8 computed, 8 kept" in told, "the first ear hears nothing again"
    assert {(one.text, one.second) for one in sounds} == {("first", "other")}
    assert (tmp_path / "heard/second-tuned-one-0.json").exists()
    paths[0].write_bytes(paths[1].read_bytes())
    assert "2 computed, 14 kept" in listen(SecondEar(str(other)))[1]
    assert "8 kept, 8 removed" in listen(None)[1]
