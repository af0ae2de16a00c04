"""What is built once for all tests of a session, also where pytest-xdist shares them among several processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """A folder that the first process to ask for it builds; the others wait, and read it."""
    session = session_folder(factory)
    folder, done = session / f"shared-{name}", session / f"shared-{name}.done"
    with FileLock(session / f"shared-{name}.lock"):
        if not done.exists():
            build(folder)
            done.touch()
    return folder


def session_folder(factory: pytest.TempPathFactory) -> Path:
    """Of all processes that share these tests."""
    base = factory.getbasetemp()
    return base.parent if base.name.startswith("popen-") else base  # xdist gives each process a folder in it
