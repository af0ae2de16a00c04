"""Where a stage's entries are, whether they are sound, and how they come back.

A `Store` is of one folder of entries. It finds by an entry's key what was in the folder once and was replaced, removed
or put aside by `git checkout`: DVC takes no stage with persistent outs into its run cache, so this is what makes going
back cheap. Three things lie in `.timbre`, all of this machine alone and safe to delete:

    entries/<folder>.json   an entry's name and key → the MD5 of its record; and the MD5 of files that did not change
    store/<md5>             files that DVC's cache has not, because no run that made them came to its end

A file is looked for in the store and then in DVC's cache, and never taken without its MD5 being right. An entry that
nothing here remembers may still be the one that dvc.lock names. `TIMBRE_ANEW=1` keeps and finds nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from timbre.core.content import HASHES, file_md5, md5, write_atomic
from timbre.core.safe_text import warn
from timbre.mapping.dvc_cache import Locked, objects
from timbre.mapping.entries import RECORD, Entry, Record, State, key_of, opened, seal
from timbre.mapping.shards import stamp

MEMORY = Path(".timbre/entries")
KEPT = Path(".timbre/store")
RESTORED = Path(".timbre/restored")  # copies on their way back
MOST_BYTES = 10 * 2**30  # of KEPT; what was longest not asked for goes first
MOST_ENTRIES = 50_000  # that are remembered of one folder, some 4 MB
ANEW = "TIMBRE_ANEW"  # in the environment: compute all, whatever is there


class Store:
    """The entries of `place`, a folder in the repository; use it as a context, so that it remembers."""

    def __init__(self, place: Path) -> None:
        self._memory = _memory_of(place)
        content = _loaded(self._memory)
        self._records: dict[str, str] = content["entries"]
        self._known: dict[str, list[Any]] = content["files"]
        self._seen: dict[str, list[Any]] = {}
        self._settled: list[Any] = content["settled"]
        self._objects = objects(Path())
        self._locked = Locked(Path())
        self.anew = bool(os.environ.get(ANEW))
        self._filled = False

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._memory is None:
            return
        records = dict(list(self._records.items())[-MOST_ENTRIES:])
        files = {path: row for path, row in {**self._known, **self._seen}.items() if os.path.exists(path)}
        content = {"entries": records, "files": files, "settled": self._settled}
        write_atomic(self._memory, json.dumps(content, separators=(",", ":")))
        if self._filled:
            _shorten(KEPT, MOST_BYTES)

    def state(self, entry: Entry) -> State:
        """Whether the entry is the one that is wanted, to the byte."""
        if self.anew:
            return "stale"
        try:
            content = entry.record.read_bytes()
        except OSError:
            return "stale"
        record = opened(content)
        if record is None:
            return "stale" if is_of_before(content) else "damaged"
        if record.key != entry.key or not _complete(entry, record):
            return "stale"
        for name, digest in _parts(record).items():
            if not (path := entry.where(name)).is_file():
                return "stale"
            if self._md5(path) != digest:
                return "damaged"
        self._remove_others(entry, record)
        self._remember(entry, content)
        return "fresh"

    def restore(self, entry: Entry) -> bool:
        """Put the entry in place as it was made once; False where nobody has it any more."""
        if self.anew:
            return False
        for content in self._candidates(entry):
            record = opened(content) or self._of_before(entry, content)
            if record and record.key == entry.key and _complete(entry, record) and self._bring(entry, record):
                return True
        return False

    def _candidates(self, entry: Entry) -> Iterator[bytes]:
        """Records that may be the entry's."""
        remembered = self._records.get(_title(entry))
        if remembered and (path := self._object(remembered)):
            yield path.read_bytes()
        locked = self._locked.md5(entry.record)
        if locked and locked != remembered and (path := self._object(locked)):
            yield path.read_bytes()

    def records(self, entry: Entry) -> Iterator[dict[str, Any]]:
        """What is known here of entries of this name, whatever their keys: the one in place, then the latest first."""
        digests = [digest for title, digest in self._records.items() if title.startswith(f"{entry.name} ")]
        locked = self._locked.md5(entry.record)
        kept = map(self._object, ([locked] if locked else []) + digests[::-1])
        for path in [entry.record, *(path for path in kept if path)]:
            with contextlib.suppress(OSError, ValueError, TypeError):
                yield dict(json.loads(path.read_bytes()))

    def write(self, entry: Entry, files: Mapping[str, bytes | Path]) -> None:
        """Put a computed entry in place of what is there. Its record goes first and comes last: meanwhile it is stale.

        Paths are finished temporary files, which are moved.
        """
        record, parts = files[RECORD], {name: content for name, content in files.items() if name != RECORD}
        assert isinstance(record, bytes)
        hashes = {
            name: file_md5(content) if isinstance(content, Path) else md5(content) for name, content in parts.items()
        }
        self._place(entry, record, parts, hashes)

    def _place(self, entry: Entry, record: bytes, parts: Mapping[str, bytes | Path], hashes: Mapping[str, str]) -> None:
        self.put_away(entry)
        for folder in entry.folders:
            folder.mkdir(parents=True)
        for name, content in parts.items():
            target = entry.where(name)
            if isinstance(content, Path):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(content, target)
            else:
                write_atomic(target, content)
            self._note(target, hashes[name])
        sealed = seal(record, hashes)
        write_atomic(entry.record, sealed)
        self._remember(entry, sealed)

    def rewrite(self, entry: Entry, content: bytes) -> None:
        """Another record beside the same files."""
        if (record := opened(entry.record.read_bytes())) is None:  # of before, and nobody knows what it stood beside
            write_atomic(entry.record, content)
            return
        sealed = seal(content, _parts(record))
        write_atomic(entry.record, sealed)
        self._remember(entry, sealed)

    def place(self, entry: Entry, contents: Mapping[str, bytes]) -> bool:
        """Put an entry in place that was made before; False where it is not the one that is wanted, to the byte."""
        record = opened(contents.get(RECORD, b""))
        if record is None or record.key != entry.key or not _complete(entry, record):
            return False
        parts = {name: contents.get(name, b"") for name in _parts(record)}
        if any(md5(content) != record.hashes[name] for name, content in parts.items()):
            return False
        self._place(entry, record.content, parts, _parts(record))
        return True

    def keep(self, name: str, key: str, contents: Mapping[str, bytes]) -> None:
        """Keep an entry that is about to be written over, and lies in no file of its own."""
        if self._memory is None:
            return
        self._records.pop(f"{name} {key}", None)
        self._records[f"{name} {key}"] = md5(contents[RECORD])
        for content in contents.values():
            target = _object_path(KEPT, md5(content))
            if not target.exists():
                write_atomic(target, content)
        self._filled = True

    def committed(self, folder: Path, pattern: re.Pattern[str]) -> Iterator[Path]:
        """Of the folder as dvc.lock names it, the files with such a name that DVC's cache has."""
        for name, digest in self._locked.files(folder).items():
            if pattern.fullmatch(name) and (path := _object_path(self._objects, digest)).is_file():
                yield path

    def note(self, path: Path) -> None:
        """The file was read as a whole, and is what was written."""
        self._known.pop(str(path), None)
        self._seen[str(path)] = [*stamp(path), ""]

    def is_noted(self, path: Path) -> bool:
        stamped = self._known.get(str(path)) or self._seen.get(str(path))
        if not stamped or stamped[:3] != stamp(path):
            return False
        self._seen[str(path)] = stamped
        return True

    def settled(self, asked: str, state: str | None) -> None:
        """The shards, of this state, hold exactly what was asked for."""
        self._settled = [asked, state]

    def is_settled(self, asked: str, state: str | None) -> bool:
        return not self.anew and state is not None and self._settled == [asked, state]

    def put_away(self, entry: Entry) -> None:
        """Take the entry's files from its folder, and keep what DVC's cache has not."""
        try:
            content = entry.record.read_bytes()
        except OSError:
            content = b""
        record = opened(content)
        if record and (key := record.key):
            self._remember(Entry(entry.name, key, entry.where, entry.files), content)
            self._keep(entry.record, md5(content))
        entry.record.unlink(missing_ok=True)
        for name, digest in (_parts(record) if record else {}).items():
            self._keep(entry.where(name), digest)
        for name in entry.files or ():
            entry.where(name).unlink(missing_ok=True)
        for folder in entry.folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _remove_others(self, entry: Entry, record: Record) -> None:
        """What else lies in the folders of a fresh entry would become a part of it, since DVC takes the folders."""
        own = {entry.where(name) for name in record.hashes}
        for path in [path for folder in entry.folders for path in folder.rglob("*")]:
            if path not in own and not path.is_dir():
                path.unlink()

    def _keep(self, path: Path, digest: str) -> None:
        """Move a file to the store, unless it is in DVC's cache or not what it should be."""
        if not path.is_file():
            return
        kept_already = self._memory is None or _object_path(self._objects, digest).exists()
        if kept_already or path.is_symlink() or self._md5(path) != digest:
            path.unlink()
            return
        target = _object_path(KEPT, digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
        os.utime(target)
        self._filled = True

    def _bring(self, entry: Entry, record: Record) -> bool:
        """Copy all its files, look at each, and only then let them take the place."""
        copies: dict[str, Path] = {}
        try:
            for name, digest in _parts(record).items():
                if (source := self._object(digest)) is None:
                    return False
                RESTORED.mkdir(parents=True, exist_ok=True)
                copies[name] = RESTORED / f"{os.getpid()}-{len(copies)}"
                shutil.copyfile(source, copies[name])
                if file_md5(copies[name]) != digest:
                    return False
            self._place(entry, record.content, copies, _parts(record))
            return True
        finally:
            for copy in copies.values():
                copy.unlink(missing_ok=True)

    def _of_before(self, entry: Entry, content: bytes) -> Record | None:
        """An entry without hashes, as DVC committed it: dvc.lock knows them."""
        if not is_of_before(content) or entry.files is None:
            return None
        hashes = {name: self._locked.md5(entry.where(name)) for name in entry.files}
        return Record(content, {name: digest for name, digest in hashes.items() if digest})

    def _object(self, digest: str) -> Path | None:
        """A file with this content. One that has another is of no use to anybody, and goes."""
        for folder in (KEPT, self._objects):
            path = _object_path(folder, digest)
            if not path.is_file():
                continue
            if self._md5(path) == digest:
                if folder == KEPT:
                    os.utime(path)
                    self._note(path, digest)
                return path
            warn(f"{path}: is damaged, removed")
            with contextlib.suppress(OSError):
                path.unlink()
        return None

    def _md5(self, path: Path) -> str:
        """Of the file as it is now; one that kept size and times since it was read is not read again."""
        stamped = self._known.get(str(path)) or self._seen.get(str(path))
        if stamped and stamped[:3] == _stamp(path):
            self._seen[str(path)] = stamped
            return str(stamped[3])
        return self._note(path, file_md5(path))

    def _note(self, path: Path, digest: str) -> str:
        self._known.pop(str(path), None)
        self._seen[str(path)] = [*_stamp(path), digest]
        return digest

    def _remember(self, entry: Entry, sealed: bytes) -> None:
        self._records.pop(_title(entry), None)  # the one asked for last stands last
        self._records[_title(entry)] = md5(sealed)


def _memory_of(place: Path) -> Path | None:
    """Of a folder outside of the repository nothing is remembered: two repositories may share it."""
    here, root = place.absolute(), Path.cwd()
    if not here.is_relative_to(root) or here == root:
        return None
    inside = here.relative_to(root)
    return MEMORY / inside.with_name(f"{inside.name}.json")


def _loaded(memory: Path | None) -> dict[str, Any]:
    """Empty where it was lost or is broken: it only saves work."""
    try:
        content = json.loads(memory.read_bytes()) if memory else {}
        entries = {name: digest for name, digest in content["entries"].items() if isinstance(digest, str)}
        files = {path: row for path, row in content["files"].items() if isinstance(row, list) and len(row) == 4}
        return {"entries": entries, "files": files, "settled": content.get("settled") or []}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {"entries": {}, "files": {}, "settled": []}


def _title(entry: Entry) -> str:
    return f"{entry.name} {entry.key}"


def _parts(record: Record) -> dict[str, str]:
    """The files beside the record."""
    return {name: digest for name, digest in record.hashes.items() if name != RECORD}


def _complete(entry: Entry, record: Record) -> bool:
    return entry.files is None or set(_parts(record)) == set(entry.files)


def is_of_before(content: bytes) -> bool:
    """A record of the time when they held no hashes."""
    try:
        return HASHES not in json.loads(content) and key_of(content) is not None
    except (ValueError, TypeError, RecursionError):
        return False


def _object_path(folder: Path, digest: str) -> Path:
    return folder / digest[:2] / digest[2:]


def _stamp(path: Path) -> list[int]:
    """Changes with each write; the last also where somebody sets the time of the write back."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _shorten(folder: Path, most: int) -> None:
    """Remove the files that lie longest in the folder, until the others have at most so many bytes."""
    files = [(status.st_mtime_ns, status.st_size, path) for path in folder.glob("??/*") for status in [path.stat()]]
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= most:
            return
        path.unlink(missing_ok=True)
        total -= size
