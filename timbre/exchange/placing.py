"""Finished recordings and their transcripts put where the project has them: all of them, or none.

The files are made elsewhere. Here each gets its place in data/recordings and data/transcripts, where nothing is ever
replaced, and one new data/sources.yaml declares them last: what it names is whole. After a kill in between, the same
files may be placed again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from timbre.core.content import file_sha256
from timbre.core.errors import DataError, SourceError, raise_all
from timbre.editing import yaml_entries
from timbre.editing.owned_files import FileChange, one_editor, write_all
from timbre.project import sources, speakers
from timbre.project.sources import CHECKS, RECORDINGS
from timbre.project.speakers import Person

TRANSCRIPTS = Path("data/transcripts")


@dataclass(frozen=True)
class Item:
    """A recording to be declared."""

    id: str
    speaker: str
    audio: Path  # the finished file
    transcript: Path

    @property
    def recording(self) -> Path:
        return RECORDINGS / f"{self.id}{self.audio.suffix}"

    @property
    def written(self) -> Path:
        return TRANSCRIPTS / f"{self.id}.tsv"


def imported(name: str) -> str | None:
    """The content key that an import left in the recording's transcript, if it is from one."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for row in (TRANSCRIPTS / f"{name}.tsv").read_text(encoding="utf-8").split("\n"):
            if row.startswith("# imported: "):
                return row.removeprefix("# imported: ").strip()
    return None


def check_entry(entry: dict[str, str]) -> None:
    """That an entry of data/sources.yaml may say this, before any work is done for it."""
    raise_all(
        SourceError,
        (f"--{key}: {text}" for key in ("speaker", "language") for text in CHECKS[key](entry[key])),
    )


def taken(ids: Sequence[str]) -> list[str]:
    """Those that data/sources.yaml declares already."""
    declared = {source.id for source in yaml_entries.read(sources.PATH)}
    return [name for name in ids if name in declared]


def in_the_way(items: Sequence[Item]) -> Iterator[str]:
    """What stands where these would go, besides what an import that was killed had placed of them."""
    for name in taken([item.id for item in items]):
        yield f"{sources.PATH}: {name} is declared already; choose another name with --name"
    for item in items:
        ours = {item.recording: item.audio, item.written: item.transcript}
        for path in [*sorted(RECORDINGS.glob(f"{item.id}.*")), item.written]:
            if path.exists() and not (path in ours and ours[path].exists() and _same(ours[path], path)):
                yield f"{path}: is there already, and stays; choose another name with --name"


def newcomers(voices: Mapping[str, str], consent: str | None) -> list[Person]:
    """Those of the voices, id → name, that data/speakers.yaml does not know; SourceError for a consent taken back."""
    people = (yaml_entries.newcomer(id, consent, name=name) for id, name in voices.items() if consent)
    return [person for person in people if person]


def introduced(newcomers: Sequence[Person]) -> list[FileChange]:
    return [yaml_entries.with_people(speakers.PATH, newcomers)] if newcomers else []


def place(items: Sequence[Item], terms: dict[str, str], newcomers: Sequence[Person] = ()) -> None:
    """`terms` is what every entry says beside its id, file and speaker: language, licence, consent."""
    with one_editor():
        _place(items, terms, newcomers)


def _place(items: Sequence[Item], terms: dict[str, str], newcomers: Sequence[Person]) -> None:
    pairs = [(item.audio, item.recording) for item in items] + [(item.transcript, item.written) for item in items]
    raise_all(DataError, in_the_way(items))
    placed: list[Path] = []
    try:
        for staged, to in pairs:
            if not to.exists():
                _link(staged, to)
                placed.append(to)
        own = [{"id": x.id, "file": x.recording.as_posix(), "speaker": x.speaker} for x in items]
        entries = [one | terms | {"draft": False} for one in own]  # their words are known
        write_all([*introduced(newcomers), yaml_entries.extended(sources.PATH, entries)])
    except BaseException:
        for path in placed:
            path.unlink(missing_ok=True)
        raise


def _same(one: Path, other: Path) -> bool:
    return one.samefile(other) or (
        one.stat().st_size == other.stat().st_size and file_sha256(one) == file_sha256(other)
    )


def _link(staged: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(staged, to)  # unlike a rename, never over a file that came meanwhile
    except FileExistsError as error:
        raise DataError(f"{to}: is there already, and stays") from error
    except OSError:  # another disk, or one without links
        part = to.with_name(f".{to.name}.part")
        try:
            shutil.copyfile(staged, part)
            part.rename(to)
        finally:
            part.unlink(missing_ok=True)
