"""Up to which frequency a recording holds sound.

A telephone, an old codec or a resampler leaves nothing above half its own rate, and no later rate brings that back:
the file may have 44.1 kHz and sound like a call. A voice learns what it hears, and will sound as dull.

Asked of the loudest hundredth of the moments in each band, in which an s is heard: there even a dull voice has sound up
to 8 kHz, some 20 to 40 dB below the whole. What a resampler leaves lies 90 dB below and more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from timbre import audio
from timbre.audio import Samples
from timbre.core.safe_text import warn

RATE = 16_000  # Hz at which a recording is looked at; what it holds above 8 kHz is not asked
FRAME = 512  # samples
BAND = 500  # Hz
LOUDEST = 99  # percentile of a band's power over the moments
NOTHING = -60.0  # dB beside the whole, below which a band holds nothing
DULL = 4500  # Hz; a recording that holds nothing above is told of. A telephone's sound ends at 3.4 to 4 kHz


def highest(path: Path) -> int:
    """Hz up to which the recording holds sound, in steps of BAND; 0 where it holds none."""
    power = np.concatenate([np.empty((0, RATE // 2 // BAND)), *_bands(audio.stream(path, RATE))])
    if not power.any():
        return 0
    level = np.percentile(power, LOUDEST, axis=0) / np.percentile(power.sum(1), LOUDEST)
    held = np.flatnonzero(level > 10 ** (NOTHING / 10))
    return int(held[-1] + 1) * BAND if len(held) else 0


def _bands(blocks: Iterable[Samples]) -> Iterator[npt.NDArray[np.float64]]:
    """(frames, bands) power of each block."""
    window, rest, bands = np.hanning(FRAME), np.empty(0, np.float32), RATE // 2 // BAND
    for block in blocks:
        samples = np.concatenate([rest, block])
        whole = len(samples) // FRAME * FRAME
        spectrum = np.abs(np.fft.rfft(samples[:whole].reshape(-1, FRAME) * window)) ** 2
        yield spectrum[:, 1:].reshape(len(spectrum), bands, FRAME // 2 // bands).sum(2)
        rest = samples[whole:]


def problem(record: Path) -> str | None:
    """What is to be said of a recording by what `chunk` wrote of it; None where nothing is, or nothing is known."""
    try:
        hertz = json.loads(record.read_bytes())["bandwidth"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(hertz, int) or hertz > DULL:
        return None
    return (
        f"{record.stem}: holds nothing above {hertz / 1000:g} kHz, like a telephone, and the voice will sound so, too"
    )


def tell(record: Path) -> None:
    if told := problem(record):
        warn(f"{told}; look for a better recording")
