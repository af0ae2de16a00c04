"""Show the voice's history: a line per version, with what changed in its data and how well it is understood.

A version is a commit that changed recordings, transcripts, parameters or results; a merged branch is one. Reads git,
and DVC's cache where it is there; asks no remote.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from timbre.diff import plot
from timbre.diff.history import Version, history
from timbre.diff.verdict import rate, signed
from timbre.judging.evidence import Metric
from timbre.mapping import write_atomic
from timbre.marks import visible

EXAMPLES = [
    ("timbre log", "the last twenty versions"),
    ("timbre log --plot", "and their WER and similarity as a picture"),
    ("timbre log v1.0 -n 5 --json", "the five up to a tag, for a program"),
]
PICTURE = Path("reports/log.html")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("revision", nargs="?", default="HEAD", help="where to begin (HEAD)")
    parser.add_argument("-n", type=int, default=20, metavar="N", help="how many (20)")
    parser.add_argument("--json", action="store_true", help="as a list of objects")
    parser.add_argument(
        "--plot", nargs="?", type=Path, const=PICTURE, metavar="FILE", help=f"draw them on a page ({PICTURE})"
    )


def command(args: argparse.Namespace) -> int:
    versions = list(history(Path.cwd(), args.revision, max(args.n, 0)))
    measured = [version for version in versions if version.measured != Metric()]
    if args.plot and measured:
        write_atomic(args.plot, plot.page(measured))
    if args.json:
        print(json.dumps([dataclasses.asdict(version) for version in versions], indent=1))
        return 0
    width = max((len(visible(version.author)) for version in versions), default=0)
    for version in versions:
        print(line(version, min(width, 20)))
    if not versions:
        print("no version yet: no commit has transcripts, parameters or results")
    elif args.plot:
        print("", *plot.sparklines(measured), f"drawn in {args.plot}" if measured else "nothing measured yet", sep="\n")
    return 0


def line(version: Version, width: int) -> str:
    measured = f"{_measured('WER', version, 'wer'):20}"
    if version.measured.similarity is not None:
        measured += f"  {_measured('similarity', version, 'similarity'):27}"
    if version.failed is not None:
        measured += f"  gates {'pass' if not version.failed else 'FAIL: ' + ', '.join(version.failed)}"
    what = version.changed or "only code or results"
    author = visible(version.author)[:width].ljust(width)
    return f"{version.date}  {version.commit[:8]}  {author}  {measured}  {what} · {visible(version.subject)}"


def _measured(name: str, version: Version, measure: str) -> str:
    new, old = (getattr(metric, measure) for metric in (version.measured, version.before))
    change = f" ({signed(new - old, 3)})" if None not in (new, old) and new != old else ""
    return f"{name} {rate(new)}{change}"
