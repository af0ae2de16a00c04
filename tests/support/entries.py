"""Maps that compute little and die on demand, for worker processes to import."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from timbre.core.content import content_key
from timbre.core.errors import DataError
from timbre.mapping.batch import Files
from timbre.mapping.refresh import Job


class Entry(NamedTuple):
    text: str
    folder: str  # where it is noted who computes and dies; no input, so no Path
    deaths: int = 0  # of its worker, before it is computed
    pids: bool = False  # whether to note who computes it


def jobs(folder: Path, *texts: str, deaths: dict[str, int] | None = None, pids: bool = False) -> list[Job[Entry]]:
    entries = [Entry(text, str(folder), (deaths or {}).get(text, 0), pids) for text in texts]
    return [Job(entry.text.lower(), content_key(entry.text), entry) for entry in entries]


def upper(entries: Sequence[Entry]) -> Iterator[Files]:
    for entry in entries:
        note = Path(entry.folder, f"{entry.text}.deaths")
        died = len(note.read_text()) if note.exists() else 0
        if died < entry.deaths:
            note.write_text("x" * (died + 1))
            os.kill(os.getpid(), signal.SIGKILL)
        if entry.pids:
            Path(entry.folder, f"{os.getpid()}.pid").touch()
        yield {".json": json.dumps({"key": content_key(entry.text), "text": entry.text}).encode()}


def refuse(entries: Sequence[Entry]) -> Iterator[Files]:
    raise DataError(f"{entries[0].text}: is no sound")
    yield {}


def stumble(entries: Sequence[Entry]) -> Iterator[Files]:
    yield {".json": b"1" if 1 / 0 else b""}


def linger(entries: Sequence[Entry]) -> Iterator[Files]:
    """For ever; who does it, is noted."""
    Path(entries[0].folder, f"{os.getpid()}.pid").touch()
    time.sleep(600)
    yield {}
