"""Which entries on disk are not what was written: asked when a stage has failed, for the reason may be a flipped byte.

A stage believes a file whose size and times DVC has seen before, so bit rot shows where the file is read: as a
traceback, or as an advice that does not help.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from timbre.core.content import HASHES, file_md5
from timbre.mapping import shards
from timbre.mapping.entries import RECORD, Record, opened


def damaged(folders: Iterable[Path]) -> Iterator[Path]:
    """Files of entries whose hash is not the one in their record, and records that cannot be read."""
    for folder in folders:
        yield from (shard for shard in shards.found(folder) if shards.rotten(shard) != set())
        for path in sorted(folder.rglob(f"*{RECORD}")):
            content = path.read_bytes()
            record = opened(content)
            if record is not None:
                yield from _differing(path, record)
            elif _was_entry(content):
                yield path


def _was_entry(content: bytes) -> bool:
    """A record that holds hashes, or nothing that can be read; folders hold other JSON files, too."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return True
    return isinstance(value, dict) and HASHES in value


def _differing(path: Path, record: Record) -> Iterator[Path]:
    for name, digest in record.hashes.items():
        file = path.with_suffix(name) if name.startswith(".") and "/" not in name else None
        if file and name != RECORD and file.is_file() and file_md5(file) != digest:
            yield file
