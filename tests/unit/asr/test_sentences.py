"""Whisper's utterances, parted where a sentence ends."""

from __future__ import annotations

from dataclasses import replace

from timbre.asr import HeardUtterance, Word
from timbre.asr.sentences import by_sentence, joined, parted


def utterance(text: str, timed: bool = True) -> HeardUtterance:
    """A word a second, half a second long."""
    words = [Word(float(place), place + 0.5, f" {word}", 0.9) for place, word in enumerate(text.split())]
    return HeardUtterance(0.0, float(len(words)), text, -0.2, 0.1, words if timed else [])


def test_a_window_of_three_sentences_is_three_lines_with_the_times_of_their_words() -> None:
    parts = by_sentence([utterance("The tide comes in. Boats go! Where to, Mr. Smith?")], "en")
    assert [(part.start, part.end, part.text) for part in parts] == [
        (0.0, 3.5, "The tide comes in."),
        (4.0, 5.5, "Boats go!"),
        (6.0, 10.0, "Where to, Mr. Smith?"),
    ]
    assert [len(part.words) for part in parts] == [4, 2, 4]


def test_no_word_is_lost_and_what_has_no_word_times_stays_whole() -> None:
    text = "He paid 3.50 in the U.S. today. “It is late.” She left at 5 p.m. sharp... and slept."
    assert " ".join(part.text for part in by_sentence([utterance(text)], "en")) == text
    assert by_sentence([utterance(text, timed=False)], "en") == [utterance(text, timed=False)]


def test_a_sentence_without_an_end_goes_on() -> None:
    assert by_sentence([utterance("and so on and so forth,")], "en") == [utterance("and so on and so forth,")]


def test_what_whisper_parted_within_a_sentence_is_joined_and_may_be_parted_elsewhere() -> None:
    first, second, third = utterance("The tide"), utterance("comes in."), utterance("Boats go.")
    later = [replace(one, start=start, end=start + 2) for start, one in ((2.0, second), (4.0, third))]
    whole = joined([first, *later], "en")
    assert [(one.start, one.end, one.text) for one in whole] == [
        (0.0, 4.0, "The tide comes in."),
        (4.0, 6.0, "Boats go."),
    ]
    assert [one.text for one in parted(whole[0], [3])] == ["The tide comes", "in."]
    assert parted(whole[0], []) == [whole[0]]


def test_what_has_no_word_times_or_comes_seconds_later_is_not_joined() -> None:
    first, untimed = utterance("The tide"), utterance("comes in.", timed=False)
    assert joined([first, replace(untimed, start=2.0, end=4.0)], "en") == [first, replace(untimed, start=2.0, end=4.0)]
    late = replace(utterance("comes in."), start=5.0, end=7.0)
    assert joined([first, late], "en") == [first, late]
