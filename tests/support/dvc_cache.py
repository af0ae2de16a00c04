"""What DVC would have put into its cache."""

from __future__ import annotations

import hashlib
from pathlib import Path


def keep(content: bytes, suffix: str = "", root: Path = Path()) -> str:
    """Put it there, under the name that it returns; the suffix of a folder's listing is `.dir`."""
    digest = hashlib.md5(content).hexdigest() + suffix
    path = root / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return digest
