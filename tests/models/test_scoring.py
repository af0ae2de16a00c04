"""How a sample is scored and a condition weighed, by known answers; no model listens to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jiwer
import numpy as np
import pytest

from stages import evaluate
from tests.support.fake_outputs import RATE, voice, write_samples
from tests.support.scored_samples import LIMITS, MARINA, SCALE, sample, scored
from timbre.core.errors import DataError
from timbre.core.sections import GateParams
from timbre.evaluation import metrics, scores, weighing
from timbre.evaluation.hearing import HeardSample
from timbre.evaluation.metrics import CONDITIONS


def test_a_word_with_a_pronunciation_is_right_in_either_spelling() -> None:
    text, spelt = "The GIF waits for a jiff.", {"gif": "jiff", "sql": "sequel"}

    def errors(heard: str, spellings: dict[str, str]) -> tuple[int, str]:
        sound = HeardSample(heard, False, voice(2.0, 1), RATE)
        row = evaluate.score(sample(text), sound, MARINA, SCALE, 10.0, spellings)
        return row.errors, row.text

    for heard in ("the jiff waits for a jiff", "The GIF waits for a jiff.", "the gif waits for a GIF"):
        assert errors(heard, spelt) == (0, text)
    assert errors("the jiff waits for a jiff", {}) == (1, text)
    assert errors("the ship waits for a jiff", spelt) == (1, text)


def test_a_condition_weighs_words_and_not_samples() -> None:
    rows = [
        scored("Harbour.", "Ferry."),
        scored("The old ferry waits for the morning train again today.", "", silent=True),
        scored("The quiet train leaves the station.", "The quiet train leaves the station.", ended=False),
    ]
    metric = scores.metric(rows)
    assert (metric.errors, metric.words, metric.wer) == (11, 17, round(11 / 17, 4))
    assert (metric.samples, metric.silent, metric.ended) == (3, 1, 2 / 3)


def test_a_silent_sample_is_nobodys_voice_and_has_no_pace() -> None:
    row = scored("The ferry waits.", "", silent=True)
    assert (row.similarity, row.named, row.pace, row.pauses) == (0, False, None, None)
    assert scores.metric([row]).pace is None
    spoken = scored("The ferry waits.", "The ferry waits.")
    assert (spoken.similarity, spoken.named) == (1, True)
    both = scores.metric([row, spoken])
    assert (both.similarity, both.named) == (0.5, 0.5)
    assert both.pace == pytest.approx(spoken.pace or 0)


def test_the_rate_is_that_of_jiwer_alone() -> None:
    """Fifty pairs; the independent computation knows jiwer and Whisper's normaliser, and nothing of ours."""
    from whisper.normalizers import EnglishTextNormalizer

    random, normalise = np.random.default_rng(3), EnglishTextNormalizer()
    words = ["the", "a", "ferry", "train", "waits", "leaves", "twelve", "for", "old", "it's", "station", "harbour"]
    said = [" ".join(random.choice(words, 8)).capitalize() + "." for _ in range(50)]
    heard = [" ".join(w if random.random() < 0.7 else random.choice(words) for w in text.split()) for text in said]
    metric = scores.metric([scored(a, b, prompt=f"p{n % 9}") for n, (a, b) in enumerate(zip(said, heard, strict=True))])
    theirs = [[normalise(text) for text in texts] for texts in (said, heard)]
    assert metric.wer == round(jiwer.wer(*theirs), 4)
    assert metric.cer == round(jiwer.cer(*theirs), 4)


def test_a_prompt_without_words_is_refused() -> None:
    with pytest.raises(DataError, match=r"prompt p: '…' has no words to be heard; mend data/prompts.tsv"):
        scored("…", "")


def test_every_condition_must_speak_every_prompt(tmp_path: Path) -> None:
    write_samples(tmp_path)
    (tmp_path / "tuned-ferry-0.json").unlink()
    (tmp_path / "base-train-0.flac").unlink()
    with pytest.raises(DataError) as error:
        evaluate.read_samples(tmp_path)
    assert "tuned-ferry-0.json: missing, while other conditions speak this prompt" in str(error.value)
    assert "base-train-0.flac: missing" in str(error.value)


def test_no_samples_at_all_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no samples"):
        evaluate.read_samples(tmp_path)


def test_without_held_out_clips_or_other_voices_the_words_are_still_read() -> None:
    metric = scores.metric([replace(scored("The ferry waits.", "The ferry."), similarity=None, named=None, pace=None)])
    assert (metric.wer, metric.similarity, metric.named, metric.pace) == (0.3333, None, None, None)
    rows = [replace(scored("The ferry.", "The ferry."), condition=name, similarity=None) for name in CONDITIONS]
    judged = weighing.weigh(rows, metrics.Speaker(), reference=None, leaks=0, limits=LIMITS)
    assert judged.failed == ["words", "similarity", "reference"], "what could not be measured does not pass"


def test_limits_out_of_range_are_told_all_at_once() -> None:
    with pytest.raises(ValueError, match=r"(?s)gates\.named: 1\.5 is no share.*gates\.ends: -1"):
        GateParams(words=0.1, similarity=0.1, named=1.5, reference=1.0, ends=-1, leakage=0, preferred=None)
