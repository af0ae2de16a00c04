"""`timbre trace FILE`: from a sound file to the version that spoke it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.git_history import Voice
from tests.unit.audio.test_watermark import speech
from timbre.audio.emitting import Emission, Mark
from timbre.audio.watermark import marked
from timbre.commands import cli
from timbre.core.errors import DataError
from timbre.trace.sound_marks import spoken_by
from timbre.versions import version_ids

RATE = 16_000


def emitted(path: Path, key: str) -> None:
    emission = Emission(path.suffix[1:], RATE, Mark(key))
    path.write_bytes(emission.feed(speech()) + emission.finish())


def test_a_file_leads_to_its_version_by_its_words_or_by_its_sound(
    history: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from timbre.trace import sound_marks

    known = [("c" * 40, "ab" * 16), (None, "0123456789abcdef" * 2)]
    monkeypatch.setattr(sound_marks.version_ids, "known", lambda root: iter(known))
    for kind in ("mp3", "flac", "wav", "opus"):
        emitted(tmp_path / f"a.{kind}", "ab" * 16)
        found = spoken_by(tmp_path, tmp_path / f"a.{kind}")
        assert (found.said, found.commit, found.key) == ("ab" * 16, "c" * 40, "ab" * 16)
        assert found.mark
        assert "according to its metadata and the mark in the sound" in found.line("a")
    soundfile.write(tmp_path / "bare.wav", marked(speech(4), "01234567", RATE), RATE)
    found = spoken_by(tmp_path, tmp_path / "bare.wav")
    assert (found.said, found.commit, found.key) == (None, None, "0123456789abcdef" * 2)
    long = np.concatenate([speech(4), speech(5)])
    soundfile.write(tmp_path / "other.wav", marked(long, "feedbeef", RATE), RATE)
    assert "version feedbeef, which is not in this repository" in spoken_by(tmp_path, tmp_path / "other.wav").line("x")
    soundfile.write(tmp_path / "clean.wav", speech(), RATE)
    monkeypatch.chdir(tmp_path)
    assert cli.execute(["trace", "clean.wav"]) == 1
    assert "neither metadata nor a mark of Timbre in it" in capsys.readouterr().out
    Path("noise.mp3").write_bytes(b"no sound")
    with pytest.raises(DataError, match=r"noise\.mp3: cannot be read as sound"):
        cli.execute(["trace", "noise.mp3"])


def test_a_versions_key_leads_to_its_clips_and_consent(
    history: Voice, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from timbre.commands.trace import of_version

    key = next(key for commit, key in version_ids.known(history.root) if commit is not None)
    text = of_version(history.root, key)
    assert text is not None
    assert "learnt" in text
    assert "consent" in text
    assert of_version(history.root, "f" * 32) is None
    monkeypatch.chdir(history.root)
    assert cli.execute(["trace", key[:8]]) == 0
    assert "models/adapter" in capsys.readouterr().out
    with pytest.raises(DataError, match="no sample, clip, adapter"):
        cli.execute(["trace", "f" * 8])
