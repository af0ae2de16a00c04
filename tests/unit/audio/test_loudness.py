"""How loud a recording is, and how much that varies."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.fake_outputs import voice
from timbre import audio
from timbre.audio import loudness

RATE = 48_000


def tones(folder: Path, *parts: tuple[float, int], rate: int = RATE) -> Path:
    """1 kHz at each level (dBFS) for so many seconds, one after the other."""
    path = folder / "tones.flac"
    levels = np.concatenate([np.full(seconds * rate, 10 ** (level / 20)) for level, seconds in parts])
    soundfile.write(path, levels * np.sin(2 * np.pi * 1000 * np.arange(len(levels)) / rate), rate, subtype="PCM_16")
    return path


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(-20, 20), (-30, 20)], 10),
        ([(-20, 20), (-15, 20)], 5),
        ([(-40, 20), (-20, 20)], 20),
        ([(-50, 20), (-35, 20), (-20, 20), (-35, 20), (-50, 20)], 15),
    ],
)
def test_the_range_is_what_ebu_tech_3342_asks_of_its_test_signals(
    tmp_path: Path, parts: list[tuple[float, int]], expected: float
) -> None:
    found = loudness.measure(tones(tmp_path, *parts)).range
    assert found == pytest.approx(expected, abs=0.1), "the standard allows 1 LU"


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_recording_in_blocks_is_as_loud_as_one_that_lies_in_memory(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "voice.flac"
    seconds = 2.5 * audio.BLOCK / rate
    soundfile.write(path, np.resize(voice(3.0, 0), round(seconds * rate)), rate, subtype="PCM_16")
    samples, _ = audio.read(path)
    found = loudness.measure(path)
    assert found.lufs == pytest.approx(loudness.loudness(samples, rate), abs=0.05)
    assert found.peak == pytest.approx(audio.decibels(audio.peak(samples)), abs=0.01)


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("seconds", [0.41, 1.23, 12.0])
def test_pyloudnorm_finds_the_same(rate: int, seconds: float) -> None:
    from pyloudnorm import Meter

    samples = np.resize(voice(3.0, 0), round(seconds * rate)) * np.linspace(0.02, 1, round(seconds * rate), dtype="f4")
    found = loudness.loudness(samples, rate)
    assert found == pytest.approx(float(Meter(rate).integrated_loudness(samples)), abs=1e-4)


def test_blocks_of_any_length_are_filtered_as_the_whole_is() -> None:
    sound = voice(3.0, 0)
    parts = np.array_split(sound, [1, 500, 501, 40_000])
    whole, pieces = (np.concatenate(list(loudness.weighted(blocks, RATE))) for blocks in ([sound], parts))
    assert len(whole) == len(sound)
    np.testing.assert_allclose(pieces, whole, atol=1e-8)


def test_ffmpeg_finds_the_same(tmp_path: Path) -> None:
    import imageio_ffmpeg

    path = tones(tmp_path, (-18, 15), (-33, 15), (-24, 15))
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostats", "-i", str(path), "-af", "ebur128", "-f", "null", "-"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr.split("Summary:")[1].split()
    found = loudness.measure(path)
    assert found.lufs == pytest.approx(float(told[told.index("I:") + 1]), abs=0.1)
    assert found.range == pytest.approx(float(told[told.index("LRA:") + 1]), abs=0.5)


def test_what_is_silent_or_short_has_no_loudness(tmp_path: Path) -> None:
    assert loudness.measure(tones(tmp_path, (-90, 5)))[:2] == (None, None)
    assert loudness.level(loudness.measure(tmp_path / "tones.flac"), -23.0) == 0
    soundfile.write(tmp_path / "short.flac", voice(1.0, 0)[: RATE // 3], RATE)
    assert loudness.measure(tmp_path / "short.flac")[:2] == (None, None)
    soundfile.write(tmp_path / "short.flac", np.resize(voice(1.0, 0), RATE), RATE)
    assert loudness.measure(tmp_path / "short.flac").lufs is not None
    assert loudness.measure(tmp_path / "short.flac").range is None, "a second says nothing of a range"
