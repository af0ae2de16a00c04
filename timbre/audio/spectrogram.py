"""A picture of sound: time to the right, pitch upwards, loudness as light. The same sound gives the same bytes.

    Path("a.png").write_bytes(png(samples, rate))

The height of the picture is the ear's own scale (mel), so that vowels and consonants have their fair share. It is a PNG
of few colours: a sentence of 3 s takes about 10 kB.
"""

from __future__ import annotations

import functools
import io

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
HEIGHT = 96  # pixels, each a mel band
COLUMNS = 80  # pixels per second
WINDOW = 0.032  # seconds
RANGE = 60.0  # dB between black and the brightest
LOWEST, HIGHEST = 50.0, 8000.0  # Hz; what speech lives in
LEVELS = 32  # colours; more cannot be told apart and cost bytes
# Black over violet and orange to a pale yellow: brightness rises all the way, for eyes that see no colours too.
STOPS = ((0, 0, 4), (40, 17, 89), (114, 31, 129), (183, 55, 121), (241, 96, 93), (254, 176, 120), (252, 253, 191))


def png(audio: npt.NDArray[np.float32], rate: int) -> bytes:
    """The picture as a PNG file; of no sound at all, one black column."""
    from PIL import Image  # here: whoever draws nothing waits for nothing

    picture, file = Image.fromarray(pixels(audio, rate), "P"), io.BytesIO()
    picture.putpalette(palette().tobytes())
    picture.save(file, "PNG", compress_level=6)  # 9 takes twice as long for a two-hundredth less
    return file.getvalue()


def pixels(audio: npt.NDArray[np.float32], rate: int) -> Pixels:
    """(HEIGHT, columns) numbers of the palette, the highest pitch on top."""
    size, hop = round(WINDOW * rate), rate / COLUMNS
    columns = max(1, round(len(audio) / hop))
    # speech is weaker the higher; so its hiss is seen too
    lifted = np.diff(audio.astype(np.float32), prepend=np.float32(0))
    padded = np.pad(lifted, (size // 2, size))
    starts = (np.arange(columns) * hop).astype(int)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[starts] * np.hanning(size).astype(np.float32)
    bins, weights, begins = band_bins(rate, 2 * size)
    spectrum = np.fft.rfft(frames, 2 * size, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    power = np.add.reduceat(np.ascontiguousarray(power.T)[bins] * weights[:, None], begins)  # (HEIGHT, columns)
    loudness = 10 * np.log10(power + np.float32(1e-12))
    # to a whole dB: the loudest point must not move the colours of all others by its last digit
    top = max(np.round(loudness.max()), 0.0)
    light = np.clip((loudness - top) / RANGE + 1, 0, 1)
    levels: Pixels = np.round(light[::-1] * (LEVELS - 1)).astype(np.uint8)
    return levels


def colours(levels: Pixels) -> Pixels:
    """(height, columns, 3) red, green, blue."""
    return np.take(palette(), levels, 0)


@functools.lru_cache
def palette() -> Pixels:
    """(LEVELS, 3)"""
    place = np.linspace(0, len(STOPS) - 1, LEVELS)
    stops = np.array(STOPS, float)
    channels = [np.interp(place, np.arange(len(STOPS)), stops[:, channel]) for channel in range(3)]
    return np.round(np.stack(channels, 1)).astype(np.uint8)


@functools.lru_cache
def band_bins(rate: int, size: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32], npt.NDArray[np.intp]]:
    """The bins of all bands one after the other, their weights, and where each band begins among them: a band has few
    of all bins, and a product of matrices wakes a second thread, which costs more than all else here."""
    weights = bands(rate, size)
    band, bins = np.nonzero(weights)
    return bins, weights[band, bins].astype(np.float32), np.searchsorted(band, np.arange(HEIGHT))


@functools.lru_cache
def bands(rate: int, size: int) -> npt.NDArray[np.float64]:
    """(HEIGHT, bins) triangles, evenly spaced in mel, each of weight 1."""

    def mel(hertz: float) -> float:
        return float(2595 * np.log10(1 + hertz / 700))

    edges = 700 * (10 ** (np.linspace(mel(LOWEST), mel(min(HIGHEST, rate / 2)), HEIGHT + 2) / 2595) - 1)
    bins = np.arange(size // 2 + 1) * rate / size
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    # where the bands are narrower than a bin, they still reach the next bin on either side
    width = rate / size
    rise = (bins - np.minimum(low, middle - width)) / np.maximum(middle - low, width)
    fall = (np.maximum(high, middle + width) - bins) / np.maximum(high - middle, width)
    weights = np.clip(np.minimum(rise, fall), 0, None)
    normal: npt.NDArray[np.float64] = weights / weights.sum(1, keepdims=True)
    return normal
