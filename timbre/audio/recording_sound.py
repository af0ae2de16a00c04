"""How a recording sounds as a whole, by what `chunk` wrote of it: its loudness, how much that varies, and its noise.

Reads   data/speech/<id>.json   its loudness
        data/speech/<id>.npy    where somebody speaks, and how loud each moment is
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

from timbre.audio import LEVEL_WINDOW, loudness, speech_activity


class RecordingSound(NamedTuple):
    lufs: float | None  # None of what is too short or too quiet to have one
    range: float | None  # LU
    snr: float | None  # dB from what is heard beside the speech up to the speech; None where it isn't known

    def __str__(self) -> str:
        parts = [(self.lufs, "{:.0f} LUFS"), (self.range, "range {:.0f} LU"), (self.snr, "noise {:.0f} dB below")]
        return ", ".join(text.format(value) for value, text in parts if value is not None)


NOTHING = RecordingSound(None, None, None)  # where `chunk` has measured nothing yet


def read(folder: Path, name: str) -> RecordingSound:
    record, moments = folder / f"{name}.json", folder / f"{name}.npy"
    if not record.is_file():
        return NOTHING
    return _read(record, moments, record.stat().st_mtime_ns, moments.stat().st_mtime_ns if moments.is_file() else None)


@functools.lru_cache(maxsize=4096)
def _read(record: Path, moments: Path, *changed: int | None) -> RecordingSound:
    """Once for each state of the files: a page asks for all recordings each time."""
    measured = loudness.read_record(record)
    lufs, span = (measured.lufs, measured.range) if measured else (None, None)
    return RecordingSound(lufs, span, _snr(moments))


def _snr(path: Path) -> float | None:
    try:
        activity = speech_activity.load(path)
    except (OSError, ValueError):
        return None
    return round(activity.snr([(0.0, len(activity.levels) * LEVEL_WINDOW)]), 1)
