"""Players and pictures of sounds that did not change are found again, and are those that would be made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from timbre.audio.emitting import Mark
from timbre.report import kept_sounds, sound

RATE = 16_000


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return written(tmp_path / "tuned-bridge-0.flac", 440)


def written(path: Path, pitch: int) -> Path:
    soundfile.write(path, 0.1 * np.sin(np.arange(RATE) * 2 * np.pi * pitch / RATE), RATE)
    return path


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[Mark | None]:
    """The mark of each player that is made."""
    marks: list[Mark | None] = []
    encode: Callable[..., bytes] = sound._mp3

    def counted(samples: object, rate: int, mark: Mark | None) -> bytes:
        marks.append(mark)
        return encode(samples, rate, mark)

    monkeypatch.setattr(sound, "_mp3", counted)
    return marks


def test_a_sound_that_did_not_change_is_not_encoded_again(path: Path, encoded: list[Mark | None]) -> None:
    made = sound.sound(path, mark=Mark("d3979b06"))
    for _ in range(3):
        with kept_sounds.kept(kept_sounds.FILE):
            assert sound.sound(path, mark=Mark("d3979b06")) == made
    assert len(encoded) == 2  # without the file, and into it


def test_what_was_prepared_is_the_same_and_is_not_encoded_again(path: Path, encoded: list[Mark | None]) -> None:
    other, mark = written(path.with_name("other.flac"), 220), Mark("d3979b06")
    alone = [sound.sound(one, mark=mark) for one in (path, other)]
    assert len(encoded) == 2
    for file in (None, kept_sounds.FILE, kept_sounds.FILE):
        with kept_sounds.kept(file):
            sound.prepare((one, mark) for one in (path, other, path))
            assert [sound.sound(one, mark=mark) for one in (path, other)] == alone
    assert len(encoded) == 2


def test_another_sound_and_another_mark_are_encoded(path: Path, encoded: list[Mark | None]) -> None:
    with kept_sounds.kept(kept_sounds.FILE):
        first = sound.sound(path, mark=Mark("d3979b06"))
        other = sound.sound(path, mark=Mark("0badcafe"))
    written(path, 880)
    with kept_sounds.kept(kept_sounds.FILE):
        changed = sound.sound(path, mark=Mark("d3979b06"))
    assert len(encoded) == 3
    assert len({first.mp3, other.mp3, changed.mp3}) == 3
    assert first.picture == other.picture != changed.picture


def test_only_what_the_last_report_asked_for_is_kept(path: Path, encoded: list[Mark | None]) -> None:
    other = written(path.with_name("other.flac"), 220)
    for shown in ([path, other], [path], [other]):
        with kept_sounds.kept(kept_sounds.FILE):
            for one in shown:
                sound.sound(one)
    assert len(encoded) == 3


def test_a_run_finds_what_the_report_made_and_takes_nothing_away(path: Path, encoded: list[Mark | None]) -> None:
    with kept_sounds.kept(kept_sounds.FILE):
        shown = sound.sound(path)
    before = kept_sounds.FILE.read_bytes()
    with kept_sounds.kept(kept_sounds.FILE, add=False):
        pictures = [sound.picture(path), sound.picture(written(path.with_name("other.flac"), 220))]
    assert pictures[0] == sound.picture(path)
    assert sound._text(pictures[0]) == shown.picture
    assert kept_sounds.FILE.read_bytes() == before
    assert len(encoded) == 1


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"mp3 x": 4}', b"\xff\xfe"])
def test_a_file_that_is_no_table_is_made_anew(path: Path, content: bytes) -> None:
    made = sound.sound(path)
    kept_sounds.FILE.parent.mkdir()
    kept_sounds.FILE.write_bytes(content)
    with kept_sounds.kept(kept_sounds.FILE):
        assert sound.sound(path) == made


def test_without_a_file_all_is_made(path: Path, encoded: list[Mark | None]) -> None:
    for _ in range(2):
        with kept_sounds.kept(None):
            sound.sound(path)
    assert len(encoded) == 2
    assert not kept_sounds.FILE.exists()
