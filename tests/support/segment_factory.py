"""Made-up talks and what is heard in them, for the tests of `chunk`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from timbre.audio.clips import plan
from timbre.audio.speech_activity import QUIETEST, Activity
from timbre.core.records import Clip, Recording, Segment
from timbre.core.sections import ChunkParams

TALK = Recording("talk", "ann", "en", "CC0-1.0", "own voice", "file", "ab" * 32, 16000, 36000.0)
PARAMS = ChunkParams(
    vad="energy", max_seconds=30, min_seconds=2, gap=3, max_pause=0.8, pad=0.2, loudness=None, min_level=-50,
    min_confidence=0.4,
)  # fmt: skip


def heard(segments: Sequence[Segment], level: float = -20.0, until: float = 0.0) -> Activity:
    """Speech of one level exactly where the segments are, silence elsewhere."""
    moments = round(100 * (max([until, *(s.end for s in segments)]) + 5))
    made = Activity(np.full(moments, stored(-70), np.uint8), np.zeros(moments, np.uint8))
    for segment in segments:
        place = slice(round(100 * segment.start), round(100 * segment.end))
        made.levels[place], made.speech[place] = stored(level), 1
    return made


def stored(decibels: float) -> int:
    return round((decibels - QUIETEST) * 2)


def talk(count: int, seed: int = 0, sentence: float = 0.6, longest: float = 7.0) -> list[Segment]:
    """A made-up talk: lines of 1.5 to 7 s, short pauses and now and then a long one, most lines a whole sentence."""
    dice = random.Random(seed)
    segments, at = [], 0.5
    for number in range(count):
        end = round(at + dice.uniform(1.5, longest), 2)
        stop = "." if dice.random() < sentence else ","
        segments.append(Segment("talk", round(at, 2), end, "ann", f"Line number {number}{stop}"))
        at = end + dice.choice([0.0, 0.2, 0.4, 0.6, 1.0, 1.5] * 4 + [5.0])
    return segments


def clips_of(segments: list[Segment], params: ChunkParams = PARAMS) -> list[Clip]:
    return plan(TALK, segments, heard(segments), params)[0]


def ids(segments: list[Segment], params: ChunkParams = PARAMS) -> set[str]:
    return {clip.id for clip in clips_of(segments, params)}


def correct(segments: list[Segment], at: int) -> list[Segment]:
    edited = replace(segments[at], text=segments[at].text.replace("Line", "Lyne"))
    return [*segments[:at], edited, *segments[at + 1 :]]
