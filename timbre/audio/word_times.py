"""Where the lines of a draft begin and end: where the voice does, between the words on either side.

Whisper times a word by where its attention goes from one word to the next. That is near enough to say between which
two words a line ends, and too coarse to say where the sound of the one is over: in the worst case the end cuts a word.
So the longest silence from the middle of a line's last word to the middle of the next line's first parts the two; where
nobody stops speaking, the quietest moment near the words' ends does. docs/real-speech.md has how far off the times are
before and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from timbre.audio.line_times import quiet_moment, silences
from timbre.audio.speech_activity import Activity

VERSION = 1  # raise when the code gives other times for the same words and sound
EARLY = 0.3  # seconds before the last word's end and after the first one's start: where the quiet moment may be
LONGEST = 1.2  # seconds of a word, at most: what Whisper makes longer holds a pause
FAR = 0.4  # seconds between two lines, from where each looks for its own end of the voice
LEAST = 0.05  # seconds that a line keeps

Times = tuple[float, float]  # seconds, from when to when


class TimedLine(NamedTuple):
    times: Times
    first: Times  # of its first word
    last: Times


def settled(lines: Sequence[TimedLine], sound: Activity, seconds: float) -> list[Times]:
    """From when to when each line is spoken, in a recording of so many seconds."""
    starts, ends = [line.times[0] for line in lines], [line.times[1] for line in lines]
    for place, (before, after) in enumerate(pairwise(lines)):
        ends[place], starts[place + 1] = _parting(before, after, sound)
    if lines:
        starts[0], ends[-1] = _begins(lines[0], 0.0, sound), _ends(lines[-1], seconds, sound)
    moved = zip(lines, starts, ends, strict=True)
    return [(start, end) if end - start >= LEAST else line.times for line, start, end in moved]


def _parting(before: TimedLine, after: TimedLine, sound: Activity) -> Times:
    """When the one line ends and the other begins."""
    if after.first[0] - before.last[1] > FAR:
        return _ends(before, after.first[0], sound), _begins(after, before.last[1], sound)
    earliest, latest = _within_last(before), _within_first(after)
    if quiet := silences(earliest, latest, sound):
        return max(quiet, key=lambda span: span[1] - span[0])
    near = max(earliest, before.last[1] - EARLY), min(latest, after.first[0] + EARLY)
    moment = quiet_moment(*near, sound)
    return (before.times[1], after.times[0]) if moment is None else (moment, moment)


def _begins(line: TimedLine, earliest: float, sound: Activity) -> float:
    """Where the voice sets in that reaches the first word."""
    runs = sound.runs(max(earliest, line.first[0] - LONGEST), _within_first(line))
    return next((round(start, 3) for start, end in runs if end >= line.first[0]), line.times[0])


def _ends(line: TimedLine, latest: float, sound: Activity) -> float:
    """Where the voice stops that has begun within the last word."""
    runs = sound.runs(_within_last(line), min(latest, line.last[1] + LONGEST))
    return next((round(end, 3) for start, end in reversed(runs) if start <= line.last[1]), line.times[1])


def _within_first(line: TimedLine) -> float:
    start, end = line.first
    return (max(start, end - LONGEST) + end) / 2


def _within_last(line: TimedLine) -> float:
    start, end = line.last
    return (start + min(end, start + LONGEST)) / 2
