"""Lines of a draft begin and end where the voice does, by the silence between the words on either side."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from timbre.audio.speech_activity import Activity
from timbre.audio.word_times import TimedLine, parts, settled

LOUD, QUIET = 200, 20  # stored levels


def sound(*voiced: tuple[float, float], seconds: float = 10.0) -> Activity:
    """Somebody speaks between these times."""
    levels, speech = np.full(round(seconds * 100), QUIET, np.uint8), np.zeros(round(seconds * 100), np.uint8)
    for start, end in voiced:
        levels[round(start * 100) : round(end * 100)] = LOUD
        speech[round(start * 100) : round(end * 100)] = 1
    return Activity(levels, speech)


def line(start: float, first_end: float, last_start: float, end: float) -> TimedLine:
    return TimedLine((start, end), (start, first_end), (last_start, end))


def test_a_line_that_ends_in_the_middle_of_its_last_word_ends_where_the_word_does() -> None:
    lines = [line(1.0, 1.3, 2.0, 2.3), line(2.3, 2.9, 4.0, 4.5)]
    heard = sound((1.0, 2.6), (2.85, 4.6))
    assert settled(lines, heard, 10.0) == pytest.approx(np.array([(1.0, 2.6), (2.85, 4.6)]))


def test_a_word_that_is_early_by_more_than_half_its_own_length_still_finds_the_pause_before_the_next_word() -> None:
    lines = [line(1.0, 1.3, 2.0, 2.1), line(2.1, 3.4, 4.0, 4.5)]
    heard = sound((1.0, 2.5), (2.7, 4.5))
    assert settled(lines, heard, 10.0)[0][1] == pytest.approx(2.5)


def test_where_nobody_stops_speaking_the_quietest_moment_parts_two_lines() -> None:
    heard = sound((1.0, 5.0))
    heard.levels[248:256] = 180  # a softer sound, and the voice goes on
    (_, end), (start, _) = settled([line(1.0, 1.3, 2.0, 2.4), line(2.4, 2.9, 4.0, 5.0)], heard, 10.0)
    assert end == start
    assert 2.48 <= end <= 2.56


def test_lines_that_are_far_apart_end_each_with_its_own_voice() -> None:
    lines = [line(1.0, 1.3, 2.0, 2.2), line(6.3, 6.6, 7.0, 7.3)]
    heard = sound((0.9, 2.5), (4.0, 4.5), (6.0, 7.6))  # between them somebody coughs
    assert settled(lines, heard, 10.0) == pytest.approx(np.array([(0.9, 2.5), (6.0, 7.6)]))


def test_a_silence_within_a_sentence_is_no_end_of_a_line() -> None:
    lines = [line(1.0, 1.3, 2.6, 3.0), line(3.1, 3.5, 4.5, 5.0)]
    heard = sound((1.0, 2.0), (2.4, 3.05), (3.15, 3.9), (4.3, 5.0))
    assert settled(lines, heard, 10.0)[0][1] == pytest.approx(3.05)


def test_where_no_voice_is_heard_times_stay_and_nothing_is_made_of_nothing() -> None:
    lines = [line(1.0, 1.3, 2.0, 2.3)]
    assert settled(lines, sound(), 10.0) == [(1.0, 2.3)]
    assert settled([], sound(), 10.0) == []


def test_a_long_sentence_is_parted_at_its_longest_pauses_and_a_short_one_not_at_all() -> None:
    words = [(0.4 * n, 0.4 * n + 0.38) for n in range(40)]  # 16 s, without a pause as Whisper times them
    pauses = [(3.05, 3.25), (5.25, 5.6), (10.9, 11.2)]  # the first is the shortest, and two seconds from the second
    edges = [0.0, *(time for pause in pauses for time in pause), 16.0]
    heard = sound(*zip(edges[::2], edges[1::2], strict=True), seconds=16.0)
    begins = [words[place][0] for place in parts(words, heard)]
    assert begins == pytest.approx([5.6, 11.2], abs=0.41)
    assert parts(words[:20], heard) == [], "eight seconds are no long line"


def test_a_long_sentence_without_any_pause_is_parted_all_the_same_into_lines_that_fit() -> None:
    words = [(0.4 * n, 0.4 * n + 0.38) for n in range(60)]
    places = parts(words, sound((0.0, 24.0), seconds=24.0))
    edges = [0, *places, len(words)]
    assert all(words[b - 1][1] - words[a][0] <= 8.0 for a, b in pairwise(edges))
