"""Sound and its picture as a page carries them, so that it plays without a network and without the files.

A page of a hundred samples must stay small enough to send: players hold an MP3 at a rate at which speech loses nothing
that one hears, about 0.4 of the FLAC file. What is measured is measured on the FLAC.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import soundfile

from timbre import audio
from timbre.audio import spectrogram
from timbre.core.errors import AudioError, DataError

RATES = (16_000, 22_050, 24_000)  # Hz that are kept; others become the last
COMPRESSION = 0.2  # of libsndfile's 0 (largest) to 1; with a variable bit rate about 56 kbit/s at 16 kHz


@dataclass(frozen=True)
class EmbeddedSound:
    mp3: str  # base64
    picture: str  # base64 of a PNG
    seconds: float


def sound(path: Path, start: float = 0.0, end: float | None = None) -> EmbeddedSound:
    """start–end (seconds) of the file."""
    try:
        samples, rate = audio.read(path, None, start, end)
    except AudioError as error:
        raise DataError(f"{path}: cannot be read as audio ({error}); run `dvc repro`") from error
    if rate not in RATES:
        samples, rate = audio.resample(samples, rate, RATES[-1]), RATES[-1]
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="MP3", bitrate_mode="VARIABLE", compression_level=COMPRESSION)
    picture = spectrogram.png(samples, rate)
    return EmbeddedSound(_text(buffer.getvalue()), _text(picture), len(samples) / rate)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
