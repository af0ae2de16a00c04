"""The voice's versions, from the newest to the first: the commits that changed what it is made from, or its results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from timbre.diff import material
from timbre.evaluation.metrics import Evidence, Metric
from timbre.versions.dvc_outs import Outs
from timbre.versions.history import CommitInfo, first_parents
from timbre.versions.lenient_rows import FOLDER
from timbre.versions.snapshot import EmptySnapshot, Snapshot, open_snapshot, resolve
from timbre.versions.tables import DETAILS, METRICS, PARAMS, SOURCES, SPEAKERS, VersionTables

PATHS = (SOURCES, SPEAKERS, FOLDER, PARAMS, DETAILS, METRICS, "dvc.lock")


@dataclass(frozen=True)
class HistoryEntry:
    commit: str
    date: str  # of the author's day, YYYY-MM-DD
    author: str
    subject: str
    changed: str  # in the data and the parameters, in words; empty where only results did
    measured: Metric  # of the voice, in the condition that it is judged by
    before: Metric
    failed: list[str] | None  # gates; None where the version has none


def history(root: Path, revision: str, most: int) -> Iterator[HistoryEntry]:
    """Along first parents, so that a merged branch is one version: what it brought to the branch it came to."""
    outs = Outs(root, remotes=False)  # one, so that a table that two versions share is read once
    for at in first_parents(root, resolve(root, revision), most, PATHS):
        yield _entry(root, at, outs)


def _entry(root: Path, at: CommitInfo, outs: Outs) -> HistoryEntry:
    parent: Snapshot = open_snapshot(root, at.parents[0]) if at.parents else EmptySnapshot()
    with parent as before, open_snapshot(root, at.commit) as after:
        old, new = VersionTables(before, outs), VersionTables(after, outs)
        changed = material.said(material.data_changes(old, new))
        evidence, earlier = new.evidence, old.evidence
    measured, before_it = (side.conditions.get(evidence.judged, Metric()) for side in (evidence, earlier))
    return HistoryEntry(at.commit, at.date, at.author, at.subject, changed, measured, before_it, _failed(evidence))


def _failed(evidence: Evidence) -> list[str] | None:
    return evidence.failed if evidence.gates else None
