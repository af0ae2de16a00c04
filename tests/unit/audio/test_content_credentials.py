"""Signed manifests in sound files: made with a key of one's own, read back, and broken by a change."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path

import numpy as np
import pytest
import soundfile

from timbre.audio import content_credentials
from timbre.audio.content_credentials import KEYS, PRIVATE, Credential, credential, has_keys, make_keys, signed
from timbre.audio.emitting import Mark, marked_file
from timbre.audio.sound_marks import spoken_by
from timbre.commands import cli
from timbre.core.errors import DataError
from timbre.synthesis import sinks

RATE = 16_000
KEY = "0123456789abcdef" * 2


def sound(seconds: float = 1.0) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(round(seconds * RATE))).astype(np.float32)


def test_nothing_is_signed_without_a_key(project: Path) -> None:
    content = marked_file(sound(), RATE, Mark(KEY), "WAV")
    assert credential(content, "wav") is None
    assert signed(content, "wav", {"voice": KEY}) == content
    assert cli.execute(["keys"]) == 0
    assert not has_keys()


def test_a_file_is_signed_in_each_container_that_holds_a_manifest(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.execute(["keys", "--name", "Ann at the harbour"]) == 0
    assert capsys.readouterr().out == "sounds are signed with .timbre/keys\n"
    assert stat.S_IMODE((KEYS / PRIVATE).stat().st_mode) == 0o600
    for kind in ("wav", "flac", "mp3", "opus"):
        with sinks.file(Path(f"a.{kind}"), RATE, Mark(KEY).tags()) as write:
            write(sound())
        found = credential(Path(f"a.{kind}").read_bytes(), kind)
        assert found == (None if kind == "opus" else Credential(KEY, "Ann at the harbour", True))
        about = soundfile.SoundFile(f"a.{kind}")
        assert json.loads(about.comment)["voice"] == KEY
        assert abs(about.frames - RATE) < 3000
    wav = soundfile.read("a.wav", dtype="int16")[0]
    assert (wav == soundfile.read("a.flac", dtype="int16")[0]).all(), "the sound is as it was"
    with sinks.file(Path("b.wav"), RATE, Mark(KEY, why_not="a test").tags()) as write:
        write(sound())
    assert credential(Path("b.wav").read_bytes(), "wav") is None, "a sound that is not to be marked is not signed"


def test_a_changed_file_no_longer_is_what_was_signed(project: Path) -> None:
    make_keys("Ann")
    content = bytearray(marked_file(sound(), RATE, Mark(KEY), "WAV"))
    assert credential(bytes(content), "wav") == Credential(KEY, "Ann", True)
    content[2000] ^= 1
    assert credential(bytes(content), "wav") == Credential(KEY, "Ann", False)
    assert credential(b"RIFF", "wav") is None


def test_trace_reads_the_manifest_also_where_the_words_are_gone(project: Path) -> None:
    make_keys("Ann")
    bare = io.BytesIO()
    soundfile.write(bare, sound(), RATE, format="WAV")
    Path("a.wav").write_bytes(signed(bare.getvalue(), "wav", {"voice": KEY}))
    found = spoken_by(Path("a.wav"), [(None, KEY)])
    assert (found.said, found.key) == (KEY, KEY)
    assert "according to its manifest, signed by Ann" in found.line("a.wav")
    Path("b.wav").write_bytes(signed(bare.getvalue(), "wav", {"voice": "../../etc"}))
    assert spoken_by(Path("b.wav"), [(None, KEY)]).said is None, "a manifest of whoever it may be names no path"


def test_a_key_that_a_kill_left_half_made_is_none(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            make_keys("Ann")
    assert not has_keys()
    make_keys("Ann")
    assert has_keys()


def test_a_key_is_not_replaced_by_mistake_and_is_removed_on_purpose(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_keys("Ann")
    with pytest.raises(DataError, match="holds a key already; `timbre keys --remove` removes it first"):
        cli.execute(["keys", "--name", "Bob"])
    (KEYS / PRIVATE).write_text("no key")
    with pytest.raises(DataError, match="the sound cannot be signed with it"):
        marked_file(sound(), RATE, Mark(KEY), "WAV")
    assert cli.execute(["keys", "--remove"]) == 0
    assert not KEYS.exists()
    for name in ("", "x" * 58, "a\x1b[31m"):
        with pytest.raises(DataError, match="--name: give 1 to 57 characters"):
            cli.execute(["keys", "--name", name])
    monkeypatch.setitem(__import__("sys").modules, "c2pa", None)
    with pytest.raises(DataError, match="signing sounds needs c2pa-python"):
        content_credentials.make_keys("Ann")
