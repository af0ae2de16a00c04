"""Shards: the files of many entries in one tar file, and the one place that reads an entry's file wherever it lies.

    data/clips/1f3a….flac, 1f3a….json          few entries: each file by itself
    data/clips/shard-010.tar, shard-011.tar …  many: refresh puts them into shards (timbre/mapping/packing.py)

    read(Path("data/clips/1f3a….flac"))        the same bytes in both layouts; nothing is unpacked
    read_all(paths)                            of many files, which is several times as fast

A file keeps its path in both layouts, so tables and content keys do not tell them apart. Which shard an entry is in
follows from the hash of its name: `shard-010` has all entries whose hash begins with these bits. A shard that would
hold too many becomes two, so an entry that comes or goes rewrites one shard and moves no other.

The first file in a shard is its index, `index.jsonl`, with a row per entry:

    {"name": "1f3a…", "key": "0ae8…", "files": {".flac": [512, 73120, "9a1e…"], ".json": [74752, 132, "77b0…"]}}

with the content key, and of each file where it begins (bytes after the index), its length and its MD5. So one rename
puts a shard in place, never its files without their index. Equal entries make equal shards, to the byte.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import re
import secrets
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from timbre.core.content import content_key, md5
from timbre.core.errors import DataError
from timbre.mapping.entries import RECORD
from timbre.mapping.entries import opened as opened_record

INDEX = "index.jsonl"
BLOCK = 512  # bytes; tar fills each file up to a multiple
FILE = re.compile(r"shard-([01]{1,32})\.tar")
ENTRY, SUFFIX = re.compile(r"[\w-]+"), re.compile(r"(\.[\w-]+)+")
MD5 = re.compile(r"[0-9a-f]{32}")
LARGEST_INDEX = 2**26  # bytes; a shard may come from anybody's push
MOST_OPEN = 256  # files at once


class FilePart(NamedTuple):
    """A file of an entry: a stretch of a shard, or a whole file."""

    path: Path
    start: int  # bytes
    length: int
    md5: str

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.length)


class PackedEntry(NamedTuple):
    name: str
    key: str
    parts: dict[str, FilePart]  # by suffix


def read(path: Path) -> bytes:
    """The content of an entry's file, or of any other."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        if part := located(path):
            return part.read()
        raise


def read_all(paths: Iterable[Path]) -> Iterator[bytes]:
    """The content of each, in this order; a folder is looked through and a shard opened once."""
    folders: dict[Path, _Listing] = {}
    files: dict[Path, BinaryIO] = {}
    with ExitStack() as stack:
        for path in paths:
            folder = path.parent
            if folder not in folders:
                folders[folder] = _listing(folder)
            if (part := folders[folder].part(path.name)) is None:
                yield path.read_bytes()
                continue
            if part.path not in files:
                if len(files) == MOST_OPEN:
                    stack.pop_all().close()
                    files.clear()
                files[part.path] = stack.enter_context(part.path.open("rb"))
            files[part.path].seek(part.start)
            yield files[part.path].read(part.length)


class _Listing(NamedTuple):
    """What is in a folder, at one moment."""

    loose: frozenset[str]
    packed: dict[str, PackedEntry]

    def part(self, name: str) -> FilePart | None:
        """None of a file by itself, and of one that is not there."""
        stem, dot, rest = name.partition(".")
        entry = None if name in self.loose else self.packed.get(stem)
        return entry and entry.parts.get(dot + rest)


def _listing(folder: Path) -> _Listing:
    packed: dict[str, PackedEntry] = {}
    for shard in found(folder):  # an entry that is in two, while a stage writes them, is in the one of more bits
        packed |= index(shard) or {}
    return _Listing(frozenset(os.listdir(folder)) if folder.is_dir() else frozenset(), packed)


def opened(path: Path) -> Path | BinaryIO:
    """For a library that takes a path or an open file; a path where there is no such file, so that it says so."""
    part = None if path.exists() else located(path)
    return io.BytesIO(part.read()) if part else path


def exists(path: Path) -> bool:
    return path.is_file() or located(path) is not None


