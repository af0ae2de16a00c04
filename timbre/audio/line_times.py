"""The times of a draft's lines, moved into the silence that is beside them.

Whisper's lines end a quarter of a second too early in the middle of cases and over a second in the worst, and where one
ends the next often begins at once. So between two lines of a draft, the longest silence nearby parts them; where nobody
stops speaking, the quietest moment does. A line that a person has written keeps its times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil

import numpy as np

from timbre.audio import LEVEL_WINDOW as MOMENT
from timbre.audio.speech_activity import Activity
from timbre.core.records import Segment

NEAR = 0.3  # seconds before and after the two times, in which a silence is looked for …
LATE = 1.0  # … and after them, where there is none so near
APART = 0.5  # seconds between two lines from where they are no neighbours: `chunk` looks for each end by itself
SHORTEST = 0.05  # seconds; a shorter silence is part of a word
DIP = 5  # moments over which it is to be quiet, where nobody stops
LEAST = 0.1  # seconds that a line keeps on either side
AROUND = 2.0  # seconds on either side that tell how loud the voice is …
LOUD = 95  # … the percentile of their levels …
SOFT = 20.0  # … and dB below it, from where on it is no word

Times = tuple[float, float]  # seconds, from when to when


def settled(segments: Sequence[Segment], sound: Activity) -> list[Segment]:
    placed = list(segments)
    for index, (before, after) in enumerate(pairwise(segments)):
        if before.confidence is None or after.confidence is None or after.start - before.end > APART:
            continue
        if soft(before.end, after.start, sound) == [(before.end, after.start)]:  # `transcribe.align` found it
            continue
        end, start = parting(placed[index], after, sound)
        placed[index] = replace(placed[index], end=end)
        placed[index + 1] = replace(after, start=start)
    return placed


def parting(before: Segment, after: Segment, sound: Activity) -> Times:
    """Where the one line ends and the other begins."""
    earliest, latest = before.start + LEAST, after.end - LEAST
    for reach in (NEAR, LATE):
        first, last = max(earliest, before.end - NEAR), min(latest, after.start + reach)
        if found := longest(silences(first, last, sound)):
            return found
    first, last = max(earliest, before.end - NEAR), min(latest, after.start + NEAR)
    return quietest(first, last, sound) or (before.end, after.start)


def quietest(first: float, last: float, sound: Activity) -> Times | None:
    """The quietest moment between two times, as end and beginning; None where there is hardly any time between them."""
    levels = sound.decibels(first, last) if last > first else ()
    if len(levels) < DIP:
        return None
    power = np.convolve(10 ** (np.asarray(levels) / 10), np.ones(DIP), "valid")
    moment = round(first + (int(power.argmin()) + DIP / 2) * MOMENT, 3)
    return moment, moment


def soft(first: float, last: float, sound: Activity) -> list[Times]:
    """Where it is too quiet between two times to be a word, by the levels of the voice around."""
    levels, around = sound.decibels(first, last), sound.decibels(max(0.0, first - AROUND), last + AROUND)
    if not len(levels):
        return []
    quiet = levels < np.percentile(around, LOUD) - SOFT
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(np.int8)))
    begin = ceil(first / MOMENT - 1e-6)
    spans = [(round((begin + int(a)) * MOMENT, 3), round((begin + int(b)) * MOMENT, 3))
             for a, b in zip(edges[::2], edges[1::2], strict=True)]  # fmt: skip
    return [(a, b) for a, b in spans if b - a >= SHORTEST]


def longest(stretches: Sequence[Times]) -> Times | None:
    return max(stretches, key=lambda span: span[1] - span[0], default=None)


def silences(first: float, last: float, sound: Activity) -> list[Times]:
    """Where nobody speaks between two times."""
    edges = [first, *(time for run in sound.runs(first, last) for time in run), last]
    spans = zip(edges[::2], edges[1::2], strict=True)
    return [(round(a, 3), round(b, 3)) for a, b in spans if b - a >= SHORTEST]
