"""A recording that was a telephone's is told of, whatever its rate is now."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from timbre import audio
from timbre.audio import bandwidth

RATE = 16_000


def recording(path: Path, through: int, rate: int = RATE) -> Path:
    """Twenty seconds of something like speech: a buzz, and now and then a hiss; once sampled at another rate."""
    random, seconds = np.random.default_rng(0), 20
    times = np.arange(seconds * RATE) / RATE
    buzz = sum(np.sin(2 * np.pi * 120 * n * times) / n for n in range(1, 25))
    hiss = random.standard_normal(len(times)) * ((times * 2) % 10 > 9) * 0.2
    sound = (0.1 * (buzz + hiss)).astype(np.float32)
    sound = audio.resample(audio.resample(sound, RATE, through), through, rate)
    path.write_bytes(audio.flac_bytes(sound, rate))
    return path


@pytest.mark.parametrize(
    ("through", "rate", "hertz"), [(16_000, 16_000, 8000), (8000, 44_100, 4000), (8000, 8000, 4000)]
)
def test_the_highest_frequency_is_that_of_the_lowest_rate(through: int, rate: int, hertz: int, tmp_path: Path) -> None:
    assert bandwidth.highest(recording(tmp_path / "talk.flac", through, rate)) == hertz


def test_noise_of_sixteen_bits_is_no_sound(tmp_path: Path) -> None:
    path = recording(tmp_path / "talk.flac", 8000)
    sound, _ = audio.read(path)
    noisy = sound + np.random.default_rng(1).standard_normal(len(sound)).astype(np.float32) * 2**-15
    path.write_bytes(audio.flac_bytes(noisy, RATE))
    assert bandwidth.highest(path) == 4000
    for samples in (RATE, 100):
        path.write_bytes(audio.flac_bytes(np.zeros(samples, np.float32), RATE))
        assert bandwidth.highest(path) == 0


def test_a_last_block_of_less_than_a_frame_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [np.ones(5000, np.float32), np.ones(100, np.float32)]
    monkeypatch.setattr(audio, "stream", lambda path, rate: iter(blocks))
    assert bandwidth.highest(tmp_path / "talk.flac") == bandwidth.BAND


def test_what_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "talk.json"
    for text in ('{"key": "a", "bandwidth": 8000}', '{"key": "a"}', "[]", "x"):
        record.write_text(text)
        assert bandwidth.problem(record) is None
    record.write_text('{"key": "a", "bandwidth": 4000}')
    bandwidth.tell(record)
    assert "talk: holds nothing above 4 kHz, like a telephone" in capsys.readouterr().err