def size(path: Path) -> int:
    """In bytes."""
    return part.length if not path.exists() and (part := located(path)) else path.stat().st_size


def carrier(path: Path) -> Path:
    """The file on the disk that has it: itself, or a shard."""
    return part.path if not path.exists() and (part := located(path)) else path


def paths(folder: Path, suffix: str) -> list[Path]:
    """Every file with the suffix, of all entries, sorted."""
    packed = (folder / f"{name}{suffix}" for shard in found(folder) for name in index(shard) or ())
    return sorted({*folder.glob(f"*{suffix}"), *packed})


def located(path: Path) -> FilePart | None:
    """Where in a shard the file is; None where there is none, or it is in no shard."""
    name, dot, rest = path.name.partition(".")
    for bits in _in_question(name, _present(path.parent)):
        entry = (index(path.parent / shard_name(bits)) or {}).get(name)
        if entry and (part := entry.parts.get(dot + rest)):
            return part
    return None


def holder(file: str, files: Collection[str]) -> Iterator[str]:
    """Of a folder's files, the shards in which a file may be, the likeliest first."""
    shards = {match[1] for match in map(FILE.fullmatch, files) if match}
    return map(shard_name, _in_question(file.partition(".")[0], shards))


def content_of(file: str, shard: BinaryIO) -> bytes | None:
    """A file's content, from a shard that lies anywhere."""
    name, dot, rest = file.partition(".")
    entry = (_read_index(shard, Path()) or {}).get(name)
    part = entry and entry.parts.get(dot + rest)
    if not part:
        return None
    shard.seek(part.start)
    return shard.read(part.length)


def found(folder: Path) -> list[Path]:
    """The shards of a folder."""
    return sorted(folder / shard_name(bits) for bits in _present(folder))


def state(folder: Path) -> str | None:
    """A short name for what a folder of shards holds, another after each write; None where it holds other files."""
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    if not names or not all(map(FILE.fullmatch, names)):
        return None
    return content_key([(name, stamp(folder / name)) for name in names])


