"""Where somebody speaks, read back moment by moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from timbre.audio import speech_activity
from timbre.audio.speech_activity import Activity
from timbre.core.errors import DataError


def test_levels_are_of_the_moments_that_lie_wholly_between() -> None:
    made = Activity(np.arange(100, dtype=np.uint8), np.zeros(100, np.uint8))
    assert list(made.decibels(0.10, 0.13)) == [10 / 2 - 127.5, 11 / 2 - 127.5, 12 / 2 - 127.5]
    assert list(made.decibels(0.101, 0.13)) == [11 / 2 - 127.5, 12 / 2 - 127.5]
    assert len(made.decibels(0.101, 0.109)) == 0
    assert made.quietest(0.2, 0.3, 1.0, 1) == pytest.approx(0.225)
    assert made.quietest(0.201, 0.203, 1.0, 0) == pytest.approx(0.202)
    flat = Activity(np.zeros(100, np.uint8), np.zeros(100, np.uint8))
    assert [flat.quietest(0, 1, 3.0, place) for place in (0, 0.5, 1)] == pytest.approx([0.005, 0.505, 0.995])


def talk(noise: float, pauses: bool) -> Activity:
    """A minute of half a second each of a voice at -20 dBFS, and a fifth of a second of steady noise."""
    said = np.tile(np.repeat([True, False], [50, 20]), 86)
    levels = np.rint((np.where(said, -20.0, noise) - speech_activity.QUIETEST) * 2).astype(np.uint8)
    return Activity(levels, (said if pauses else np.ones(len(said))).astype(np.uint8))


@pytest.mark.parametrize("noise", [-26.0, -30.0, -40.0])
def test_the_background_is_the_same_whether_or_not_its_pauses_are_taken_for_speech(noise: float) -> None:
    assert talk(noise, pauses=True).background(20, 30) == noise
    assert talk(noise, pauses=False).background(20, 30) == pytest.approx(noise, abs=0.3)


def test_a_few_soft_moments_among_speech_are_no_pauses() -> None:
    unceasing = talk(-30.0, pauses=False)
    unceasing.levels[2000:2030], unceasing.speech[2000:2030] = 60, 0  # 97.5 dB below full scale
    assert unceasing.background(20, 30) == pytest.approx(-30.0, abs=0.3)


def test_a_voice_that_a_gate_cuts_off_is_judged_by_its_quietest_moments() -> None:
    levels = np.tile(np.array([200, 190, 180, 100], np.uint8), 250)
    levels[400:500] = 0
    gated = Activity(levels, (levels > 0).astype(np.uint8))
    assert gated.background(0, 10) == 100 / 2 + speech_activity.QUIETEST


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=r"a\.npy: cannot be read .*dvc repro chunk"):
        speech_activity.open(tmp_path / "a.npy")
