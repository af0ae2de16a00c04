"""The commits that changed the voice, and the tags that hold what they made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from timbre.core.errors import DataError
from timbre.versions.snapshot import git

FIELD = "\0"  # occurs in no name and no subject


@dataclass(frozen=True)
class CommitInfo:
    commit: str
    parents: tuple[str, ...]
    date: str  # the author's day, YYYY-MM-DD
    author: str
    subject: str


def first_parents(root: Path, start: str, most: int, paths: Sequence[str]) -> list[CommitInfo]:
    """From the newest, commits that changed one of the paths; a merged branch counts as one change."""
    return list(_log(root, "--first-parent", f"--max-count={most}", start, "--", *paths))


def on_any_branch(root: Path, paths: Sequence[str]) -> list[CommitInfo]:
    """From the oldest, commits that changed one of the paths, on any branch or under a tag."""
    try:
        # --full-history: git would leave out a side whose files a merge did not keep; --date-order: of commits made in
        # one second it would list the later one first
        which = ("HEAD", "--branches", "--remotes", "--tags", "--full-history", "--date-order", "--reverse")
        return list(_log(root, *which, "--", *paths))
    except DataError:  # no commit yet
        return []


def _log(root: Path, *arguments: str) -> Iterator[CommitInfo]:
    form = "%x00".join(("%H", "%P", "%ad", "%an", "%s"))
    listed = git(root, "log", "--date=short", f"--format={form}", *arguments)
    for line in listed.decode(errors="replace").split("\n"):
        if line:
            commit, parents, date, author, subject = line.split(FIELD)
            yield CommitInfo(commit, tuple(parents.split()), date, author, subject)


def commit_info(root: Path, commit: str) -> CommitInfo:
    return next(_log(root, "-1", commit))


def tags(root: Path, paths: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Commit that changed one of the paths → the tags that hold what it made; a tag may be on a later commit."""
    names: dict[str, tuple[str, ...]] = {}
    for tag in git(root, "tag").decode().split():
        last = git(root, "log", "-1", "--format=%H", tag, "--", *paths).decode().strip()
        names[last] = (*names.get(last, ()), tag)
    return names
