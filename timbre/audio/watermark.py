"""A quiet mark in the sound itself, which carries 32 bits: the short key of the version that spoke.

    marker = Watermarker("d3979b06", rate)
    marked = marker.feed(piece), …, marker.finish()
    found = detect(samples, rate)          # WatermarkFound(payload="d3979b06", score=…), or None

Between 400 and 4,000 Hz, neighbouring narrow bands are made a little louder and softer against each other, by a pattern
that changes eight times a second and comes again every second. Each band and time belongs to one bit; a checksum of
sixteen more bits goes along. Who looks for the mark tries every shift of the pattern and speeds from 6 % slower to 6 %
faster. It is believed where the checksum is right, or where it fits a version that is known well beyond chance.

The pattern is public, so the mark tells honest people what they hear and does not stop whoever wants to remove it. We
wrote our own because the packages for it either have no payload for a stream, load a network of their own for every
sentence, or download their weights.
"""

from __future__ import annotations

import functools
import itertools
import math
import zlib
from typing import Any, NamedTuple

import numpy as np
import soxr

from timbre.audio import Samples

RATE = 16_000  # Hz, at which the mark is looked for
FRAME = 0.064  # seconds of a window; two overlap
LOWEST, PAIRS, WIDTH = 25, 40, 6  # first of the window's lines, 15.6 Hz each; pairs of bands; lines of a pair
CELL, CELLS = 4, 8  # windows' hops of one step of the pattern, 128 ms; steps until it comes again
BITS, CHECK = 32, 16
KEY_DIGITS = BITS // 4  # hex digits of a version's key that a mark carries
UNSURE = 6  # bits that may be read the other way, two at once, where the checksum is right then
DEPTH = 0.2  # share by which a line is louder or softer
AT_ONCE = 256  # windows, 8 s: calls cost more than a window, and a long sound is not to fill the memory
SPEEDS = tuple(1 + step / 100 for step in range(-6, 7))
CERTAIN = 9.0  # standard deviations above chance, from which on it is worth reading


class WatermarkFound(NamedTuple):
    payload: str | None  # eight hex digits; None where there is a mark, and too little of it is left to read
    score: float  # standard deviations above what chance gives
    soft: tuple[float, ...]  # each bit of payload and checksum as it was heard

    def fits(self, payload: str) -> float:
        """How far beyond chance the mark is that of this payload, in standard deviations."""
        soft = np.array(self.soft)
        return float(soft @ bits_of(payload) / (np.linalg.norm(soft) + 1e-12))


@functools.cache
def pattern() -> tuple[Any, Any]:
    """Sign and bit of each step and pair of bands (CELLS, PAIRS)."""
    random = np.random.default_rng(20261128)
    signs = random.choice([-1.0, 1.0], (CELLS, PAIRS))
    places = np.resize(np.arange(BITS + CHECK), CELLS * PAIRS)
    return signs, random.permutation(places).reshape(CELLS, PAIRS)


def bits_of(payload: str) -> Any:
    """Payload and checksum as -1 and 1."""
    value = int(payload, 16)
    both = value << CHECK | check_of(value)
    return np.array([1.0 if both >> place & 1 else -1.0 for place in reversed(range(BITS + CHECK))])


def check_of(value: int) -> int:
    return zlib.crc32(value.to_bytes(4, "big")) & (1 << CHECK) - 1


@functools.lru_cache(maxsize=16)
def gains(payload: str) -> Any:
    """What each line of a window is multiplied with (CELLS, PAIRS * WIDTH)."""
    signs, places = pattern()
    up = signs * bits_of(payload)[places] * DEPTH
    half = WIDTH // 2
    return 1 + np.repeat(np.stack((up, -up), -1).reshape(CELLS, -1), half, axis=1)


class Watermarker:
    """Marks a sound piece by piece; it is one window, 64 ms, behind."""

    def __init__(self, payload: str, rate: int) -> None:
        self.hop = round(FRAME * rate / 2)
        self.gains = gains(payload)
        self.window = np.sqrt(np.hanning(2 * self.hop + 1)[:-1]).astype(np.float32)
        self.waiting: Samples = np.zeros(self.hop, np.float32)  # silence before the sound, so that it is whole
        self.tail: Samples = np.zeros(self.hop, np.float32)
        self.frames, self.received, self.returned = 0, 0, 0

    def feed(self, sound: Samples) -> Samples:
        self.received += len(sound)
        return self._ready(sound)

    def finish(self) -> Samples:
        missing = self.received - self.returned
        return self._ready(np.zeros(3 * self.hop, np.float32))[:missing]

    def _ready(self, sound: Samples) -> Samples:
        self.waiting = np.concatenate((self.waiting, sound))
        pieces = []
        while count := max(0, len(self.waiting) // self.hop - 1):
            pieces.extend(self._marked(min(count, AT_ONCE)))
        if pieces and self.frames == len(pieces):
            del pieces[0]  # the silence before
        self.returned += sum(map(len, pieces))
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)

    def _marked(self, count: int) -> Any:
        """(count, hop): the next windows, laid over each other."""
        windows = np.lib.stride_tricks.sliding_window_view(self.waiting, 2 * self.hop)[:: self.hop][:count]
        spectra = np.fft.rfft(windows * self.window)
        steps = np.arange(self.frames, self.frames + count) // CELL % CELLS
        spectra[:, LOWEST : LOWEST + PAIRS * WIDTH] *= self.gains[steps]
        frames = (np.fft.irfft(spectra) * self.window).astype(np.float32)
        before = np.concatenate((self.tail[None], frames[:-1, self.hop :]))
        self.tail, self.waiting = frames[-1, self.hop :], self.waiting[count * self.hop :]
        self.frames += count
        return before + frames[:, : self.hop]


