"""The id of a version: DVC's hash of its adapter folder, of which commands print the first eight digits.

    commit, key = find(root, "5b734143")     # the newest commit that has it; no commit: the work tree alone has it

`timbre trace`, `diff`, `--voice` and `release` take an id wherever they take a commit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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


def of_outs(outs: Mapping[str, str]) -> str | None:
    """Of a lock's outputs, or of hashes by path; None where none is of an adapter."""
    return outs.get(ADAPTER, "").removesuffix(".dir") or None


def known(root: Path) -> Iterator[KnownVersion]:
    """Every version that is known here; the work tree's first, then from the newest commit."""
    if key := of_outs(dvc_lock.read(WorkTree(root)).outs):
        yield KnownVersion(None, key)
    for at in reversed(history.on_any_branch(root, ("dvc.lock",))):
        with Commit(root, at.commit, at.commit[:DIGITS]) as snapshot:
            if key := of_outs(dvc_lock.read(snapshot).outs):
                yield KnownVersion(at.commit, key)


def find(root: Path, name: str, *, committed: bool = True) -> KnownVersion | None:
    """The version whose id begins with `name`; of a version that both have, the commit if `committed`, else the work
    tree. DataError where it means several."""
    if not BEGINNING.fullmatch(name):
        return None
    meant = [version for version in known(root) if version.key.startswith(name)]
    if len({version.key for version in meant}) > 1:
        raise DataError(f"{name}: several versions have an id that begins so; give more of it")
    in_commits = [version for version in meant if version.commit]
    return next(iter((committed and in_commits) or meant), None)
