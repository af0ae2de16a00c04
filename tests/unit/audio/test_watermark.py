"""The mark in the sound: it is found after what happens to sounds, and not where there is none."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from tests.support.fake_outputs import RATE
from tests.support.paths import ROOT
from timbre.audio.stretching import Stretcher
from timbre.audio.watermark import Watermarker, WatermarkFound, detect, marked

KEY = "d3979b06"
VOICES = ROOT / "models/tiny/voices"


def speech(number: int = 0) -> Any:
    """Somebody of models/tiny/voices, for about three seconds."""
    sound, rate = soundfile.read(sorted(VOICES.rglob("*.flac"))[number], dtype="float32")
    assert rate == RATE
    return sound


def through(kind: str, subtype: str, sound: Any) -> tuple[Any, int]:
    file = io.BytesIO()
    soundfile.write(file, sound, RATE, format=kind, subtype=subtype)
    file.seek(0)
    return soundfile.read(file, dtype="float32")


def test_it_is_read_again_and_pieces_change_nothing() -> None:
    sound = speech()
    whole = marked(sound, KEY, RATE)
    assert whole.shape == sound.shape
    marker = Watermarker(KEY, RATE)
    pieces = [marker.feed(sound[start : start + 640]) for start in range(0, len(sound), 640)]
    assert np.allclose(np.concatenate([*pieces, marker.finish()]), whole, atol=1e-6)
    found = detect(whole, RATE)
    assert found
    assert known(found)
    assert 10 * np.log10(np.sum(sound**2) / np.sum((whole - sound) ** 2)) > 15, "dB; it is soft beside the voice"


@pytest.mark.parametrize("attack", ["mp3", "opus", "resampled", "noise", "cropped", "slower", "faster"])
def test_it_survives(attack: str) -> None:
    sound, rate = marked(speech(), KEY, RATE), RATE
    random = np.random.default_rng(0)
    if attack == "mp3":
        sound, rate = through("MP3", "MPEG_LAYER_III", sound)
    elif attack == "opus":
        sound, rate = through("OGG", "OPUS", sound)
    elif attack == "resampled":
        sound, rate = soxr.resample(sound, rate, 11_025), 11_025
    elif attack == "noise":
        sound = sound + 0.1 * np.sqrt(np.mean(sound**2)) * random.standard_normal(len(sound)).astype(np.float32)
    elif attack == "cropped":
        sound = sound[12_345:][: 2 * rate]
    else:
        stretcher = Stretcher(0.95 if attack == "slower" else 1.05, rate)
        sound = np.concatenate((stretcher.feed(sound), stretcher.finish()))
    found = detect(sound, rate)
    assert found
    assert known(found)


def known(found: WatermarkFound) -> bool:
    return found.payload == KEY or (found.payload is None and found.fits(KEY) > 5)


def test_where_there_is_none_none_is_found() -> None:
    for number in range(1, 7):
        found = detect(speech(number), RATE)
        assert found is None or (found.payload is None and found.fits(KEY) < 5)
    assert detect(np.zeros(RATE, np.float32), RATE) is None
    assert detect(np.zeros(10, np.float32), RATE) is None
