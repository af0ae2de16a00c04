"""Datasets of other projects, in and out: a module per format behind the two protocols below.

`import` reads them with a Reader, row by row, and joins the rows to recordings (joined_recordings.py); subtitles.py is
the transcript of one recording. `export` takes what collection.py gathers and leaves it to a Writer; card.py says in
each export whose voices they are and by what right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from timbre.core.errors import DataError
from timbre.core.text import normalise

if TYPE_CHECKING:
    from timbre.exchange.collection import Collection

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")


@dataclass(frozen=True)
class ImportedUtterance:
    """A sentence of another project's dataset and its own small file of sound."""

    where: str  # how an error names it: metadata.csv:12
    text: str
    audio: Path | bytes  # the file, or what is in it
    voice: str = ""  # who speaks, as the dataset names them; empty where it does not


Row = ImportedUtterance | DataError
"""An error is one row's: it is told with the others, and the next row is read."""


@dataclass(frozen=True)
class Options:
    """How to read a dataset that does not say it itself."""

    encoding: str = "utf-8"
    audio_column: str = "audio"
    text_column: str = "text"
    speaker_column: str | None = None  # None is whichever is there of `source`, `speaker` and `speaker_id`; "" is none
    language: str | None = None  # as --language says, for a format whose rows name theirs


class Reader(Protocol):
    """A module that knows a dataset's layout."""

    LOOKS: str  # by what `fits` knows it, for the message where nothing fits

    def fits(self, path: Path) -> bool:
        """Whether the path looks like one; called only where nobody said what it is."""

    def rows(self, path: Path, options: Options) -> Iterator[Row]:
        """Every row in an order that stays; DataError where the whole cannot be read. May be asked for twice."""


class Writer(Protocol):
    """A module that lays a dataset out for another project."""

    def write(self, collection: Collection, folder: Path) -> list[str]:
        """Fill the empty folder, the same bytes for the same collection; remarks on what could not go as it is."""


def text_of(path: Path, encoding: str) -> str:
    """A table or subtitle file whole: they are small, whatever they name is not."""
    try:
        content = path.read_bytes()
        if encoding == "utf-8" and content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError(f"{path}: is UTF-16; add --encoding utf-16, or save it as UTF-8")
        return content.decode(encoding).removeprefix("\ufeff").replace("\r\n", "\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except LookupError as error:
        raise DataError(f"--encoding {encoding}: is no encoding; usual ones are utf-8, utf-16, cp1252") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: byte 0x{content[error.start]:02x} is not {encoding}; save the file as UTF-8, "
            "or say what it is with --encoding, such as cp1252"
        ) from error


def named_file(folder: Path, name: str, where: str) -> Path | DataError:
    """The file that a row names, which has to lie in the dataset's folder: a name is somebody else's word."""
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            return DataError(f"{where}: {name!r} leads out of {folder}")
        return path if path.is_file() else DataError(f"{where}: {path} is missing")
    except (OSError, ValueError):  # a zero byte in the name, or a name that is too long
        return DataError(f"{where}: {name[:80]!r} cannot be a file's name")


def plain(text: str) -> str:
    """On one line, as a transcript keeps it, no other character changed; "" where there is nothing to be said."""
    return " ".join(text.split()) if normalise(text) else ""
