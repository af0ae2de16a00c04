"""One sentence as a microphone gave it: where in it somebody speaks, and what is wrong with it.

samples, rate = read(upload)
take = measure(samples, rate, "The tide comes in.")     # take.start, take.end, take.warnings
"""

from __future__ import annotations

import hashlib
import io
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from timbre import audio
from timbre.audio import LEVEL_WINDOW, Pcm, Samples, decibels, delivery
from timbre.core.errors import AudioError
from timbre.project import pace
from timbre.project.transcripts import Line

SHORTEST = 0.1  # seconds; also enough for every measure to have a window
LONGEST = 60.0  # seconds; a sentence takes ten
MAX_BYTES = 24 << 20  # of an upload: the longest take with 16 bits at 192 kHz
CLICK = 0.06  # seconds; sound that is shorter and stands alone is a key or a chair
ALONE = 0.2  # seconds of silence that part a click from the voice
CLOSE = 0.05  # seconds from the take's edge: a voice there was probably cut
QUIET = -36  # dBFS over the voice; good takes have −27 to −18
NOISY = 20  # dB between voice and noise, at least
AROUND = 0.35  # seconds of the room kept before and after the voice; `chunk` cuts within it
MARGIN = 0.05  # seconds by which a line begins before the voice and ends after it: soft consonants


@dataclass(frozen=True)
class MeasuredTake:
    seconds: float
    start: float  # seconds, where the voice begins
    end: float
    level: float  # dBFS of the voice
    warnings: tuple[str, ...]


def read(upload: bytes) -> tuple[Samples, int]:
    """The samples of a WAV, as one channel, and their rate; AudioError, in one line, where there is nothing to keep."""
    if not upload:
        raise AudioError("nothing was recorded (0 bytes); is the right microphone chosen?")
    if len(upload) > MAX_BYTES:
        raise AudioError(f"a take has at most {MAX_BYTES >> 20} MB, {LONGEST:g} seconds")
    try:
        with audio.quiet_decoder(), soundfile.SoundFile(io.BytesIO(upload)) as file:
            rate: int = file.samplerate
            if file.frames > LONGEST * rate:
                raise AudioError(f"a take lasts at most {LONGEST:g} seconds; this one has {file.frames / rate:.0f}")
            if file.channels > audio.MAX_CHANNELS:
                raise AudioError(
                    f"the microphone gives {file.channels} channels; at most {audio.MAX_CHANNELS} are read"
                )
            samples = np.asarray(file.read(dtype="float32", always_2d=True).mean(axis=1), np.float32)
    except soundfile.LibsndfileError as error:
        raise AudioError("what arrived is not a WAV file") from error
    if rate > audio.MAX_RATE:
        raise AudioError(f"the microphone gives {rate} Hz, and at most {audio.MAX_RATE} are read; choose 48000 Hz")
    if len(samples) < SHORTEST * rate:
        raise AudioError(f"the take has {len(samples) / rate:.3f} s, too short for a word; record it again")
    if rate < audio.MIN_RATE:
        raise AudioError(f"the microphone gives {rate} Hz, too narrow for a voice; choose another one")
    if not np.isfinite(samples).all():
        raise AudioError("the recording holds samples that are no numbers; choose another microphone")
    if audio.is_silent(samples):
        raise AudioError("nothing was heard; is the microphone muted, or another one chosen?")
    return samples, rate


def measure(samples: Samples, rate: int, text: str) -> MeasuredTake:
    levels = audio.levels(samples, rate)
    voiced = _heard(levels)
    first, last = (int(np.argmax(voiced)), len(voiced) - int(np.argmax(voiced[::-1]))) if voiced.any() else (0, 0)
    voice = float(np.sqrt(np.mean(np.square(levels[voiced])))) if voiced.any() else 0.0
    noise = float(np.percentile(levels, 10)) if len(levels) else 0.0
    seconds = len(samples) / rate
    start, end = (first * LEVEL_WINDOW, min(last * LEVEL_WINDOW, seconds)) if voiced.any() else (0.0, seconds)
    warnings = (*_of_levels(voice, noise, delivery.is_clipped(samples)), *_of_times(start, end, seconds, text))
    return MeasuredTake(round(seconds, 2), round(start, 2), round(end, 2), round(decibels(voice), 1), warnings)


