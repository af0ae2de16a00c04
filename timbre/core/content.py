"""Content: what it is named by, and how it comes to the disk whole."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HASHES = "md5"  # in a JSON record: the hashes of an entry's files, see timbre/mapping/entries.py


def content_key(*parts: Any) -> str:
    """A short name for content: 16 hex digits of the SHA-256 of the parts as canonical JSON."""
    canonical = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_key(digests: Iterable[tuple[str, str]]) -> str:
    """A short name for files together, each given by its name and its SHA-256."""
    return content_key(sorted(digests))


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write under a temporary name, then rename: a reader sees the old file or the new one, never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # another process may write the same file
    try:
        with temporary.open("xb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
