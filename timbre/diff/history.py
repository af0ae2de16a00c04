"""The voice's versions, from the newest to the first: the commits that changed what it is made from, or its results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from timbre.diff import verdict
from timbre.diff.compare import compare
from timbre.evaluation.metrics import Evidence, Metric
from timbre.versions.dvc_outs import Outs
from timbre.versions.history import CommitInfo, first_parents
from timbre.versions.lenient_rows import FOLDER
from timbre.versions.snapshot import EmptySnapshot, Snapshot, open_snapshot, resolve
from timbre.versions.tables import METRICS, PARAMS, SOURCES, SPEAKERS, load

PATHS = (SOURCES, SPEAKERS, FOLDER, PARAMS, METRICS, "dvc.lock")


@dataclass(frozen=True)
class Version:
    commit: str
    date: str  # of the author's day, YYYY-MM-DD
    author: str
    subject: str
    changed: str  # in the data and the parameters, in words; empty where only results did
    measured: Metric  # of the voice, in the condition that it is judged by
    before: Metric
    failed: list[str] | None  # gates; None where the version has none


def history(root: Path, revision: str, most: int) -> Iterator[Version]:
    """Along first parents, so that a merged branch is one version: what it brought to the branch it came to."""
    for at in first_parents(root, resolve(root, revision), most, PATHS):
        yield _version(root, at)


def _version(root: Path, at: CommitInfo) -> Version:
    parent: Snapshot = open_snapshot(root, at.parents[0]) if at.parents else EmptySnapshot()
    outs = Outs(root, remotes=False)
    with parent as before, open_snapshot(root, at.commit) as after:
        old, new = load(before, outs), load(after, outs)
        report = compare(old, new, remote=False)
    condition = next((name for name in verdict.MAIN if name in new.evidence.conditions), verdict.MAIN[-1])
    measured, earlier = (side.evidence.conditions.get(condition, Metric()) for side in (new, old))
    return Version(
        at.commit, at.date, at.author, at.subject, verdict.data(report), measured, earlier, _failed(new.evidence)
    )


def _failed(found: Evidence) -> list[str] | None:
    return found.failed if found.gates else None
