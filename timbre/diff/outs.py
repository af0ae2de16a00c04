"""Tables that DVC keeps, by the hash that a version's dvc.lock names: its cache, the work tree, and only then a remote.

A reviewer's clone may hold none of them. What could not be reached is told, never taken for empty.
"""

from __future__ import annotations

import configparser
import hashlib
import json
from pathlib import Path

from timbre.diff.lock import Lock


class Outs:
    """Reads outputs of either version; remembers by hash, so that what both have is read once."""

    def __init__(self, root: Path, remotes: bool = True) -> None:
        self.root = root
        self._config = configparser.ConfigParser()
        self._config.read([root / ".dvc/config", root / ".dvc/config.local"])
        self._remotes = remotes and any("remote" in section for section in self._config.sections())
        self._failed = False
        self.unreachable: list[str] = []

    def read(self, lock: Lock, path: str, version: str, commit: str | None) -> bytes | None:
        """The output at `path`, or None: either this version has none, or `unreachable` says so."""
        out, digest = lock.out_of(path)
        if digest is None or out is None:
            return None
        if path != out:
            inside = self._member(digest, path.removeprefix(f"{out}/"))
            found = self._object(inside, path) if inside else None
        else:
            found = self._object(digest, path)
        if found is None:
            found = self._fetched(path, commit)
        if found is None:
            self.unreachable.append(f"{path} of {version}")
        return found

    def named(self, digest: str) -> bytes | None:
        """A file by its MD5, where DVC's cache has it."""
        return self._object(digest, "")

    def list(self, lock: Lock, folder: str) -> list[str]:
        """The files of an output that is a folder; none where its list cannot be reached."""
        _, digest = lock.out_of(folder)
        listing = self._object(digest, "") if digest else None
        return sorted(f"{folder}/{entry['relpath']}" for entry in json.loads(listing or b"[]"))

    def _member(self, digest: str, name: str) -> str | None:
        listing = self._object(digest, "")
        entries = json.loads(listing) if listing else []
        return next((str(entry["md5"]) for entry in entries if entry["relpath"] == name), None)

    def _object(self, digest: str, path: str) -> bytes | None:
        cache = self.root / ".dvc" / self._config.get("cache", "dir", fallback="cache")
        try:
            return (cache / "files" / "md5" / digest[:2] / digest[2:]).read_bytes()
        except OSError:
            pass
        try:
            here = (self.root / path).read_bytes() if path else b""
        except OSError:
            return None
        return here if hashlib.md5(here, usedforsecurity=False).hexdigest() == digest else None

    def _fetched(self, path: str, commit: str | None) -> bytes | None:
        if not self._remotes or self._failed:
            return None
        from dvc.api import DVCFileSystem  # takes a second: only when a remote must be asked

        try:
            return bytes(DVCFileSystem(str(self.root), rev=commit).read_bytes(path))
        except Exception:  # whatever the remote's library raises; one refusal is enough to stop asking
            self._failed = True
            return None
