"""How loud speech sounds (ITU-R BS.1770, LUFS), how much that varies (EBU Tech 3342, LU), and the gain to a loudness.

A recording is measured in one pass (`measure`), without lying in memory. The filters are those of pyloudnorm, which
scipy computes; to import that takes longer than to measure an hour.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator
from math import cos, pi, sin, sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from timbre import audio
from timbre.audio import Samples, decibels, peak

PEAK = -1.0  # dBFS; no gain lifts a sample above, so that lossy formats and filters later have room
MOST = 20.0  # dB; what needs more is noise as much as speech
SHORTEST = 0.4  # seconds, the block of BS.1770; less has no loudness
STEP = 0.1  # seconds from one block to the next
MEMORY = 0.1  # seconds, after which a filter has forgotten all but a thousand-millionth of what it heard
SHORT_TERM = 3.0  # seconds, the block of Tech 3342
ABSOLUTE = -70.0  # LUFS; quieter blocks are nobody's
RELATIVE, RELATIVE_OF_RANGE = -10.0, -20.0  # LU below the mean of the others, which do not count either
SOFTEST, LOUDEST = 10, 95  # percentiles of the short-term loudness, between which the range lies


class RecordingLoudness(NamedTuple):
    lufs: float | None  # None of what is too short or too quiet to have one
    range: float | None  # LU
    peak: float  # dBFS


def loudness(samples: Samples, rate: int) -> float | None:
    """LUFS; None for what is too short or too quiet to have a loudness."""
    if len(samples) <= SHORTEST * rate:
        return None
    energy = np.cumsum(np.concatenate([np.zeros(1), *(part**2 for part in weighted([samples], rate))]))
    count = round((len(samples) / rate - SHORTEST) / STEP) + 1
    begins = (np.arange(count) * STEP * rate + 1e-6).astype(int)
    ends = np.minimum(begins + round(SHORTEST * rate), len(samples))
    return _gated((energy[ends] - energy[begins]) / (SHORTEST * rate), RELATIVE)


def gain(samples: Samples, rate: int, target: float) -> float:
    """Decibels to the target, fewer where a peak or noise would come too far up.

    To a hundredth, so that machines agree."""
    return _bounded(loudness(samples, rate), decibels(peak(samples)), target)


def amplified(samples: Samples, decibels: float) -> Samples:
    return samples * np.float32(10 ** (decibels / 20))


def measure(path: Path) -> RecordingLoudness:
    """Of a whole file."""
    power, highest = _weighted(path)
    blocks = _means(power, round(SHORTEST / STEP))
    lufs = _gated(blocks, RELATIVE)
    short = _means(power, round(SHORT_TERM / STEP))
    kept = short[_loud(short, RELATIVE_OF_RANGE)]
    span = float(np.subtract(*np.percentile(_lufs(kept), [LOUDEST, SOFTEST]))) if len(kept) else None
    return RecordingLoudness(
        None if lufs is None else round(lufs, 2), None if span is None else round(span, 2), round(decibels(highest), 2)
    )


def level(recording: RecordingLoudness, target: float) -> float:
    """Decibels that bring a whole recording to the target, bounded as in `gain`."""
    return _bounded(recording.lufs, recording.peak, target)


def _bounded(lufs: float | None, highest: float, target: float) -> float:
    return 0.0 if lufs is None else round(min(target - lufs, MOST, PEAK - highest), 2)


def read_record(path: Path) -> RecordingLoudness | None:
    """What `chunk` wrote of a recording; None where it wrote nothing."""
    try:
        return RecordingLoudness(*(json.loads(path.read_bytes())["loudness"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _weighted(path: Path) -> tuple[npt.NDArray[np.float64], float]:
    """The mean square of each STEP as an ear weights it, and the highest sample."""
    rate, highest = audio.rate_of(path), 0.0

    def blocks() -> Iterator[Samples]:
        nonlocal highest
        for block in audio.stream(path, rate):
            highest = max(highest, peak(block))
            yield block

    size, rest, sums = round(STEP * rate), np.empty(0), []
    for part in weighted(blocks(), rate):
        samples = np.concatenate([rest, part])
        whole = len(samples) // size * size
        sums.append(np.mean(samples[:whole].reshape(-1, size) ** 2, axis=1))
        rest = samples[whole:]
    return np.concatenate([np.empty(0), *sums]), highest


def weighted(blocks: Iterable[Samples], rate: int) -> Iterator[npt.NDArray[np.float64]]:
    """A sound as the filters of BS.1770 leave it: of each block as much as came in.

    They are recursive, and forget within MEMORY. So each stretch is filtered by its spectrum, from that long before.
    """
    memory = round(MEMORY * rate)
    size = 1 << (8 * memory - 1).bit_length()  # of a spectrum: little of it is the memory, and it stays in the cache
    response, before = _response(rate, size), np.zeros(memory)
    for block in blocks:
        sound = np.concatenate([before, block])
        for begin in range(0, len(block), size - memory):
            stretch = sound[begin : begin + size]
            yield np.fft.irfft(np.fft.rfft(stretch, size) * response, size)[memory : len(stretch)]
        before = sound[len(sound) - memory :]


@functools.lru_cache(maxsize=8)
def _response(rate: int, size: int) -> npt.NDArray[np.complex128]:
    """What the two filters do to each frequency of a spectrum."""
    delay = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    both = np.ones(len(delay), np.complex128)
    for above, below in (_shelf(rate), _high_pass(rate)):
        both *= np.polynomial.polynomial.polyval(delay, above) / np.polynomial.polynomial.polyval(delay, below)
    return both


def _shelf(rate: int) -> tuple[list[float], list[float]]:
    """A head lifts what is high, by 4 dB."""
    lift = 10 ** (4 / 40)
    cosine, slope = _bend(rate, 1500.0, 1 / sqrt(2))
    more, less, slope = lift + 1, lift - 1, 2 * sqrt(lift) * slope
    above = [more + less * cosine + slope, -2 * (less + more * cosine), more + less * cosine - slope]
    below = [more - less * cosine + slope, 2 * (less - more * cosine), more - less * cosine - slope]
    return [lift * part for part in above], below


def _high_pass(rate: int) -> tuple[list[float], list[float]]:
    """Ears hardly hear what is very low."""
    cosine, slope = _bend(rate, 38.0, 0.5)
    half = (1 + cosine) / 2
    return [half, -2 * half, half], [1 + slope, -2 * cosine, 1 - slope]


def _bend(rate: int, hertz: float, quality: float) -> tuple[float, float]:
    """Where a filter bends, on the unit circle, and how steeply (Bristow-Johnson's formulas, as in pyloudnorm)."""
    angle = 2 * pi * hertz / rate
    return cos(angle), sin(angle) / (2 * quality)


def _means(power: npt.NDArray[np.float64], steps: int) -> npt.NDArray[np.float64]:
    if len(power) < steps:
        return np.empty(0)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(power, steps).mean(1), np.float64)


def _lufs(power: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(-0.691 + 10 * np.log10(np.maximum(power, 1e-30)), np.float64)


def _loud(power: npt.NDArray[np.float64], relative: float) -> npt.NDArray[np.bool_]:
    """Which blocks count."""
    heard = _lufs(power) >= ABSOLUTE
    return heard & (_lufs(power) > _lufs(power[heard].mean(keepdims=True)) + relative) if heard.any() else heard


def _gated(power: npt.NDArray[np.float64], relative: float) -> float | None:
    kept = power[_loud(power, relative)]
    return float(_lufs(kept.mean(keepdims=True))[0]) if len(kept) else None
