"""What else holds a voice in this work tree, and how a removal that was cut short is finished.

    begun = Unfinished.read()                # of a removal that was killed; nothing where none was
    Unfinished(what, ids, paths).write()     # before the first file goes
    ...
    finished()

Reads and writes   .timbre/removal.json      what is being removed: its entry in data/sources.yaml goes first, and by
                                             that alone nobody could tell which files were to follow
Finds              .timbre/takes             what was spoken in the recording booth
                   .timbre/peaks, muted, dismissed      what the review page keeps of a recording
                   .timbre/push, fetch, import, restored, store, train, voices    copies, which nobody can tell apart
                   reports/index.html, report.html      pages with sounds in them
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from timbre.core.content import write_atomic

LOCAL = Path(".timbre")
JOURNAL = LOCAL / "removal.json"
TAKES = LOCAL / "takes"
OF_RECORDING = tuple(LOCAL / name for name in ("peaks", "muted", "dismissed"))  # files that begin with its id
COPIES = tuple(
    LOCAL / name for name in ("push", "fetch", "import", "restored", "store", "train", "voices")
)  # safe to delete
PAGES = (Path("reports/index.html"), Path("reports/report.html"))
OWNED = (Path("data/recordings"), Path("data/transcripts"), LOCAL, Path("reports"))  # where a removal deletes


@dataclass(frozen=True)
class Unfinished:
    """A removal that was begun."""

    what: tuple[str, ...] = ()  # as the user named them
    ids: tuple[str, ...] = ()  # of recordings
    paths: tuple[str, ...] = ()  # files and folders that go

    @staticmethod
    def read() -> Unfinished:
        """An unreadable one says nothing: it is written whole, or not at all."""
        try:
            values = json.loads(JOURNAL.read_bytes())
            return Unfinished(*(tuple(map(str, values[name])) for name in ("what", "ids", "paths")))
        except (OSError, ValueError, KeyError, TypeError):
            return Unfinished()

    def write(self) -> None:
        write_atomic(JOURNAL, json.dumps(asdict(self), indent=1))

    def files(self, still_used: Collection[str | None]) -> Iterator[Path]:
        """Those that are still there and that no recording which stays needs."""
        for name in self.paths:
            path = Path(name)
            inside = ".." not in path.parts and any(path.is_relative_to(folder) for folder in OWNED)
            if inside and name not in still_used and path.exists():
                yield path


def finished() -> None:
    JOURNAL.unlink(missing_ok=True)


def takes() -> dict[Path, frozenset[str]]:
    """Folder of each recording that was begun in the booth → its id and its speaker."""
    folders = {}
    for folder in sorted(path for path in TAKES.glob("*") if path.is_dir()):
        try:
            speaker = str(json.loads((folder / "session.json").read_bytes())["speaker"])
        except (OSError, ValueError, KeyError, TypeError):
            speaker = folder.name
        folders[folder] = frozenset((folder.name, speaker))
    return folders


def traces(what: Collection[str], ids: Collection[str]) -> Iterator[Path]:
    """Takes of these speakers and recordings, what the review page keeps of them, copies, and pages."""
    yield from (folder for folder, names in takes().items() if names & {*what, *ids})
    for folder in OF_RECORDING:
        yield from (path for path in sorted(folder.glob("*")) if path.name.partition(".")[0] in ids)
    yield from (path for path in (*COPIES, *PAGES) if path.exists())


def delete(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
