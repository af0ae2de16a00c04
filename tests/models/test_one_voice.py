"""Two voices under one name are told, and one voice is not taken for two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages import evaluate
from tests.support.paths import ROOT
from timbre import audio
from timbre.core.sections import SpeakerParams
from timbre.evaluation import metrics, one_voice, speaker_encoder, speaker_similarity
from timbre.evaluation.metrics import Difference, Evidence, Speaker
from timbre.evaluation.speaker_encoder import Vector, unit
from timbre.evaluation.speaker_similarity import JudgedSound, Vectors
from timbre.project.transcripts import read as read_transcript
from timbre.report.verdict import verdict

TINY = ROOT / "models/tiny"
RATE = speaker_encoder.SAMPLE_RATE


@pytest.fixture(scope="module")
def embedded() -> dict[str, list[Vector]]:
    """Ten sentences of the demo's speaker, and two of each of four others; mira is the one most like her."""
    encoder = speaker_encoder.load(SpeakerParams(str(TINY / "speaker"), None))
    path, lines = ROOT / "data/recordings/harbour-noon.flac", ROOT / "data/transcripts/harbour-noon.tsv"
    own = [audio.read(path, RATE, line.start, line.end)[0] for line in read_transcript(lines).lines[:10]]
    found = {"marina": [encoder.embed(sound) for sound in own]}
    for name in ("mira", "rasmus", "edda", "angus"):
        sounds = (audio.read(TINY / f"voices/{name}/{take}.flac", RATE)[0] for take in range(2))
        found[name] = [encoder.embed(sound) for sound in sounds]
    return found


def judged(embedded: dict[str, list[Vector]], *under_her_name: str) -> Vectors:
    """The speaker's held-out clips, and as others those who are not among them."""

    def sounds(kind: str, name: str) -> list[tuple[JudgedSound, Vector]]:
        return [
            (JudgedSound(kind, f"{name}-{number}", name, Path()), vector)  # type: ignore[arg-type]
            for number, vector in enumerate(embedded[name])
        ]

    true = [one for name in ("marina", *under_her_name) for one in sounds("true", name)]
    others = [one for name in embedded if name not in ("marina", *under_her_name) for one in sounds("other", name)]
    return {"true": true, "coded": true, "other": others, "sample": [], "reference": []}


@pytest.mark.parametrize("name", ["rasmus", "edda", "angus"])
def test_two_clips_of_another_voice_among_ten_are_named(
    embedded: dict[str, list[Vector]], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = judged(embedded, name)
    assert evaluate.strangers("marina", vectors, speaker_similarity.measure(vectors)) == pytest.approx(2 / 12)
    told = capsys.readouterr().out
    assert "warning: two voices under the name marina?" in told
    assert f"{name}-0, {name}-1; listen" in told


def test_clips_of_one_voice_are_not_taken_for_two(
    embedded: dict[str, list[Vector]], capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = judged(embedded)
    assert evaluate.strangers("marina", vectors, speaker_similarity.measure(vectors)) is None
    assert capsys.readouterr().out == ""


def test_of_few_clips_one_odd_clip_or_without_other_voices_nothing_is_said(embedded: dict[str, list[Vector]]) -> None:
    own, other = embedded["marina"], embedded["rasmus"]
    assert one_voice.second_voice([*own[:3], *other], 0.5) == [], "five clips are too few"
    assert one_voice.second_voice([*own, other[0]], 0.5) == [], "a cough is no speaker"
    assert one_voice.second_voice([*other, *own], 0.5) == [0, 1], "whoever has fewer clips"
    vectors = judged(embedded, "rasmus") | {"other": []}
    assert evaluate.strangers("marina", vectors, speaker_similarity.measure(vectors)) is None


def test_among_thousands_of_clips_a_few_of_another_voice_are_found() -> None:
    draw = np.random.default_rng(0)
    own, other = (unit(draw.normal(size=64)) for _ in range(2))
    clips = [unit(centre + draw.normal(size=64) / 20) for centre in [own] * 2497 + [other] * 3]
    assert one_voice.second_voice(clips, 0.7) == [2497, 2498, 2499]
    assert one_voice.second_voice(clips[:2497], 0.7) == []


def test_clips_that_are_all_the_same_are_one_voice() -> None:
    assert one_voice.second_voice([unit(np.ones(4))] * 8, 0.9) == []


def test_the_report_says_so_and_a_voice_alone_leaves_no_trace() -> None:
    known = {"tuned_clone-base_clone": Difference()}
    one = Evidence(differences=known, speaker=Speaker(0.95, 0.1))
    two = replace(one, speaker=Speaker(0.95, 0.1, second_voice=0.25))
    told = "There may be two voices under one name: 25% of the held-out clips sound like somebody else than the others."
    assert told in verdict(two).sure
    assert told not in verdict(one).sure
    of_several = Evidence(differences=known, speaker=Speaker(0.95, 0.1), speakers={"ann": two, "bob": one})
    assert told.replace("one name", "the name ann") in verdict(of_several).sure
    assert "second_voice" not in metrics.to_dict(one)["speaker"]
    assert metrics.from_dict(metrics.to_dict(two)).speaker == two.speaker
