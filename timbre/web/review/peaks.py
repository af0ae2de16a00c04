"""The sound of a recording as a picture: its highest sample in each hundredth of a second.

Kept under .timbre/peaks by the audio's SHA-256, so that it is computed once; safe to delete.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from timbre.audio import BLOCK
from timbre.core.content import write_atomic
from timbre.core.errors import AudioError
from timbre.core.records import Recording

PER_SECOND = 100
VERSION = 1  # raise when other bytes are drawn


def peaks(recording: Recording, flac: Path, cache: Path) -> bytes:
    """A byte per hundredth of a second: 255 · √level, so that quiet speech has steps enough; 255 only at full scale."""
    cached = cache / f"{recording.id}.{recording.sha256[:16]}.{VERSION}.u8"
    try:
        return cached.read_bytes()
    except FileNotFoundError:
        pass
    computed = _computed(flac)
    write_atomic(cached, computed)
    for old in cache.glob(f"{recording.id}.*.u8"):
        if old != cached:
            old.unlink(missing_ok=True)
    return computed


def _computed(flac: Path) -> bytes:
    try:
        with soundfile.SoundFile(flac) as file:
            window = file.samplerate / PER_SECOND  # frames; 220.5 at 22,050 Hz
            out = np.zeros(int(np.ceil(file.frames / window)), np.int32)
            at = 0
            for block in file.blocks(BLOCK, dtype="int16", always_2d=True):
                places = np.arange(int(at / window), int((at + len(block) - 1) / window) + 1)
                starts = np.maximum(np.ceil(places * window).astype(np.int64) - at, 0)
                # not abs: it leaves −32768 as it is
                high = np.maximum.reduceat(block.max(axis=1).astype(np.int32), starts)
                low = np.minimum.reduceat(block.min(axis=1).astype(np.int32), starts)
                places = np.minimum(places, len(out) - 1)
                out[places] = np.maximum(out[places], np.maximum(high, -low))
                at += len(block)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{flac}: cannot be read; `dvc repro fetch` or `dvc pull {flac.parent}` brings it") from error
    return np.asarray(np.floor(np.sqrt(np.minimum(out / 32767, 1)) * 255), np.uint8).tobytes()
