"""The voice's versions, from the newest to the first: the commits that changed what it is made from, or its results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from timbre.diff import verdict
from timbre.diff.compare import METRICS, PARAMS, SOURCES, compare, rates_of
from timbre.diff.outs import Outs
from timbre.diff.rows import FOLDER
from timbre.diff.snapshot import Empty, Snapshot, git, open_snapshot, resolve

PATHS = (SOURCES, FOLDER, PARAMS, METRICS, "dvc.lock")
FIELD = "\x1f"  # stands in no name and no subject


@dataclass(frozen=True)
class Version:
    commit: str
    date: str  # of the author's day, YYYY-MM-DD
    author: str
    subject: str
    changed: str  # in the data and the parameters, in words; empty where only results did
    wer: float | None  # of the tuned voice
    wer_before: float | None


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
    with parent as old, open_snapshot(root, commit) as new:
        report = compare(old, new, Outs(root, remotes=False))
        rates = [rates_of(side).get(verdict.MAIN, {}).get("wer") for side in (old, new)]
    return Version(commit, date, author, subject, verdict.data(report), rates[1], rates[0])
