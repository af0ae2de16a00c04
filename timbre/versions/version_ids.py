"""The id of a version: DVC's hash of its adapter folder, of which commands print the first eight digits.

    commit, key = find(root, "5b734143")     # the newest commit that has it; no commit: the work tree alone has it

`timbre trace`, `diff`, `--voice` and `release` take an id wherever they take a commit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from timbre.core.errors import DataError
from timbre.versions import dvc_lock, history
from timbre.versions.snapshot import Commit, WorkTree
from timbre.versions.tables import ADAPTER

DIGITS = 8  # that are printed, and that a mark in a sound carries
BEGINNING = re.compile(r"[0-9a-f]{6,32}")


class KnownVersion(NamedTuple):
    commit: str | None  # None: the work tree
    key: str


def known(root: Path) -> Iterator[KnownVersion]:
    """Every version that is known here; the work tree's first, then from the newest commit."""
    if key := dvc_lock.read(WorkTree(root)).outs.get(ADAPTER):
        yield KnownVersion(None, key.removesuffix(".dir"))
    for at in reversed(history.on_any_branch(root, ("dvc.lock",))):
        with Commit(root, at.commit, at.commit[:DIGITS]) as snapshot:
            if key := dvc_lock.read(snapshot).outs.get(ADAPTER):
                yield KnownVersion(at.commit, key.removesuffix(".dir"))


def find(root: Path, name: str, *, committed: bool = True) -> KnownVersion | None:
    """The version whose id begins with `name`; `committed`: by a commit where one has it, though the work tree does,
    too. DataError where it means several."""
    if not BEGINNING.fullmatch(name):
        return None
    meant = [version for version in known(root) if version.key.startswith(name)]
    if len({version.key for version in meant}) > 1:
        raise DataError(f"{name}: several versions have an id that begins so; give more of it")
    return next((version for version in meant if version.commit or not committed), meant[0] if meant else None)
