"""Sound and its picture as a page carries them, so that it plays without a network and without the files.

A page of a hundred samples must stay small enough to send: players hold an MP3 at a rate at which speech loses nothing
that one hears, about 0.4 of the FLAC file. What is measured is measured on the FLAC. What a voice spoke carries its
mark (timbre/audio/emitting.py), since a page leaves the repository; recordings of people carry none.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import PIL
import soundfile
import soxr

from timbre import audio
from timbre.audio import Samples, mp3, spectrogram
from timbre.audio.emitting import Mark, marked_samples
from timbre.audio.leaving import marked_copy, voice_of
from timbre.core.content import content_key
from timbre.core.errors import AudioError, DataError
from timbre.core.records import Sample, from_json
from timbre.report import kept_sounds

VERSION = 4  # raise when the code makes other players or pictures of the same sound
RATES = (16_000, 22_050, 24_000)  # Hz that are kept; others become the last
AT_ONCE = 128  # players that are encoded together: a few minutes of sound in memory


@dataclass(frozen=True)
class EmbeddedSound:
    mp3: str  # base64
    picture: str  # base64 of a PNG
    seconds: float


def sound(path: Path, start: float = 0.0, end: float | None = None, mark: Mark | None = None) -> EmbeddedSound:
    """start–end (seconds) of the file; its picture is that of the file, without the mark."""
    read = functools.cache(functools.partial(_read, path, start, end))
    if not kept_sounds.is_open() or (start, end) != (0.0, None):  # no long recording is hashed for a stretch of it
        return EmbeddedSound(_text(_mp3(*read(), mark)), _drawn(*read()), _seconds(*read()))
    key = _key(path)
    marked = content_key(key, mark and (mark.version, mark.tags()))
    return EmbeddedSound(
        kept_sounds.found("mp3", marked, lambda: _text(_mp3(*read(), mark))),
        kept_sounds.found("picture", key, lambda: _drawn(*read())),
        float(kept_sounds.found("seconds", key, lambda: str(_seconds(*read())))),
    )


def prepare(wanted: Iterable[tuple[Path, Mark]]) -> None:
    """Let `sound` find what it will be asked for while sounds are kept: to encode many at once costs half."""
    marks = {(path, content_key(_key(path), (mark.version, mark.tags()))): mark for path, mark in wanted}
    missing = [key for key in marks if kept_sounds.is_open() and not kept_sounds.has("mp3", key[1])]
    for first in range(0, len(missing), AT_ONCE):
        few = missing[first : first + AT_ONCE]
        read = [(*_read(path), marks[path, key]) for path, key in few]
        for (path, key), (samples, rate, _), content in zip(few, read, _mp3s(read), strict=True):
            kept_sounds.add("mp3", key, _text(content))
            kept_sounds.found("picture", _key(path), functools.partial(_drawn, samples, rate))
            kept_sounds.found("seconds", _key(path), functools.partial(str, _seconds(samples, rate)))


def picture(path: Path) -> bytes:
    """The PNG that a page has of the file."""
    drawn = kept_sounds.found("picture", _key(path), lambda: _drawn(*_read(path)))
    return base64.b64decode(drawn)


def _key(path: Path) -> str:
    """Of the file, and of what makes a player and a picture of it."""
    libraries = (
        soundfile.__libsndfile_version__,
        imageio_ffmpeg.__version__,
        np.__version__,
        PIL.__version__,
        soxr.__version__,
    )
    try:
        return content_key(VERSION, libraries, hashlib.sha256(audio.file_bytes(path)).hexdigest())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); run `dvc repro`") from error


def _read(path: Path, start: float = 0.0, end: float | None = None) -> tuple[Samples, int]:
    try:
        samples, rate = audio.read(path, None, start, end)
    except AudioError as error:
        raise DataError(f"{path}: cannot be read as audio ({error}); run `dvc repro`") from error
    return (samples, rate) if rate in RATES else (audio.resample(samples, rate, RATES[-1]), RATES[-1])


def _seconds(samples: Samples, rate: int) -> float:
    return len(samples) / rate


def spoken(path: Path, sample: Sample, adapter: str | None) -> EmbeddedSound:
    """What a voice said; `adapter` is the key of the version."""
    return sound(path, mark=mark_of(sample, adapter))


def mark_of(sample: Sample, adapter: str | None) -> Mark:
    return Mark(voice_of(sample, adapter))


def marked_flac(content: bytes, record: bytes | None, name: str, adapter: str | None) -> bytes:
    """A sample as it leaves in a page. `record` is what `generate` wrote of it, `name` its id."""
    if record:
        voice = voice_of(from_json(record.decode(), Sample, name), adapter)
    else:  # of a version whose records are not here
        voice = content_key(name) if adapter is None or name.startswith("base") else adapter.removesuffix(".dir")
    return marked_copy(content, voice)


def _mp3(samples: Samples, rate: int, mark: Mark | None) -> bytes:
    return next(_mp3s([(samples, rate, mark)]))


def _mp3s(sounds: Sequence[tuple[Samples, int, Mark | None]]) -> Iterator[bytes]:
    plain = [(marked_samples(samples, rate, mark) if mark else samples, rate) for samples, rate, mark in sounds]
    for (_, _, mark), content in zip(sounds, mp3.encoded(plain), strict=True):
        yield (_tags(mark) if mark else b"") + content


@functools.lru_cache
def _tags(mark: Mark) -> bytes:
    """As an MP3 has them before its sound: what libsndfile writes into a file without any."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", RATES[0], 1, format="MP3") as file:
        for name, value in mark.tags().items():
            setattr(file, name, value)
        file.write(np.zeros(1, np.float32))
    content = buffer.getvalue()
    if not content.startswith(b"ID3"):
        return b""
    size = functools.reduce(lambda whole, byte: whole << 7 | byte, content[6:10])  # seven bits in each byte
    return content[: 10 + size]


def _drawn(samples: Samples, rate: int) -> str:
    return _text(spectrogram.png(samples, rate))


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
