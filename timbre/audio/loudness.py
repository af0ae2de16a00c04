"""How loud speech sounds (ITU-R BS.1770, LUFS), and the gain to a stated loudness."""

from __future__ import annotations

import numpy as np

from timbre.audio import Samples, decibels, peak

PEAK = -1.0  # dBFS; no gain lifts a sample above, so that lossy formats and filters later have room
MOST = 20.0  # dB; what needs more is noise as much as speech
SHORTEST = 0.4  # seconds, the block of BS.1770; less has no loudness


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
    lufs = loudness(samples, rate)
    if lufs is None:
        return 0.0
    return round(min(target - lufs, MOST, PEAK - decibels(peak(samples))), 2)


def amplified(samples: Samples, decibels: float) -> Samples:
    return samples * np.float32(10 ** (decibels / 20))
