"""Resolve a merge conflict in dvc.lock and results; then `dvc repro` makes them right.

Files that the pipeline writes need no merge: either side will do, because `dvc repro` computes what neither side has
and takes the rest from its cache. Files that people write (transcripts, sources, parameters) are left for people.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from timbre.core.content import write_atomic
from timbre.core.errors import DataError
from timbre.versions import dvc_lock
from timbre.versions.snapshot import WorkTree, git

EXAMPLES = [("timbre resolve", "after `git merge` left dvc.lock in conflict")]
OURS, THEIRS = 2, 3  # git's numbers for the two sides


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--theirs",
        action="store_true",
        help="take the other branch's side; less to compute if it changed more",
    )


def command(args: argparse.Namespace) -> int:
    root = Path.cwd()
    sides = unmerged(root)
    tree = WorkTree(root)
    if "dvc.yaml" in sides:
        raise DataError("dvc.yaml: is in conflict itself; mend it first, then run `timbre resolve` again")
    ours = [path for path in sides if path == "dvc.lock" or _is_made(path, dvc_lock.outputs(tree))]
    for path in ours:
        blobs = sides[path]
        # one of the sides may have removed it
        blob = blobs.get(THEIRS if args.theirs else OURS) or next(blobs[n] for n in (OURS, THEIRS, 1) if n in blobs)
        write_atomic(root / path, git(root, "cat-file", "blob", blob))
        git(root, "add", "--", path)
        print(f"{path}: took {'their' if args.theirs else 'our'} side")
    left = [path for path in sides if path not in ours]
    for path in left:
        if line := _first_marker(tree.read(path) or b""):
            print(f"{path}:{line}: yours to mend; keep one of the two versions, then `git add`")
        else:
            print(f"{path}: decided, as it seems; `git add` it, or `git rm` it")
    if not sides:
        print("nothing is in conflict")
    elif left:
        print("then: dvc repro, git add -u, git commit")
    else:
        behind = [stage.stage for stage in dvc_lock.stale(tree, dvc_lock.read(tree)) if stage.reasons]
        print("now: dvc repro, git add -u, git commit" + (f"  ({', '.join(behind)} will run)" if behind else ""))
    return 1 if left else 0


def unmerged(root: Path) -> dict[str, dict[int, str]]:
    """Path → side → blob, of all that git could not merge."""
    blobs: dict[str, dict[int, str]] = {}
    for entry in git(root, "ls-files", "--unmerged", "-z").decode(errors="surrogateescape").split("\0"):
        if match := re.fullmatch(r"\d+ (\w+) (\d)\t(.*)", entry, re.DOTALL):
            blobs.setdefault(match[3], {})[int(match[2])] = match[1]
    return blobs


def _first_marker(content: bytes) -> int | None:
    """The line on which git's first conflict begins."""
    lines = enumerate(content.splitlines(), start=1)
    return next((number for number, line in lines if line.startswith(b"<<<<<<< ")), None)


def _is_made(path: str, outputs: set[str]) -> bool:
    return any(path == out or path.startswith(f"{out}/") for out in outputs)