def _heard(levels: Samples) -> np.ndarray:
    """Which windows hold the voice: loud ones, without what is short and stands alone."""
    if not len(levels):
        return np.zeros(0, bool)
    loud = np.asarray(levels > delivery.speech_level(levels))
    voiced = loud.copy()
    for first, last in _islands(loud):
        if np.count_nonzero(loud[first:last]) * LEVEL_WINDOW < CLICK:
            voiced[first:last] = False
    return voiced if voiced.any() else loud


def _islands(voiced: np.ndarray) -> Iterator[tuple[int, int]]:
    """Stretches of windows with silence around them; shorter silences within belong to them."""
    places = np.flatnonzero(voiced)
    if not len(places):
        return
    breaks = np.flatnonzero(np.diff(places) * LEVEL_WINDOW > ALONE)
    edges = [0, *(breaks + 1).tolist(), len(places)]
    for i, j in itertools.pairwise(edges):
        yield int(places[i]), int(places[j - 1]) + 1


def _of_levels(voice: float, noise: float, clipped: bool) -> Iterator[str]:
    if clipped:
        yield "clipped: turn the input level down, or go further away"
    elif decibels(voice) < QUIET:
        yield "too quiet: come closer, or turn the input level up"
    if decibels(voice) - decibels(noise) < NOISY:
        yield "noisy: the voice hardly stands out"


def _of_times(start: float, end: float, seconds: float, text: str) -> Iterator[str]:
    if start < CLOSE:
        yield "the first word may be cut: press the key, then speak"
    if seconds - end < CLOSE:
        yield "the last word may be cut: speak, then press the key"
    fastest, slowest = (limit * pace.letters(text) for limit in pace.LIMITS)
    if end - start < fastest:
        yield "too short for this sentence: are all its words there?"
    elif end - start > slowest:
        yield "too long for this sentence: is anything else in it?"


def joined(spoken: Sequence[tuple[str, Path]], target: Path, speaker: str) -> tuple[list[Line], str, float]:
    """Write the takes one after the other; their lines, the SHA-256 of the samples, and the seconds.

    Each take begins on a whole hundredth of a second, so that the times in the transcript are exact. A take with a
    warning, such as that words may be missing, stays unreviewed: its line has no flag.
    """
    rate = min(soundfile.info(path).samplerate for _, path in spoken)
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, frames, lines = hashlib.sha256(), 0, []
    with soundfile.SoundFile(target, "w", rate, 1, "PCM_16", format="FLAC") as output:
        for text, path in spoken:
            pcm, start, end, doubtful = _trimmed(text, path, rate)
            at, flag = frames / rate, "" if doubtful else "ok"
            lines.append(Line(round(at + start, 2), round(at + end, 2), speaker, flag, text))
            output.write(pcm)
            digest.update(pcm.astype("<i2", copy=False).tobytes())
            frames += len(pcm)
    return lines, digest.hexdigest(), frames / rate


def _trimmed(text: str, path: Path, rate: int) -> tuple[Pcm, float, float, bool]:
    """The take with AROUND on both sides of the voice, where in it the line begins and ends, and whether it warns."""
    samples, own = audio.read(path)
    take = measure(samples, own, text)
    samples = audio.resample(samples, own, rate)
    first, last = (round(time * rate) for time in (take.start - AROUND, take.end + AROUND))
    before, after = max(-first, 0), max(last - len(samples), 0)
    body = samples[max(first, 0) : last]
    whole = rate // math.gcd(rate, 100)  # frames: 480 at 48 kHz are 0.01 s, 441 at 22.05 kHz 0.02 s
    after += -(before + len(body) + after) % whole
    pcm = np.concatenate([np.zeros(before, np.int16), audio.to_pcm(body), np.zeros(after, np.int16)])
    return pcm, AROUND - MARGIN, AROUND + (take.end - take.start) + MARGIN, bool(take.warnings)
