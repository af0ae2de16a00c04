"""Where the lines of a draft begin and end: where the voice does, between the words on either side.

Whisper times a word by where its attention goes from one word to the next. On real speech a word begins within some
hundredths of a second of that time, and its end is early, by an eighth of a second in the middle of cases: a cut there
takes off the last syllable. So the quiet stretch just before the next line's first word parts two lines; where nobody
stops speaking, the quietest moment there does. docs/real-speech.md has how far off the times are before and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from timbre.audio import line_times
from timbre.audio.line_times import Times
from timbre.audio.speech_activity import Activity

VERSION = 1  # raise when the code gives other times for the same words and sound
TOUCHING = 0.06  # seconds: with less between two words, Whisper saw no pause, and the second begins too early
LATE = 0.15  # seconds from a line's first word, as Whisper times it, to where the pause before it ends, at most
LONGEST = 1.2  # seconds of a word, at most: what Whisper makes longer holds a pause
FAR = 0.4  # seconds between two lines, from where each looks for its own end of the voice
LEAST = 0.05  # seconds that a line keeps
LINE = 8.0  # seconds, from where on a line is parted at its pauses …
PART = 2.0  # … into lines of so many, at least


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


def parts(words: Sequence[Times], sound: Activity) -> list[int]:
    """Which words of a long line begin a line of their own: those after its longest pauses."""
    if not words or words[-1][1] - words[0][0] <= LINE:
        return []
    breaks = []
    for place, (before, after) in enumerate(pairwise(words), 1):
        if after[0] - words[0][0] >= PART and words[-1][1] - after[0] >= PART:
            end, start = _parting(TimedLine(before, before, before), TimedLine(after, after, after), sound)
            breaks.append((start - end, after[0] - before[1], place))
    if not breaks:
        return []
    _, _, place = max(breaks)
    return [*parts(words[:place], sound), place, *(place + other for other in parts(words[place:], sound))]


def _parting(before: TimedLine, after: TimedLine, sound: Activity) -> Times:
    """When the one line ends and the other begins."""
    gap = after.first[0] - before.last[1]
    if gap > FAR:
        end, start = _ends(before, after.first[0], sound), _begins(after, before.last[1], sound)
        if end < start:
            return end, start
    earliest, begins = _within_last(before), after.first[0]
    if gap < TOUCHING:  # Whisper saw no pause: what it takes for the next word's beginning is the end of the last word
        pause = line_times.longest(line_times.soft(earliest, after.first[1], sound))
    else:  # otherwise a word begins when Whisper says, to a tenth of a second or so
        stretches = line_times.soft(earliest, min(_within_first(after), begins + LATE), sound)
        pause = line_times.longest([s for s in stretches if s[1] >= begins - LATE]) or line_times.longest(stretches)
    return pause or line_times.quietest(earliest, begins + LATE, sound) or (before.times[1], begins)


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
