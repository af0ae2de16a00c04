"""Show the voice's history: a line per version, with what changed in its data and how well it is understood.

A version is a commit that changed recordings, transcripts, parameters or results; a merged branch is one. Reads git,
and DVC's cache where it is there; asks no remote.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from timbre.diff.history import Version, history
from timbre.diff.verdict import rate, signed
from timbre.marks import visible

EXAMPLES = [
    ("timbre log", "the last twenty versions"),
    ("timbre log v1.0 -n 5 --json", "the five up to a tag, for a program"),
]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("revision", nargs="?", default="HEAD", help="where to begin (HEAD)")
    parser.add_argument("-n", type=int, default=20, metavar="N", help="how many (20)")
    parser.add_argument("--json", action="store_true", help="as a list of objects")


def command(args: argparse.Namespace) -> int:
    versions = list(history(Path.cwd(), args.revision, max(args.n, 0)))
    if args.json:
        print(json.dumps([dataclasses.asdict(version) for version in versions], indent=1))
        return 0
    width = max((len(visible(version.author)) for version in versions), default=0)
    for version in versions:
        print(line(version, min(width, 20)))
    if not versions:
        print("no version yet: no commit has transcripts, parameters or results")
    return 0


def line(version: Version, width: int) -> str:
    change = ""
    if version.wer is not None and version.wer_before is not None and version.wer != version.wer_before:
        change = f" ({signed(version.wer - version.wer_before, 3)})"
    wer = f"WER {rate(version.wer)}{change}"
    what = version.changed or "only code or results"
    author = visible(version.author)[:width].ljust(width)
    return f"{version.date}  {version.commit[:8]}  {author}  {wer:20}  {what} · {visible(version.subject)}"
