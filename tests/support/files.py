"""What lies in a folder, to compare it with what lay there before."""

from __future__ import annotations

from pathlib import Path


def contents(folder: str | Path) -> dict[str, bytes]:
    """Path of each file below the folder, as seen from there → its bytes."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
