"""Whole sounds as MP3 files, many at a time."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.fake_outputs import voice
from timbre.audio import mp3
from timbre.audio.emitting import Mark
from timbre.core.errors import AudioError
from timbre.report import sound

RATE = 24_000


def test_a_sound_has_the_same_bytes_alone_and_among_others() -> None:
    sounds = [(voice(0.3 + number / 20, number), RATE) for number in range(mp3.AT_ONCE + 2)]
    together = list(mp3.encoded(sounds))
    assert len(together) == len(set(together)) == len(sounds)
    for number in (0, mp3.AT_ONCE - 1, mp3.AT_ONCE):
        assert list(mp3.encoded(sounds[number : number + 1])) == [together[number]]
    assert list(mp3.encoded([])) == []


@pytest.mark.parametrize("rate", sound.RATES)
def test_what_is_heard_is_the_sound(rate: int) -> None:
    samples = voice(2.0, 0)
    (content,) = mp3.encoded([(samples, rate)])
    heard, heard_rate = soundfile.read(io.BytesIO(content), dtype="float32")
    assert heard_rate == rate
    assert len(heard) == len(samples), "players leave out what the encoder put before and after"
    difference = np.sqrt(np.mean((heard - samples) ** 2) / np.mean(samples**2))
    assert difference < 0.1
    assert np.std(heard) == pytest.approx(np.std(samples), rel=0.01)
    assert len(content) < len(samples) * 2 / 3, "sixteen bits a sample would be three times as much"


def test_a_player_says_of_itself_what_it_is() -> None:
    mark = Mark("d3979b06")
    content = sound._mp3(voice(1.0, 0), RATE, mark)
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        assert (file.title, file.comment) == (mark.tags()["title"], mark.tags()["comment"])
        assert file.frames == len(voice(1.0, 0))
    assert not sound._mp3(voice(1.0, 0), RATE, None).startswith(b"ID3")


def test_an_ffmpeg_that_makes_none_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho 'Unknown encoder' >&2\nexit 1\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    with pytest.raises(
        AudioError, match=r"^ffmpeg made no MP3 \(Unknown encoder\); `make install` brings one that does$"
    ):
        list(mp3.encoded([(voice(0.5, 0), RATE)]))
