"""`timbre trace FILE` and `timbre trace ID`: from a sound file, or the id of a version, to what made it."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from tests.support.git_history import Voice
from tests.unit.audio.test_sound_marks import RATE, emitted
from tests.unit.audio.test_watermark import speech
from timbre.commands import cli
from timbre.core.errors import DataError
from timbre.versions import version_ids


def test_a_sound_file_leads_to_its_version(
    history: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(history.root)
    key = next(version_ids.known(history.root)).key
    emitted(tmp_path / "a.wav", key)
    assert cli.execute(["trace", str(tmp_path / "a.wav")]) == 0
    out = capsys.readouterr().out
    assert f"synthetic, spoken by version {key[:8]}, according to its metadata and the mark in the sound" in out
    assert "models/adapter" in out, "and what made that version follows"


def test_a_sound_that_nothing_of_ours_spoke_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
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
