"""The sounds of a screen, all equally loud: the louder of two sounds is preferred for its loudness alone."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence

import numpy as np
import soundfile

from timbre import audio
from timbre.audio import Samples, loudness

TARGET = -23.0  # LUFS, which leaves speech its peaks
NOISE = 0.0  # dB of the speech over the noise in a spoilt sound: nobody prefers it


def spoilt(samples: Samples) -> Samples:
    """With noise as loud as itself; the same sound gets the same noise."""
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    chance = np.random.default_rng(int.from_bytes(hashlib.sha256(samples.tobytes()).digest()[:8], "big"))
    noisy = samples + chance.normal(0, level * 10 ** (-NOISE / 20), len(samples))
    return np.asarray(noisy / max(1.0, float(np.abs(noisy).max())), np.float32)


def matched(contents: Sequence[tuple[bytes, bool]]) -> list[bytes]:
    """FLAC files, each with whether to spoil it, at one loudness: the target, or less where a peak would clip."""
    sounds = [_read(content, spoil) for content, spoil in contents]
    measured = [loudness.loudness(*sound) for sound in sounds]
    highest = [
        lufs + loudness.PEAK - audio.decibels(audio.peak(samples))
        for (samples, _), lufs in zip(sounds, measured, strict=True)
        if lufs is not None
    ]
    target = min([TARGET, *highest])
    files = []
    for (samples, rate), lufs in zip(sounds, measured, strict=True):
        louder = samples if lufs is None else loudness.amplified(samples, target - lufs)
        files.append(audio.flac_bytes(louder, rate))
    return files


def _read(content: bytes, spoil: bool) -> tuple[Samples, int]:
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    mono = np.asarray(samples.mean(axis=1), np.float32)
    return (spoilt(mono) if spoil else mono), int(rate)
