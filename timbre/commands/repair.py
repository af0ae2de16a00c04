"""Repair DVC's own files after a kill, where it says that it cannot read them.

If DVC is killed at the moment in which it writes dvc.lock, the file is left empty and no stage starts any more. This
command restores the file of the last commit, and `dvc repro` finds what was computed since. `make` runs it first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from timbre.core.errors import DataError
from timbre.versions.repair import in_conflict, repair

EXAMPLES = [("timbre repair", "after `dvc repro` said that dvc.lock or rwlock is not valid")]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="print nothing if nothing is damaged")


def command(args: argparse.Namespace) -> int:
    lines = list(repair(Path.cwd()))
    if lines:
        print("\n".join(lines))
    if in_conflict(Path.cwd()):
        raise DataError("dvc.lock: is in conflict after a merge; `timbre resolve`, then `dvc repro`")
    if not lines and not args.quiet:
        print("nothing is damaged")
    return 0
