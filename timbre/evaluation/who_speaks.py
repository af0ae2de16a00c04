"""Who speaks when in a recording, by a speaker encoder: the voices that short windows of its speech fall into.

    find(path, speaker_encoder.load(params.speaker), limit)     # turns of voice 1, 2, …; 1 speaks most

All windows begin as one voice. Two groups of a voice's windows are two voices where the cosine of their centres is
below `limit`, and each has enough of the speech. Then a voice goes on until the windows say clearly that it does not: a
single window is noisy. No word is looked at, and nobody is named: which voice is whose, lines of a transcript say
(timbre/project/turns.py). docs/cleaning.md has what this finds, and what it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from timbre import audio
from timbre.audio import speech_activity
from timbre.core.records import SpeakerTurn
from timbre.evaluation.one_voice import groups, near
from timbre.evaluation.speaker_encoder import SAMPLE_RATE, AnyVoiceEncoder, unit

Vectors = npt.NDArray[np.float32]  # (windows, width), each of length 1
Span = tuple[float, float]  # seconds

VERSION = 1  # raise when the code finds other turns in the same sound
WINDOW, STEP = 1.6, 0.8  # seconds
SHORTEST = 0.5  # seconds; of less speech no voice is told, it goes with its neighbour
LEAST_VOICE = 4  # windows that a voice has, at least: a cough or a laugh is no speaker
MOST_VOICES = 8
CHANGE = 0.3  # of cosine, in sum, that windows must be nearer to another voice before it is its turn
MOST = 2000  # windows that groups are looked for in; of a longer recording, evenly drawn


def find(path: Path, encoder: AnyVoiceEncoder, limit: float) -> list[SpeakerTurn]:
    activity = speech_activity.of_recording(path, "silero")
    runs = activity.runs(0, len(activity.levels) * audio.LEVEL_WINDOW)
    spans = [span for run in runs for span in windows(run)]
    if not spans:
        return []
    vectors = np.stack([encoder.embed(audio.read(path, SAMPLE_RATE, *span)[0]) for span in spans])
    return turns(runs, spans, followed(vectors, voices(vectors, limit)))


def windows(run: Span) -> list[Span]:
    """The run in windows that overlap by half; a short one is its own."""
    start, end = run
    if end - start < SHORTEST:
        return []
    starts = np.arange(start, max(start + STEP / 2, end - WINDOW + STEP / 2), STEP)
    return [(round(float(at), 3), round(min(end, float(at) + WINDOW), 3)) for at in starts]


def voices(vectors: Vectors, limit: float) -> Vectors:
    """The centre of each voice; the one with most windows first."""
    drawn = vectors[np.linspace(0, len(vectors) - 1, min(MOST, len(vectors))).round().astype(int)]
    groups_of_windows: list[Vectors] = []
    todo = [drawn]
    while todo:
        group = todo.pop()
        second = groups(group) if len(group) >= 2 * LEAST_VOICE else np.zeros(len(group), bool)
        enough = min(int(second.sum()), int((~second).sum())) >= LEAST_VOICE
        if enough and len(groups_of_windows) + len(todo) + 2 <= MOST_VOICES and near(group, second) < limit:
            todo += [group[second], group[~second]]
        else:
            groups_of_windows.append(group)
    groups_of_windows.sort(key=len, reverse=True)
    return np.stack([unit(group.mean(0)) for group in groups_of_windows])


def followed(vectors: Vectors, centres: Vectors) -> npt.NDArray[np.int64]:
    """Which voice each window is of: the likeliest way through all of them, where each change costs CHANGE."""
    likeness = vectors @ centres.T
    best, came = likeness[0], np.zeros(likeness.shape, np.int64)
    for place in range(1, len(likeness)):
        stay, change = best, best.max() - CHANGE
        came[place] = np.where(stay >= change, np.arange(len(best)), int(best.argmax()))
        best = np.maximum(stay, change) + likeness[place]
    voice = np.zeros(len(likeness), np.int64)
    voice[-1] = int(best.argmax())
    for place in range(len(likeness) - 1, 0, -1):
        voice[place - 1] = came[place, voice[place]]
    return voice


def turns(
    runs: Sequence[Span], spans: Sequence[Span], voice: Sequence[int] | npt.NDArray[np.int64]
) -> list[SpeakerTurn]:
    """One after the other; where two windows overlap, the turn changes halfway. Voices are counted by how long they
    speak."""
    parts: list[tuple[float, float, int]] = []
    for start, end in runs:
        inside = [
            (a, b, int(v)) for (a, b), v in zip(spans, voice, strict=True) if a >= start - 1e-3 and b <= end + 1e-3
        ]
        if not inside:  # too short to tell
            continue
        edges = [start, *((after[0] + before[1]) / 2 for before, after in pairwise(inside)), end]
        parts += [(a, b, v) for (a, b), (*_, v) in zip(pairwise(edges), inside, strict=True)]
    seconds = np.bincount([v for *_, v in parts], [b - a for a, b, _ in parts])
    number = {int(v): place for place, v in enumerate(np.argsort(-seconds, kind="stable"), 1)}
    joined: list[SpeakerTurn] = []
    for start, end, v in parts:
        if joined and joined[-1].voice == number[v] and start - joined[-1].end < 1e-3:
            start = joined.pop().start
        joined.append(SpeakerTurn(round(start, 2), round(end, 2), number[v]))
    return joined
