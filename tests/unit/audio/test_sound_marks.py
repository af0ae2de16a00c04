"""What a sound file says of the version that spoke it, read back from what the emitters wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from tests.unit.audio.test_watermark import speech
from timbre.audio.emitting import Emission, Mark
from timbre.audio.sound_marks import spoken_by
from timbre.audio.watermark import marked

RATE = 16_000


def emitted(path: Path, key: str) -> None:
    emission = Emission(path.suffix[1:], RATE, Mark(key))
    path.write_bytes(emission.feed(speech()) + emission.finish())


def test_a_file_leads_to_its_version_by_its_words_or_by_its_sound(tmp_path: Path) -> None:
    known: list[tuple[str | None, str]] = [("c" * 40, "ab" * 16), (None, "0123456789abcdef" * 2)]
    for kind in ("mp3", "flac", "wav", "opus"):
        emitted(tmp_path / f"a.{kind}", "ab" * 16)
        found = spoken_by(tmp_path / f"a.{kind}", known)
        assert (found.said, found.commit, found.key) == ("ab" * 16, "c" * 40, "ab" * 16)
        assert found.mark
        assert "according to its metadata and the mark in the sound" in found.line("a")
    soundfile.write(tmp_path / "bare.wav", marked(speech(4), "01234567", RATE), RATE)
    found = spoken_by(tmp_path / "bare.wav", known)
    assert (found.said, found.commit, found.key) == (None, None, "0123456789abcdef" * 2)
    long = np.concatenate([speech(4), speech(5)])
    soundfile.write(tmp_path / "other.wav", marked(long, "feedbeef", RATE), RATE)
    assert "version feedbeef, which is not in this repository" in spoken_by(tmp_path / "other.wav", known).line("x")
