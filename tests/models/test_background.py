"""The background of speech is found where it is known, because it was mixed in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.support.paths import ROOT
from timbre import audio
from timbre.audio import speech_activity
from timbre.audio.speech_activity import Activity, Flags, above, mean_decibels

RATE = 16_000  # Hz
SECONDS = 20
VOICES = ROOT / "models/tiny/voices"
MOMENT = round(audio.LEVEL_WINDOW * RATE)  # samples

Sound = npt.NDArray[np.float64]


def spoken() -> Sound:
    samples, _ = audio.read(ROOT / "data/recordings/harbour-night.flac", RATE, end=SECONDS)
    return 0.1 * samples.astype(np.float64) / np.sqrt(np.mean(samples**2))


def noise(colour: str, moments: int) -> Sound:
    white = np.random.default_rng(1).standard_normal(moments * MOMENT)
    spectrum = np.fft.rfft(white)
    if colour == "pink":
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    return np.fft.irfft(spectrum, len(white))


def voices(moments: int) -> Sound:
    """Six people who talk at once and never stop."""
    total = np.zeros(moments * MOMENT)
    for place, folder in enumerate(sorted(path for path in VOICES.iterdir() if path.is_dir())[:6]):
        said = np.concatenate([audio.read(path, RATE)[0] for path in sorted(folder.glob("*.flac"))])
        total += np.roll(np.resize(said / np.sqrt(np.mean(said**2)), len(total)), place * RATE)
    return total


def activity(sound: Sound, path: Path) -> Activity:
    path.write_bytes(audio.flac_bytes(sound.astype(np.float32), RATE))
    return speech_activity.of_recording(path, "silero")


def power(sound: Sound, where: Flags) -> float:
    return float(np.mean(sound[: len(where) * MOMENT].reshape(-1, MOMENT)[where] ** 2))


@pytest.mark.parametrize("kind", ["white", "pink", "voices"])
def test_the_background_of_a_known_mixture_is_found_to_three_decibels(kind: str, tmp_path: Path) -> None:
    voice = spoken()
    alone = activity(voice, tmp_path / "alone.flac")
    said = alone.speech.astype(bool)
    own = power(voice, ~said)
    for decibels in (0, 10, 20, 30):
        added = voices(len(said)) if kind == "voices" else noise(kind, len(said))
        added *= np.sqrt(power(voice, said) / 10 ** (decibels / 10) / np.mean(added**2))
        mixed = activity((voice[: len(added)] + added) / 2, tmp_path / "mixed.flac")
        level = mean_decibels(mixed.decibels(0, len(said) * audio.LEVEL_WINDOW)[said])
        true = 10 * np.log10(power(voice, said) / (np.mean(added**2) + own))
        assert above(level, mixed.background(10, 15)) == pytest.approx(true, abs=3), f"{kind} at {decibels} dB"
