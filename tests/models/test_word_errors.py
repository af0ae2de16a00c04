"""What was said against what was heard, by known answers; and how it was said."""

from __future__ import annotations

import numpy as np
import pytest

from timbre.asr import alignment
from timbre.audio import delivery
from timbre.evaluation import word_errors

RATE = 16_000


@pytest.mark.parametrize(
    ("said", "heard", "errors", "words", "diff"),
    [
        ("The ferry waits.", "the ferry waits", 0, 3, "the ferry waits"),
        ("The ferry waits.", "The berry waits!", 1, 3, "the [-ferry-] {+berry+} waits"),
        ("The ferry waits.", "Ferry waits.", 1, 3, "[-the-] ferry waits"),
        ("The ferry waits.", "The old ferry waits here.", 2, 3, "the {+old+} ferry waits {+here+}"),
        ("The ferry waits.", "", 3, 3, "[-the ferry waits-]"),
        ("It's at pier five.", "It is at pier 5.", 0, 5, "it is at pier 5"),
        ("Harbour.", "Our bear.", 1, 1, "{+our+} [-harbor-] {+bear+}"),
    ],
)
def test_the_words_that_differ_are_counted(said: str, heard: str, errors: int, words: int, diff: str) -> None:
    found = word_errors.compare(said, heard)
    assert (found.errors, found.words, found.diff) == (errors, words, diff)
    assert found.wer == errors / words


def test_a_text_without_words_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'…' has no words to be heard"):
        word_errors.compare("…", "")


@pytest.mark.parametrize(
    ("said", "heard", "repeated"),
    [
        ("the ferry waits", "the ferry waits", False),
        ("the ferry waits", "the ferry ferry waits", True),
        ("the ferry waits", "the ferry waits the ferry", True),
        ("the ferry waits for the train", "the ferry waits for the ferry", True),
        ("again and again and again", "again and again and again", False),
        ("the ferry to the pier", "the pier to the ferry", False),
        ("the ferry waits", "", False),
    ],
)
def test_what_is_heard_twice_and_said_once_is_a_repetition(said: str, heard: str, repeated: bool) -> None:
    assert word_errors.repeats(said.split(), heard.split()) is repeated


def test_a_loop_of_the_recogniser_costs_no_more_than_the_sentence_and_is_counted_apart() -> None:
    loop = word_errors.compare("The ferry waits at the pier.", "the ferry waits " * 15)
    assert (loop.errors, loop.words, loop.wer, loop.looped) == (6, 6, 1.0, True)
    assert alignment.characters("The ferry waits.", "and so on " * 20).wrong == len("the ferry waits")


@pytest.mark.parametrize(
    ("said", "heard", "looped"),
    [
        ("the ferry waits", "the ferry the ferry waits", False),
        ("the ferry waits", "no no no no no", True),
        ("no no no no", "no no no no", False),
        ("no no no no", "no no no no no no", True),
        ("one", "it goes round and it goes round and it goes round and it goes round and stops", True),
        ("one", "", False),
    ],
)
def test_the_same_words_four_times_in_a_row_are_a_loop_unless_they_are_the_text(
    said: str, heard: str, looped: bool
) -> None:
    assert word_errors.compare(said, heard).looped is looped


def buzz(seconds: float, level: float = 0.3) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    return (level * ((time * 150) % 1 - 0.5)).astype(np.float32)


def hush(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 2e-4, int(seconds * RATE)).astype(np.float32)


def test_speech_is_what_lies_between_the_pauses_however_loud() -> None:
    said = [hush(0.4), buzz(1.0), hush(0.08), buzz(0.5), hush(0.6), buzz(1.0), hush(0.5)]
    for level in (1.0, 0.05):
        sound = np.concatenate(said) * np.float32(level)
        assert delivery.speech_seconds(sound, RATE) == pytest.approx(2.58, abs=0.03), "0.08 s is a consonant"
    assert delivery.speech_seconds(np.zeros(RATE, np.float32), RATE) == 0
    assert delivery.speech_seconds(np.zeros(3, np.float32), RATE) == 0


def test_sound_at_full_scale_is_clipped_and_a_single_peak_is_not() -> None:
    sound = buzz(0.2)
    assert not delivery.is_clipped(sound)
    sound[100], sound[200], sound[202] = 1, -1, -1
    assert not delivery.is_clipped(sound)
    sound[200:203] = -1
    assert delivery.is_clipped(sound)
    assert not delivery.is_clipped(np.empty(0, np.float32))


def test_case_marks_and_the_spelling_of_numbers_are_no_wrong_characters() -> None:
    assert alignment.characters("Pier 21, please!", "pier twenty-one please").rate == 0
    assert alignment.characters("abcd", "abcx").rate == 0.25
    assert alignment.characters("the lowercase letters", "The lower case letters").rate == 0
    assert alignment.characters("no", "no, not that one at all").rate == 1


def test_where_nothing_was_said_whatever_is_heard_is_wrong() -> None:
    assert alignment.characters("...", "").rate == 0
    assert alignment.characters("...", "Hm").rate == 1
