"""An entry on disk: a few files, and among them the record, which is JSON and comes last.

    {"key": "0ae8bf77ff7289f3", "frames": 68, "md5": {".npy": "9a1e…", ".json": "77b0…"}}

The record holds the content key of all that the entry depends on, and the MD5 of each of its files: by that name DVC
keeps them too, so it tells damage and leads to the copy in DVC's cache alike. The record's own MD5 is of what it was
before these were put in. Whatever a kill, a disk or a hand did to an entry, the hashes no longer agree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from timbre.core.content import HASHES, md5

RECORD = ".json"
State = Literal["fresh", "stale", "damaged"]
_SEALED = re.compile(rb'(.*), "' + HASHES.encode() + rb'": (\{[^{}]*\})(\s*\}\s*)', re.DOTALL)
_FILE = re.compile(r"[\w.-]+(/[\w.-]+)*")
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Entry:
    """What is wanted: where its files lie, and the key that its record is to hold."""

    name: str  # within its place
    key: str
    where: Callable[[str], Path]  # a file's name in the record, such as `.flac`, to its path
    files: Collection[str] | None  # names, beside the record's; None where only the record knows them
    folders: Collection[Path] = ()  # that hold nothing but this entry

    @property
    def record(self) -> Path:
        return self.where(RECORD)


class Record(NamedTuple):
    """A record that was read."""

    content: bytes  # before the hashes were put in
    hashes: dict[str, str]  # file's name → MD5, the record's with them

    @property
    def key(self) -> str | None:
        return key_of(self.content)


def seal(content: bytes, hashes: Mapping[str, str]) -> bytes:
    """The record with the hashes of its entry's files, and with its own."""
    closed = content.rstrip()
    assert closed.endswith(b"}"), f"a record is a JSON object, not {content[:40]!r}"
    inside = closed[:-1].rstrip()
    written = json.dumps({**{name: hashes[name] for name in sorted(hashes)}, RECORD: md5(content)})
    return inside + f', "{HASHES}": {written}'.encode() + content[len(inside) :]


def opened(content: bytes) -> Record | None:
    """None where it has no hashes, as those of before had none, or is in no state to be read."""
    match = _SEALED.fullmatch(content)
    if not match:
        return None
    try:
        hashes = json.loads(match[2])
    except ValueError:
        return None
    record = Record(match[1] + match[3], hashes)
    files = {name: digest for name, digest in hashes.items() if name != RECORD}
    if not all(_harmless(name) and _MD5.fullmatch(str(digest)) for name, digest in files.items()):
        return None
    return record if seal(record.content, files) == content else None


def key_of(content: bytes) -> str | None:
    try:
        return str(json.loads(content)["key"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _harmless(name: Any) -> bool:
    """A record may come from anybody's push, and names no file outside of its entry."""
    return bool(_FILE.fullmatch(name)) and not any(part.strip(".") == "" for part in name.split("/"))
