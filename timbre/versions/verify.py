"""Every file that DVC keeps, read and compared with its hash: bit rot is noticed by nobody else.

DVC and the stages believe a file whose size and times they have seen before. Here each object of DVC's cache is read,
and each output of the work tree that dvc.lock names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from timbre.core.content import file_md5, listing_md5
from timbre.mapping.dvc_cache import listing, objects
from timbre.versions import dvc_lock
from timbre.versions.snapshot import WorkTree

EMPTY = listing_md5({})
OBJECT = re.compile(r"[0-9a-f]{2}/[0-9a-f]{30}(\.dir)?")


@dataclass(frozen=True)
class Damaged:
    path: Path
    what: str  # is wrong
    todo: str


@dataclass(frozen=True)
class Verified:
    files: int  # that were read
    damaged: tuple[Damaged, ...]
    unread: tuple[str, ...] = ()  # outputs whose list of files is not here


def cache(root: Path) -> Verified:
    """Each object is named by the MD5 of its content."""
    folder, rotten, count = objects(root), [], 0
    for path in sorted(folder.glob("??/*")):
        name = path.relative_to(folder).as_posix()
        if OBJECT.fullmatch(name) and path.is_file():
            count += 1
            if file_md5(path) != name.replace("/", "").removesuffix(".dir"):
                todo = f"`rm -f {path}`, then `dvc pull`, or `dvc repro` and `dvc commit`"
                rotten.append(Damaged(path, "is not what its name says", todo))
    return Verified(count, tuple(rotten))


def outputs(root: Path) -> Verified:
    """Of the stages, as dvc.lock names them; one that was edited cannot be told from one that was damaged."""
    rotten, count = [], 0
    unread = tuple(out for out, digest in _folders(root) if not listing(objects(root), digest))
    for out, path, digest in _named(root):
        if not (root / path).is_file():
            continue  # `dvc status` tells what is missing
        count += 1
        if file_md5(root / path) != digest:
            todo = f"`rm -f {path}`, then `dvc checkout {out}`; or `dvc repro` if it is not in the cache"
            rotten.append(Damaged(path, "is not the file that dvc.lock names", todo))
    return Verified(count, tuple(rotten), unread)


def _folders(root: Path) -> Iterator[tuple[str, str]]:
    """Outputs that are folders and not empty, and their hash."""
    for out, digest in dvc_lock.read(WorkTree(root)).outs.items():
        if digest.endswith(".dir") and digest != EMPTY:
            yield out, digest


def _named(root: Path) -> Iterator[tuple[str, Path, str]]:
    """Output, file and MD5."""
    for out, digest in dvc_lock.read(WorkTree(root)).outs.items():
        if not digest.endswith(".dir"):
            yield out, Path(out), digest
            continue
        for name, file_digest in listing(objects(root), digest).items():
            yield out, Path(out, name), file_digest