def marked(sound: Samples, payload: str, rate: int) -> Samples:
    marker = Watermarker(payload, rate)
    return np.concatenate((marker.feed(sound), marker.finish()))


def detect(sound: Samples, rate: int) -> WatermarkFound | None:
    """What the sound carries; None where it carries nothing, or too little of it is left."""
    if rate != RATE:
        sound = soxr.resample(sound, rate, RATE)
    contrast = contrasts(sound)  # (windows, PAIRS), four windows for each hop of the marker
    if len(contrast) < 4 * CELL * CELLS // 2:
        return None
    score, soft = max((_best(contrast, speed) for speed in SPEEDS), key=lambda reading: reading[0])
    return WatermarkFound(read(soft), round(float(score), 1), tuple(soft)) if score >= CERTAIN else None


def read(soft: Any) -> str | None:
    """The payload, if the checksum is right as it is or with the least certain bits read the other way."""
    hard, unsure = soft > 0, np.argsort(np.abs(soft))[:UNSURE]
    for count in range(3):
        for flipped in itertools.combinations(unsure, count):
            bits = hard.copy()
            bits[list(flipped)] ^= True
            value = int("".join("1" if bit else "0" for bit in bits), 2)
            if value & (1 << CHECK) - 1 == check_of(value >> CHECK):
                return f"{value >> CHECK:08x}"
    return None


def contrasts(sound: Samples) -> Any:
    """How much louder the first band of each pair is than the second, in every window; its usual value taken off."""
    size = round(FRAME * RATE)
    step = size // 8
    count = (len(sound) - size) // step + 1
    if count <= 0:
        return np.zeros((0, PAIRS))
    windows = np.lib.stride_tricks.sliding_window_view(sound, size)[::step][:count]
    power = np.abs(np.fft.rfft(windows * np.hanning(size + 1)[:-1].astype(np.float32))) ** 2
    lines = power[:, LOWEST : LOWEST + PAIRS * WIDTH].reshape(count, PAIRS, 2, WIDTH // 2).sum(-1)
    # What is always there is noise, in which nothing can be read.
    floor = 1.5 * np.quantile(lines.mean(-1), 0.15, axis=0) + 1e-4 * lines.mean() + 1e-12
    contrast = np.log(lines[..., 0] + floor) - np.log(lines[..., 1] + floor)
    contrast = contrast - _smooth(contrast, 8 * CELL * 2 + 1)  # a voice's harmonics stay longer than a step
    prominence = np.clip(1 - floor / (lines.mean(-1) + 1e-12), 0, 1) ** 2  # how far it stands out of the noise
    return np.clip(contrast / (contrast.std(0) + 1e-9), -2, 2) * prominence


def _smooth(values: Any, width: int) -> Any:
    half = width // 2
    padded = np.concatenate((np.zeros((1, values.shape[1])), np.cumsum(values, 0)))
    ends = np.minimum(np.arange(len(values)) + half + 1, len(values))
    starts = np.maximum(np.arange(len(values)) - half, 0)
    return (padded[ends] - padded[starts]) / (ends - starts)[:, None]


def _best(contrast: Any, speed: float) -> tuple[float, Any]:
    """The shift at which the pattern fits best: how far beyond chance, and each bit."""
    signs, places = pattern()
    period = 4 * CELL * CELLS  # windows of the detector in which the pattern comes again, at its own speed
    time = np.arange(len(contrast)) * speed
    spread = contrast.std() * math.sqrt(len(contrast) * PAIRS / (BITS + CHECK)) + 1e-12
    one_of = np.eye(BITS + CHECK)[places]  # (CELLS, PAIRS, bits)
    weights = signs[..., None] * one_of
    best: tuple[float, Any] = (-1.0, np.zeros(BITS + CHECK))
    folded = np.zeros((period, PAIRS))  # all repetitions of the pattern laid over each other, once for all shifts
    np.add.at(folded, time.astype(int) % period, contrast)
    for shift in range(0, period, 2):
        sums = np.roll(folded, shift, 0).reshape(CELLS, 4 * CELL, PAIRS).sum(1)
        soft = np.einsum("cp,cpb->b", sums, weights)
        # Windows overlap eight times, so neighbours say nearly the same: four of them count as one.
        energy = float((soft**2).sum()) / (spread**2 * 4)
        score = (energy - (BITS + CHECK)) / math.sqrt(2 * (BITS + CHECK))
        if score > best[0]:
            best = (score, soft)
    return best
