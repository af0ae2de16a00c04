"""The picture of a sound: where a tone lies, that loud is bright, and that the same sound gives the same bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tests.support.fake_outputs import voice
from timbre.audio import spectrogram

RATE = 16_000


def tone(hertz: float, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", [16_000, 24_000, 48_000])
def test_a_higher_tone_lies_higher_and_a_second_is_as_wide_at_any_rate(rate: int) -> None:
    places = []
    for hertz in (100, 300, 1000, 3000, 7000):
        levels = spectrogram.pixels(tone(hertz, rate=rate), rate)
        assert levels.shape == (spectrogram.HEIGHT, spectrogram.COLUMNS)
        places.append(int(levels[:, 40].argmax()))
    assert places == sorted(places, reverse=True)
    assert places[0] > 0.8 * spectrogram.HEIGHT
    assert places[-1] < 0.1 * spectrogram.HEIGHT


def test_loud_is_bright_and_silence_is_black() -> None:
    sound = np.concatenate([tone(440, 0.5), 0.01 * tone(440, 0.5), np.zeros(RATE // 2, np.float32)])
    loud, soft, silent = (spectrogram.pixels(sound, RATE)[:, column].max() for column in (20, 60, 100))
    assert loud == spectrogram.LEVELS - 1 > soft > silent == 0
    brightness = spectrogram.palette() @ np.array([0.3, 0.6, 0.1])
    assert (np.diff(brightness) > 0).all(), "a louder point is never darker"


def test_the_png_is_what_any_reader_sees_and_small() -> None:
    sound = voice(3.0, 1)
    content = spectrogram.png(sound, RATE)
    seen = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert (seen == spectrogram.colours(spectrogram.pixels(sound, RATE))).all()
    assert len(content) < 20_000
    assert spectrogram.png(sound.copy(), RATE) == content


@pytest.mark.parametrize("length", [0, 1, 100])
def test_hardly_any_sound_is_a_picture_too(length: int) -> None:
    assert Image.open(io.BytesIO(spectrogram.png(np.zeros(length, np.float32), RATE))).size[1] == spectrogram.HEIGHT
