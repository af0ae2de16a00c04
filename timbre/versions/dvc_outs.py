"""What DVC keeps, by the hash that a version's dvc.lock names: its cache, the work tree, and only then a remote.

A reviewer's clone may hold none of it. What could not be reached is told, never taken for empty.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import BinaryIO

from timbre.core.content import files_listed, md5
from timbre.mapping import shards
from timbre.mapping.dvc_cache import objects
from timbre.mapping.dvc_remote import Remote, default_name
from timbre.versions.dvc_lock import Lock

DIGEST = re.compile(r"[0-9a-f]{32}(\.dir)?")


class Outs:
    """Reads outputs of either version; remembers by hash, so that what both have is read once."""

    def __init__(self, root: Path, remotes: bool = True) -> None:
        self.root = root
        self.remote = Remote(root, remotes)
        self._cache = objects(root)
        self._listings: dict[str, dict[str, str] | None] = {}
        self.unreachable: list[str] = []

    def read(self, lock: Lock, path: str, version: str) -> bytes | None:
        """The output at `path`, or None: either this version has none, or `unreachable` says so."""
        digest, exists = self.digest(lock, path)
        content = self._object(digest, path) if digest else self._packed(lock, path)
        if content is None and exists:
            self.unreachable.append(f"{path} of {version}")
        return content

    def named(self, digest: str) -> bytes | None:
        """A file by its MD5, where it can be had."""
        return self._object(digest, "")

    def list(self, lock: Lock, folder: str) -> list[str]:
        """The files of an output that is a folder; none where its list cannot be reached."""
        _, digest = lock.out_of(folder)
        return sorted(f"{folder}/{name}" for name in (self._listing(digest) if digest else None) or {})

    def find(self, lock: Lock, path: str) -> bytes | None:
        """Like `read`, of something that nobody misses."""
        digest, _ = self.digest(lock, path)
        return self._object(digest, path) if digest else self._packed(lock, path)

    def digest(self, lock: Lock, path: str) -> tuple[str | None, bool]:
        """The hash of an output, or of a file inside one; and whether there is, or may be, such a file."""
        out, digest = lock.out_of(path)
        if out is None or digest is None:
            return None, False
        if path == out:
            return digest, True
        listing = self._listing(digest)
        name = path.removeprefix(f"{out}/")
        return (None, True) if listing is None else (listing.get(name), name in listing)

    def _packed(self, lock: Lock, path: str) -> bytes | None:
        """Of a file that lies in a shard of its folder; None where there is none, or the shard cannot be had."""
        out, digest = lock.out_of(path)
        folder, _, name = path.rpartition("/")
        if digest is None or folder != out:
            return None
        files = self._listing(digest) or {}
        for shard in shards.holder(name, files):
            if (file := self._file(files[shard], f"{folder}/{shard}")) is None:
                continue
            with file:
                if (content := shards.content_of(name, file)) is not None:
                    return content
        return None

    def _file(self, digest: str, path: str) -> BinaryIO | None:
        """To read a part of an object; where DVC's cache has it, no more than that part is read."""
        try:
            if DIGEST.fullmatch(digest):
                return (self._cache / digest[:2] / digest[2:]).open("rb")
        except OSError:
            pass
        content = self._object(digest, path)
        return None if content is None else io.BytesIO(content)

    def _listing(self, digest: str) -> dict[str, str] | None:
        """File → hash, of a folder; None where its list cannot be had."""
        if digest not in self._listings:
            content = self._object(digest, "")
            self._listings[digest] = None if content is None else files_listed(content)
        return self._listings[digest]

    def _object(self, digest: str, path: str) -> bytes | None:
        if not DIGEST.fullmatch(digest):  # a lock may come from anybody, and names no other files
            return None
        try:
            return (self._cache / digest[:2] / digest[2:]).read_bytes()
        except OSError:
            pass
        try:
            here = (self.root / path).read_bytes() if path else b""
            if md5(here) == digest:
                return here
        except OSError:
            pass
        return self.remote.read(digest)


def default_remote(root: Path) -> str:
    """The name of DVC's remote, for commands, which know no mapping."""
    return default_name(root)