def stamp(path: Path) -> list[int]:
    """Changes with each write, as DVC tells one: it sets the mode of every file before a stage, and so `st_ctime`."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def index(shard: Path) -> dict[str, PackedEntry] | None:
    """Entries by name; None where it cannot be read."""
    try:
        status = shard.stat()
        return _index(shard, status.st_size, status.st_mtime_ns, status.st_ino)
    except OSError:
        return None


def forget() -> None:
    """What was found before in shards that were written since: times of files are coarse."""
    _index.cache_clear()
    _names.cache_clear()


def rotten(shard: Path) -> set[str] | None:
    """Names of the entries that are not what was written; None where the index itself cannot be read."""
    if (entries := index(shard)) is None:
        return None
    with shard.open("rb") as file:
        return {name for name, entry in entries.items() if not _agrees(file, entry)}


def planned(names: Collection[str], most: int) -> dict[str, list[str]]:
    """Shard → the names of its entries, sorted, at most so many."""
    shards: dict[str, list[str]] = {}

    def part(bits: str, inside: Sequence[tuple[str, str]]) -> None:
        if len(inside) > most and len(bits) < 32:
            for bit in "01":
                part(bits + bit, [one for one in inside if one[0][len(bits)] == bit])
        elif inside:
            shards[shard_name(bits)] = [name for _, name in inside]

    hashed = sorted(((_bits(name), name) for name in names), key=lambda one: one[1])
    for bit in "01":
        part(bit, [one for one in hashed if one[0][0] == bit])
    return shards


def write(shard: Path, entries: Sequence[PackedEntry]) -> None:
    """From wherever their files lie now; under a temporary name until it is whole."""
    rows, start = [], 0
    for entry in entries:
        files: dict[str, list[Any]] = {}
        for suffix, part in sorted(entry.parts.items()):
            start += len(_header(f"{entry.name}{suffix}", part.length))
            files[suffix] = [start, part.length, part.md5]
            start += _filled(part.length)
        rows.append(json.dumps({"name": entry.name, "key": entry.key, "files": files}) + "\n")
    temporary = shard.with_name(f".{shard.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            _add(file, INDEX, "".join(rows).encode())
            for entry in entries:
                for suffix, part in sorted(entry.parts.items()):
                    content = part.read()
                    if md5(content) != part.md5:
                        raise DataError(f"{part.path}: changed while it was put into {shard}; run `dvc repro` again")
                    _add(file, f"{entry.name}{suffix}", content)
            file.write(bytes(2 * BLOCK))  # so tar ends
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(shard)
    finally:
        temporary.unlink(missing_ok=True)


def shard_name(bits: str) -> str:
    return f"shard-{bits}.tar"


def _bits(name: str) -> str:
    return f"{int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]):032b}"


def _in_question(name: str, shards: Collection[str]) -> list[str]:
    """Bits of the shards in which an entry may be: of more than one only while a stage writes them."""
    bits = _bits(name) if shards else ""
    return [bits[:count] for count in range(len(bits), 0, -1) if bits[:count] in shards]


def _present(folder: Path) -> frozenset[str]:
    try:
        status = folder.stat()
        return _names(folder, status.st_mtime_ns, status.st_ino)
    except OSError:
        return frozenset()


@functools.lru_cache(maxsize=64)
def _names(folder: Path, changed: int, number: int) -> frozenset[str]:
    return frozenset(match[1] for name in os.listdir(folder) if (match := FILE.fullmatch(name)))


@functools.lru_cache(maxsize=4096)
def _index(shard: Path, size: int, changed: int, number: int) -> dict[str, PackedEntry] | None:
    with shard.open("rb") as file:
        return _read_index(file, shard)


def _read_index(file: BinaryIO, shard: Path) -> dict[str, PackedEntry] | None:
    try:
        about = tarfile.TarInfo.frombuf(file.read(BLOCK), "utf-8", "strict")
        if about.name != INDEX or about.size > LARGEST_INDEX:
            return None
        rows = [json.loads(line) for line in file.read(about.size).splitlines()]
        first = BLOCK + _filled(about.size)
        entries = (PackedEntry(row["name"], row["key"], _parts(row["files"], shard, first)) for row in rows)
        return {entry.name: entry for entry in entries if ENTRY.fullmatch(entry.name)}
    except (tarfile.TarError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _parts(files: Mapping[str, Any], shard: Path, first: int) -> dict[str, FilePart]:
    parts = {}
    for suffix, (start, length, digest) in files.items():
        if not (SUFFIX.fullmatch(suffix) and MD5.fullmatch(digest) and int(start) >= 0 and int(length) >= 0):
            raise ValueError(suffix)
        parts[suffix] = FilePart(shard, first + int(start), int(length), digest)
    return parts


def _agrees(file: BinaryIO, entry: PackedEntry) -> bool:
    """Whether its files are there to the byte, and its record says of them what the index says."""
    if RECORD not in entry.parts or not all(_whole(file, entry, suffix) for suffix in entry.parts):
        return False
    file.seek(entry.parts[RECORD].start)
    record = opened_record(file.read(entry.parts[RECORD].length))
    others = {suffix: part.md5 for suffix, part in entry.parts.items() if suffix != RECORD}
    return record is not None and record.key == entry.key and record.hashes.items() >= others.items()


def _whole(file: BinaryIO, entry: PackedEntry, suffix: str) -> bool:
    """Whether the file is there to the byte, with what tar keeps around it."""
    part = entry.parts[suffix]
    header = _header(f"{entry.name}{suffix}", part.length)
    file.seek(part.start - len(header))
    around = file.read(len(header)) == header
    content = file.read(part.length)
    return around and md5(content) == part.md5 and not any(file.read(_filled(part.length) - part.length))


def _add(file: BinaryIO, name: str, content: bytes) -> None:
    file.write(_header(name, len(content)))
    file.write(content)
    file.write(bytes(_filled(len(content)) - len(content)))


def _header(name: str, length: int) -> bytes:
    about = tarfile.TarInfo(name)  # no time, no owner: the same content is the same bytes
    about.size = length
    return about.tobuf(tarfile.PAX_FORMAT)


def _filled(length: int) -> int:
    return -(-length // BLOCK) * BLOCK
