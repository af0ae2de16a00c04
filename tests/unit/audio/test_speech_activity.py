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


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=r"a\.npy: cannot be read .*dvc repro chunk"):
        speech_activity.open(tmp_path / "a.npy")
