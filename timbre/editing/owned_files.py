"""Writing the files that people own: transcripts, sources, speakers, the glossary, opinions.

    with one_editor():                                 # other timbre processes wait
        change = FileChange(path, content_of(path), after)
        change.write()                                 # ChangedMeanwhile, if the file is another by now

Every writer names the content that its edit was made from, and writes only over that; what an editor saved meanwhile
stays. Between looking at a file and writing it, one lock keeps all other processes of Timbre in this repository away.
Writes   .timbre/editing.lock, empty; safe to delete while nothing runs
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock

from timbre.core.content import write_atomic
from timbre.core.errors import DataError

LOCK = Path(".timbre/editing.lock")
PATIENCE = 60.0  # seconds to wait for other processes; each writes for milliseconds
POLL = 0.01  # seconds between looks at a lock that another process holds


class ChangedMeanwhile(DataError):
    """The file is not the one that was edited; nothing was written."""


@dataclass(frozen=True)
class FileChange:
    """A file's next content, and the content that it was made from."""

    path: Path
    before: bytes | None  # None where there was no file
    after: bytes

    def write(self) -> None:
        write_all([self])


@contextlib.contextmanager
def one_editor() -> Iterator[None]:
    """Only one thread of one process at a time is in here; whoever is in may enter again."""
    LOCK.parent.mkdir(exist_ok=True)
    lock = filelock.FileLock(LOCK.absolute(), PATIENCE, poll_interval=POLL, is_singleton=True)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        message = f"{LOCK}: another timbre process has been writing for {PATIENCE:.0f} s; end it, then try again"
        raise DataError(message) from error
    try:
        yield
    finally:
        lock.release()


def write_all(changes: Sequence[FileChange]) -> None:
    """Write them in this order; nothing is written if one of the files changed since it was read."""
    with one_editor():
        for change in changes:
            if content_of(change.path) != change.before:
                message = f"{change.path}: was changed by somebody else meanwhile; nothing was written"
                raise ChangedMeanwhile(message)
        for change in changes:
            if change.after != change.before:
                write_atomic(change.path, change.after)


def digest(content: bytes | None) -> str:
    """What an edit says it was made from; empty for a file that is not there yet."""
    return "" if content is None else hashlib.sha256(content).hexdigest()


def content_of(path: Path) -> bytes | None:
    """The file's bytes, or nothing where there is no file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
