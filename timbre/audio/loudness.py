"""How loud speech sounds (ITU-R BS.1770, LUFS), how much that varies (EBU Tech 3342, LU), and the gain to a loudness.

A recording is measured in one pass (`measure`), without lying in memory.
"""

from __future__ import annotations

import json
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
    from pyloudnorm import Meter  # here: scipy's filters take half a second to import

    if len(samples) <= SHORTEST * rate:
        return None
    lufs = float(Meter(rate).integrated_loudness(samples))
    return lufs if np.isfinite(lufs) else None


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
    from pyloudnorm.iirfilter import IIRfilter  # here: scipy's filters take half a second to import
    from scipy.signal import lfilter

    rate = audio.rate_of(path)
    size, highest, rest, sums = round(STEP * rate), 0.0, np.empty(0), []
    filters = [
        IIRfilter(4.0, 1 / np.sqrt(2), 1500.0, rate, "high_shelf"),
        IIRfilter(0.0, 0.5, 38.0, rate, "high_pass"),
    ]
    states = [np.zeros(2), np.zeros(2)]
    for block in audio.stream(path, rate):
        highest, weighted = max(highest, peak(block)), block.astype(np.float64)
        for place, each in enumerate(filters):
            weighted, states[place] = lfilter(each.b, each.a, weighted, zi=states[place])
        samples = np.concatenate([rest, weighted])
        whole = len(samples) // size * size
        sums.append(np.mean(samples[:whole].reshape(-1, size) ** 2, axis=1))
        rest = samples[whole:]
    return np.concatenate([np.empty(0), *sums]), highest


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
