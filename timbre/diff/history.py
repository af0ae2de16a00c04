"""The voice's versions, from the newest to the first: the commits that changed what it is made from, or its results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from timbre.diff import verdict
from timbre.diff.compare import compare
from timbre.evaluation.metrics import Evidence, Metric
from timbre.versions.dvc_outs import Outs
from timbre.versions.lenient_rows import FOLDER
from timbre.versions.snapshot import Empty, Snapshot, git, open_snapshot, resolve
from timbre.versions.tables import METRICS, PARAMS, SOURCES, SPEAKERS, load

PATHS = (SOURCES, SPEAKERS, FOLDER, PARAMS, METRICS, "dvc.lock")
FIELD = "\x1f"  # stands in no name and no subject


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
    form = FIELD.join(("%H", "%P", "%ad", "%an", "%s"))
    start = resolve(root, revision)
    listed = git(
        root, "log", "--first-parent", f"--max-count={most}", f"--format={form}", "--date=short", start, "--", *PATHS
    )
    for line in listed.decode(errors="replace").split("\n"):
        if line:
            commit, parents, date, author, subject = line.split(FIELD)
            yield _version(root, commit, parents.split(), date, author, subject)


def _version(root: Path, commit: str, parents: list[str], date: str, author: str, subject: str) -> Version:
    parent: Snapshot = open_snapshot(root, parents[0]) if parents else Empty()
    outs = Outs(root, remotes=False)
    with parent as before, open_snapshot(root, commit) as after:
        old, new = load(before, outs), load(after, outs)
        report = compare(old, new, remote=False)
    condition = next((name for name in verdict.MAIN if name in new.evidence.conditions), verdict.MAIN[-1])
    measured, earlier = (side.evidence.conditions.get(condition, Metric()) for side in (new, old))
    return Version(commit, date, author, subject, verdict.data(report), measured, earlier, _failed(new.evidence))


def _failed(found: Evidence) -> list[str] | None:
    return found.failed if found.gates else None
