"""Where somebody speaks in a recording, and how loud each moment of it is: measured once, asked for ever after.

`measure` streams through the sound, so its memory does not grow with it; what it finds takes 720 KB an hour, and `open`
leaves that on the disk until a stretch is asked for. A *moment* is 10 ms.

silero    a small recurrent network that knows voices (timbre/audio/silero.py)
energy    what is louder than a level between the recording's quiet and its loud moments (timbre/audio/delivery.py);
          knows nothing of voices
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from math import ceil, floor
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from timbre import audio
from timbre.audio import LEVEL_WINDOW as MOMENT
from timbre.audio import Samples, delivery, silero
from timbre.audio.silero import FRAME, RATE
from timbre.core.content import content_key
from timbre.core.errors import DataError

Vad = Literal["silero", "energy"]
Flags = npt.NDArray[np.bool_]

VERSION = 3  # raise when the code finds otherwise in the same sound, or more of it …
BY_LEVEL = "2"  # … or this one, when only energy does
QUIETEST = -127.5  # dBFS, stored as 0; half a decibel a step up to 255, full scale
SURE, UNSURE = 0.5, 0.35  # probability from which a voice is heard, and until which it goes on: silero's own
BREAK = 10  # moments: a shorter break, as before a t, belongs to the word
SHORTEST = 5  # moments: what is shorter is a click
EDGE = 3  # moments on either side, because a word begins and ends softly: silero's own
QUIET_BELOW = 5  # percentile of levels that counts as their quiet
AROUND = 1500  # moments before and after a clip in which its background is heard: a clip alone has few pauses
ENOUGH = 30  # moments of pauses that tell the background …
SHARE = 0.05  # … and of what is heard: among other voices, the few moments without any are softer than the others are
SMOOTH = 10  # moments: over a tenth of a second, several voices or a noise are about as loud as all the time …
SOFTEST = 10  # … and this percentile of such means lies in the pauses of a voice that nobody heard stop
# A noise is steady, others' voices sway: from the softest tenth of a second down to the softest moment are so many dB.
# What is read from the first is off by so many of these, by how high it reads and by their number (docs/real-speech.md)
SWAYING, BY_LEVEL_READ, BY_SWAY = -1.2, 0.078, 0.094
LEAST_SNR = -10.0  # dB; a difference of two powers that are nearly equal tells no more


@dataclass(frozen=True)
class Activity:
    """Of one recording, moment by moment."""

    levels: npt.NDArray[np.uint8]  # half decibels above QUIETEST
    speech: npt.NDArray[np.uint8]  # 1 where somebody speaks

    def decibels(self, start: float, end: float) -> npt.NDArray[np.float64]:
        """dBFS of each moment that lies wholly between two times (seconds)."""
        return self.levels[_within(start, end)] / 2 + QUIETEST

    def speaks(self, start: float, end: float) -> Flags:
        return self.speech[_within(start, end)].astype(bool)

    def at(self, time: float) -> tuple[bool, float]:
        """Whether somebody speaks at that time, and dBFS."""
        moment = min(int(time / MOMENT), len(self.levels) - 1)
        return bool(self.speech[moment]), float(self.levels[moment]) / 2 + QUIETEST

    @functools.cached_property
    def floor(self) -> float:
        """dBFS of the recording's quiet moments."""
        return float(np.percentile(self.levels, QUIET_BELOW)) / 2 + QUIETEST if len(self.levels) else QUIETEST

    def background(self, start: float, end: float) -> float:
        """dBFS of what is heard beside the voice, between two times and around them.

        Digital silence, which an editor or a noise gate leaves, is no background. Where too little else is heard
        between the words, the quietest moments of the voice itself tell. Where nobody stops at all, as among other
        voices, which are speech too, what is heard in the softest tenths of a second does.
        """
        near = slice(max(0, _within(start, end).start - AROUND), _within(start, end).stop + AROUND)
        levels, speech = self.levels[near] / 2 + QUIETEST, self.speech[near].astype(bool)
        heard = self.levels[near] > 0
        pauses, words = levels[~speech & heard], levels[speech & heard]
        if len(pauses) >= max(ENOUGH, SHARE * heard.sum()):
            return float(np.median(pauses))
        if not len(words):
            return self.floor
        softest = float(np.percentile(words, QUIET_BELOW))
        if (~speech & ~heard).sum() >= ENOUGH or heard.sum() < SMOOTH:
            return softest
        return _unceasing(levels[heard], mean_decibels(words), softest)

    def snr(self, spans: Sequence[Sequence[float]]) -> float:
        """dB from what is heard beside the speech up to the speech alone, within some spans (seconds)."""
        levels = np.concatenate([self.decibels(*span)[self.speaks(*span)] for span in spans])
        return above(mean_decibels(levels), self.background(spans[0][0], spans[-1][1]))

    def runs(self, start: float, end: float) -> list[tuple[float, float]]:
        """The stretches between two times in which somebody speaks without a break."""
        first = _within(start, end).start
        return [((first + a) * MOMENT, (first + b) * MOMENT) for a, b in _runs(self.speaks(start, end))]

    def quietest(self, start: float, end: float, tolerance: float, place: float) -> float:
        """The middle of a moment between two times that is, to `tolerance` dB, as quiet as any.

        Of several the first (`place` 0), the last (1) or one between; halfway where no moment fits between the times.
        """
        levels = self.decibels(start, end)
        if not len(levels):
            return (start + end) / 2
        good = np.flatnonzero(levels <= levels.min() + tolerance)
        return float((_within(start, end).start + good[round(place * (len(good) - 1))] + 0.5) * MOMENT)


