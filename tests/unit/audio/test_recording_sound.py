"""How a recording sounds as a whole, from what `chunk` wrote of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.support.segment_factory import stored
from timbre.audio import recording_sound
from timbre.audio.recording_sound import NOTHING, RecordingSound


def measured(folder: Path, loudness: list[float | None], noise: float | None) -> None:
    (folder / "talk.json").write_text(json.dumps({"key": "k", "bandwidth": 8000, "loudness": loudness}))
    if noise is not None:
        levels = [stored(-20)] * 100 + [stored(noise)] * 100
        np.save(folder / "talk.npy", np.array([levels, [1] * 100 + [0] * 100], np.uint8))


def test_a_recording_has_a_loudness_a_range_and_a_noise(tmp_path: Path) -> None:
    assert recording_sound.read(tmp_path, "talk") == NOTHING, "nothing is measured yet"
    assert str(NOTHING) == ""
    measured(tmp_path, [-21.4, 6.2, -3.0], None)
    assert recording_sound.read(tmp_path, "talk") == RecordingSound(-21.4, 6.2, None)
    measured(tmp_path, [-21.4, 6.2, -3.0], -60)
    known = recording_sound.read(tmp_path, "talk")
    assert known == RecordingSound(-21.4, 6.2, 40.0)
    assert str(known) == "-21 LUFS, range 6 LU, noise 40 dB below"


def test_what_is_measured_again_is_read_again(tmp_path: Path) -> None:
    measured(tmp_path, [-21.4, 6.2, -3.0], -60)
    recording_sound.read(tmp_path, "talk")
    measured(tmp_path, [None, None, -80.0], -40)
    assert str(recording_sound.read(tmp_path, "talk")) == "noise 20 dB below"


def test_a_damaged_file_hides_no_page(tmp_path: Path) -> None:
    measured(tmp_path, [-21.4, 6.2, -3.0], None)
    (tmp_path / "talk.npy").write_bytes(b"no array")
    assert str(recording_sound.read(tmp_path, "talk")) == "-21 LUFS, range 6 LU"
