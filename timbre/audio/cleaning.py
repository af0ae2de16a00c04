"""A recording before it is cut: less noise beside the voice, or another loudness; as long as before, to the sample.

    make(raw, cleaned, params)         # the file, and what became of it

`noise` takes down what hums or hisses evenly where it is stronger than the voice (Ephraim and Malah 1985: the amplitude
whose logarithm is right on average). It needs no weights: how strong the noise is in each band is asked of the quietest
moments of half a minute. docs/cleaning.md says what it gains, and what it costs.

A recording passes in pieces that overlap and are faded into each other, so memory does not grow with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from timbre import audio
from timbre.audio import Samples, loudness
from timbre.core.content import content_key
from timbre.core.sections import CleanParams

Power = npt.NDArray[np.float64]  # (frames, bands)
Cleaner = Callable[[Samples, int], Samples]  # samples and rate → as many samples

VERSION = 1  # raise when the code gives other bytes for the same input
PIECE, OVERLAP = 30.0, 2.0  # seconds
FRAME = 0.032  # seconds; half of it from one frame to the next
SMOOTH = 9  # frames over which a band's power is averaged before its quietest moments are looked for
QUIETEST = 10  # percentile of those averages that is the noise …
BIAS = 1.7  # … whose mean is so many times as much
KEPT = 0.98  # of the last frame's estimate of the voice, in this one's: lower sounds like running water
LEAST = 10 ** (-25 / 10)  # voice to noise that a frame is taken to have, at least
WEAK = 1e-10  # power; below, everything is noise


def asks_nothing(params: CleanParams) -> bool:
    """Whether recordings are used as they are."""
    return params.method == "none" and params.loudness is None


def key(sha256: str, params: CleanParams) -> str:
    """What the cleaned recording depends on."""
    method = [] if params.method == "none" else [params.method, params.most]
    return content_key(VERSION, sha256, method, params.loudness)


def make(path: Path, target: Path, params: CleanParams) -> dict[str, float | None]:
    """Write the recording as `params` asks for it; its loudness as it was, and by how much it was made louder."""
    before, source, rate = loudness.measure(path), path, audio.rate_of(path)
    if params.method == "noise":
        _write(target, rate, _joined(path, partial(without_noise, most=params.most)))
        source = target
    gain = 0.0
    if params.loudness is not None:
        gain = loudness.level(before if source == path else loudness.measure(source), params.loudness)
    if gain or source == path:
        _write(target, rate, (loudness.amplified(part, gain) for part in audio.stream(source, rate)))
    return {"lufs": before.lufs, "range": before.range, "gain": gain}


def _write(target: Path, rate: int, parts: Iterator[Samples]) -> None:
    temporary = target.with_suffix(".part.flac")
    with soundfile.SoundFile(temporary, "w", rate, 1, "PCM_16", format="FLAC") as output:
        for part in parts:
            output.write(audio.to_pcm(part))
    temporary.replace(target)


def _joined(path: Path, cleaner: Cleaner) -> Iterator[Samples]:
    """Pieces of PIECE seconds; where two overlap, one fades into the other."""
    rate = audio.rate_of(path)
    length, step, both = soundfile.info(path).frames, round(PIECE * rate), round(OVERLAP * rate)
    fading = np.linspace(0, 1, both, endpoint=False, dtype=np.float32)
    before = np.empty(0, np.float32)  # what the last piece made of the beginning of this one
    for start in range(0, max(1, length - both), step):
        samples, _ = audio.read(path, None, start / rate, min(length, start + step + both) / rate)
        cleaned = cleaner(samples, rate)
        shared = len(before)
        cleaned[:shared] = before * (1 - fading[:shared]) + cleaned[:shared] * fading[:shared]
        is_last = start + step >= length - both
        yield cleaned if is_last else cleaned[:step]
        before = cleaned[step:]


def without_noise(samples: Samples, rate: int, most: float) -> Samples:
    """The voice with its noise taken down by at most so many dB."""
    hop = round(FRAME * rate / 2)
    window = np.sqrt(np.hanning(2 * hop + 1)[:-1])
    padded = np.pad(samples.astype(np.float64), (hop, 2 * hop - len(samples) % hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * hop)[::hop]
    spectrum = np.fft.rfft(frames * window, axis=1)
    shaped = np.fft.irfft(spectrum * _gains(np.abs(spectrum) ** 2, 10 ** (-most / 20)), 2 * hop, axis=1) * window
    result = np.zeros(len(padded))
    for number, frame in enumerate(shaped):
        result[number * hop : (number + 2) * hop] += frame
    return np.asarray(result[hop : hop + len(samples)], np.float32)


def _gains(power: Power, floor: float) -> Power:
    """For each frame and band, at least `floor`."""
    from scipy.special import exp1  # here: it takes long to import

    noise = np.maximum(noise_of(power), WEAK)
    gains = np.empty_like(power)
    voice = np.zeros(power.shape[1])
    for place, frame in enumerate(power):
        above = np.minimum(frame / noise, 1e4)  # a posteriori
        ratio = np.maximum(KEPT * voice + (1 - KEPT) * np.maximum(above - 1, 0), LEAST)  # a priori
        share = ratio / (1 + ratio)
        gain = np.minimum(share * np.exp(exp1(np.maximum(share * above, 1e-8)) / 2), 1.0)
        voice = gain**2 * above
        gains[place] = np.maximum(gain, floor)
    return gains


def noise_of(power: Power) -> npt.NDArray[np.float64]:
    """The mean power of the noise in each band."""
    if len(power) < 2 * SMOOTH:
        return np.zeros(power.shape[1])
    sums = np.cumsum(np.pad(power, ((1, 0), (0, 0))), axis=0)
    smooth = (sums[SMOOTH:] - sums[:-SMOOTH]) / SMOOTH
    sounding = smooth[smooth.sum(1) > WEAK]  # digital silence is no noise
    if not len(sounding):
        return np.zeros(power.shape[1])
    return np.asarray(np.percentile(sounding, QUIETEST, axis=0) * BIAS, np.float64)