def _unceasing(decibels: npt.NDArray[np.float64], voice: float, softest: float) -> float:
    """dBFS of what goes on beside a voice in which no pause was heard; its moments reach down to `softest`."""
    power = np.convolve(10 ** (decibels / 10), np.ones(SMOOTH) / SMOOTH, "valid")
    low = above(voice, float(10 * np.log10(np.percentile(power, SOFTEST))))
    most = above(voice, softest)
    sway = most - low
    ratio = min(most, low + sway * (SWAYING + BY_LEVEL_READ * low + BY_SWAY * sway))
    return float(voice - 10 * np.log10(1 + 10 ** (max(ratio, LEAST_SNR) / 10)))


def above(mixed: float, background: float) -> float:
    """dB from the background up to the speech alone; a microphone hears the sum of the two."""
    power = 10 ** (mixed / 10) - 10 ** (background / 10)
    return max(10 * float(np.log10(power)) - background, LEAST_SNR) if power > 0 else LEAST_SNR


def mean_decibels(level: npt.NDArray[np.float64]) -> float:
    """Of the mean power."""
    return float(10 * np.log10(np.mean(10 ** (level / 10)))) if len(level) else QUIETEST


def _within(start: float, end: float) -> slice:
    first = max(0, ceil(start / MOMENT - 1e-6))
    return slice(first, max(first, floor(end / MOMENT + 1e-6)))


def load(file: Path | io.BytesIO) -> Activity:
    """OSError or ValueError where it is no activity."""
    levels, speech = np.load(file, mmap_mode="r" if isinstance(file, Path) else None)
    return Activity(levels, speech)


def open(path: Path) -> Activity:
    try:
        return load(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); remove it and run `dvc repro chunk`") from error


def key(sha256: str, vad: Vad) -> str:
    """What the activity of a recording with these samples depends on."""
    return content_key(VERSION, sha256, vad, version("silero-vad") if vad == "silero" else BY_LEVEL)


def of_recording(path: Path, vad: Vad) -> Activity:
    """Measured now, of a whole file."""
    levels = np.concatenate([_stored(part) for part in _levels(path)])
    speech = _voiced(path, len(levels)) if vad == "silero" else _loud(levels)
    return Activity(levels, speech.astype(np.uint8))


def measure(path: Path, vad: Vad) -> bytes:
    """The same as the content of an activity's file."""
    activity, buffer = of_recording(path, vad), io.BytesIO()
    np.save(buffer, np.stack([activity.levels, activity.speech]))
    return buffer.getvalue()


def _levels(path: Path) -> Iterator[Samples]:
    rest, rate = np.empty(0, np.float32), audio.rate_of(path)
    window = round(rate * MOMENT)
    if rate % round(1 / MOMENT):  # so that moments do not drift against the seconds
        rate, window = RATE, round(RATE * MOMENT)
    for block in audio.stream(path, rate):
        samples = np.concatenate([rest, block])
        whole = len(samples) // window * window
        yield audio.levels(samples[:whole], rate)
        rest = samples[whole:]


def _stored(levels: Samples) -> npt.NDArray[np.uint8]:
    decibels = 20 * np.log10(np.maximum(levels.astype(np.float64), 1e-7))
    return np.clip(np.rint((decibels - QUIETEST) * 2), 0, 255).astype(np.uint8)


def _loud(levels: npt.NDArray[np.uint8]) -> Flags:
    level = 10 ** ((levels / 2 + QUIETEST) / 20)
    return _smooth(level > delivery.speech_level(level))


def _voiced(path: Path, moments: int) -> Flags:
    probabilities = silero.probabilities(audio.stream(path, RATE))
    frames = (np.arange(moments) * round(MOMENT * RATE)) // FRAME
    voiced = np.append(_held(probabilities), False)
    return _smooth(voiced[np.minimum(frames, len(probabilities))])


def _held(probabilities: npt.NDArray[np.float32]) -> Flags:
    """True from where a voice is sure until it is not even likely."""
    settled = np.flatnonzero((probabilities >= SURE) | (probabilities < UNSURE))
    last = np.searchsorted(settled, np.arange(len(probabilities)), side="right") - 1  # settled frame so far
    sure = probabilities[settled] >= SURE
    return (last >= 0) & sure[np.maximum(last, 0)] if len(settled) else np.zeros(len(probabilities), bool)


def _smooth(flags: Flags) -> Flags:
    smooth = np.zeros(len(flags), bool)
    runs: list[tuple[int, int]] = []
    for begin, end in _runs(flags):
        if runs and begin - runs[-1][1] < BREAK:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((begin, end))
    for begin, end in runs:
        if end - begin >= SHORTEST:
            smooth[max(0, begin - EDGE) : end + EDGE] = True
    return smooth


def _runs(flags: Flags) -> list[tuple[int, int]]:
    within = np.zeros(len(flags) + 2, bool)
    within[1:-1] = flags
    edges = np.flatnonzero(within[1:] != within[:-1]).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))
