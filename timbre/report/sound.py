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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
import soundfile
import soxr

from timbre import audio
from timbre.audio import Samples, spectrogram
from timbre.audio.emitting import Mark, marked_samples
from timbre.audio.leaving import marked_copy, voice_of
from timbre.core.content import content_key
from timbre.core.errors import AudioError, DataError
from timbre.core.records import Sample, from_json
from timbre.report import kept_sounds

VERSION = 1  # raise when the code makes other players or pictures of the same sound
RATES = (16_000, 22_050, 24_000)  # Hz that are kept; others become the last
COMPRESSION = 0.2  # of libsndfile's 0 (largest) to 1; with a variable bit rate about 56 kbit/s at 16 kHz


@dataclass(frozen=True)
class EmbeddedSound:
    mp3: str  # base64
    picture: str  # base64 of a PNG
    seconds: float


def sound(path: Path, start: float = 0.0, end: float | None = None, mark: Mark | None = None) -> EmbeddedSound:
    """start–end (seconds) of the file; its picture is that of the file, without the mark."""
    read = functools.cache(functools.partial(_read, path, start, end))
    if not kept_sounds.is_open() or (start, end) != (0.0, None):  # no long recording is hashed for a stretch of it
        return EmbeddedSound(_text(_mp3(*read(), mark)), _text(spectrogram.png(*read())), _seconds(*read()))
    key = _key(path)
    marked = content_key(key, mark and (mark.version, mark.tags()))
    return EmbeddedSound(
        kept_sounds.found("mp3", marked, lambda: _text(_mp3(*read(), mark))),
        kept_sounds.found("picture", key, lambda: _text(spectrogram.png(*read()))),
        float(kept_sounds.found("seconds", key, lambda: str(_seconds(*read())))),
    )


def picture(path: Path) -> bytes:
    """The PNG that a page has of the file."""
    drawn = kept_sounds.found("picture", _key(path), lambda: _text(spectrogram.png(*_read(path))))
    return base64.b64decode(drawn)


def _key(path: Path) -> str:
    """Of the file, and of what makes a player and a picture of it."""
    libraries = (soundfile.__libsndfile_version__, np.__version__, PIL.__version__, soxr.__version__)
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
    return sound(path, mark=Mark(voice_of(sample, adapter)))


def marked_flac(content: bytes, record: bytes | None, name: str, adapter: str | None) -> bytes:
    """A sample as it leaves in a page. `record` is what `generate` wrote of it, `name` its id."""
    if record:
        voice = voice_of(from_json(record.decode(), Sample, name), adapter)
    else:  # of a version whose records are not here
        voice = content_key(name) if adapter is None or name.startswith("base") else adapter.removesuffix(".dir")
    return marked_copy(content, voice)


def _mp3(samples: Samples, rate: int, mark: Mark | None) -> bytes:
    buffer = io.BytesIO()
    how = {"format": "MP3", "bitrate_mode": "VARIABLE", "compression_level": COMPRESSION}
    with soundfile.SoundFile(buffer, "w", rate, 1, **how) as file:
        for name, value in (mark.tags() if mark else {}).items():
            setattr(file, name, value)
        file.write(marked_samples(samples, rate, mark) if mark else samples)
    return buffer.getvalue()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
