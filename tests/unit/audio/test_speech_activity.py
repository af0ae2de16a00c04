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


@pytest.mark.parametrize(("spread", "above"), [(1.45, 0.0), (2.3, 5.0)])
def test_among_other_voices_the_levels_tell_by_how_little_they_vary(spread: float, above: float) -> None:
    draw = np.random.default_rng(0).normal(size=4000)
    width = float(np.sqrt(spread * 20 / np.log(10)))  # of levels that are normal in decibels
    levels = np.rint((-30 + width * draw - speech_activity.QUIETEST) * 2).astype(np.uint8)
    decibels = levels / 2 + speech_activity.QUIETEST
    mixed = 10 * np.log10(np.mean(10 ** (decibels / 10)))
    background = Activity(levels, np.ones(4000, np.uint8)).background(0, 40)
    assert 10 * np.log10(10 ** (mixed / 10) - 10 ** (background / 10)) - background == pytest.approx(above, abs=0.7)


def test_a_voice_alone_without_pauses_is_judged_by_its_quietest_moments() -> None:
    levels = np.tile(np.array([200, 190, 180, 100], np.uint8), 250)
    assert Activity(levels, np.ones(1000, np.uint8)).background(0, 10) == 100 / 2 + speech_activity.QUIETEST


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=r"a\.npy: cannot be read .*dvc repro chunk"):
        speech_activity.open(tmp_path / "a.npy")
