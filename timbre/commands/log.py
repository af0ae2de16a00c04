"""Show the history in git, a line per version: changes in the data, and results.

A version is a commit, or a merge, that changed recordings, transcripts, parameters or results. Reads git and, if it is
there, DVC's cache; it asks no remote.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from timbre.commands.options import add_count, add_json
from timbre.commands.place import given_path
from timbre.core.content import write_atomic
from timbre.core.safe_text import print_json, visible
from timbre.diff.history import HistoryEntry, history
from timbre.evaluation.metrics import Metric
from timbre.report.columns import columns
from timbre.report.numbers import rate, signed

EXAMPLES = [
    ("timbre log", "the last twenty versions"),
    ("timbre log --plot", "draw their WER and similarity as well"),
    ("timbre log v1.0 -n 5 --json", "the five up to a tag, as JSON"),
]
AUTHOR = 20  # characters of a name, at most
PICTURE = Path("reports/log.html")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("revision", nargs="?", default="HEAD", help="newest version to show (HEAD)")
    add_count(parser, "versions", 20)
    add_json(parser)
    parser.add_argument(
        "--plot",
        nargs="?",
        type=given_path,
        const=PICTURE,
        metavar="FILE",
        help=f"also draw them on a page ({PICTURE})",
    )


def command(args: argparse.Namespace) -> int:
    versions = list(history(Path.cwd(), args.revision, max(args.n, 0)))
    measured = [version for version in versions if version.measured != Metric()]
    if args.plot:
        from timbre.diff import plot  # loads what draws pages

    if args.plot and measured:
        write_atomic(args.plot, plot.page(measured))
    if args.json:
        print_json([dataclasses.asdict(version) for version in versions])
        return 0
    for line in columns([_cells(version) for version in versions]):
        print(line)
    if not versions:
        print("no version yet: no commit has transcripts, parameters or results")
    elif args.plot:
        print("", *plot.sparklines(measured), f"drawn in {args.plot}" if measured else "nothing measured yet", sep="\n")
    return 0


def _cells(version: HistoryEntry) -> tuple[str, ...]:
    similar, gates = "", ""
    if version.measured.similarity is not None:
        similar = _measured("similarity", version, "similarity")
    if version.failed is not None:
        gates = f"gates {'pass' if not version.failed else 'FAIL: ' + ', '.join(version.failed)}"
    author = _shortened(visible(version.author))
    changes = f"{version.changed or 'only code or results'} · {visible(version.subject)}"
    return version.date, version.commit[:8], author, _measured("WER", version, "wer"), similar, gates, changes


def _shortened(author: str) -> str:
    """Whole words, where there is more than one."""
    if len(author) <= AUTHOR:
        return author
    begins = author[: AUTHOR - 1]
    return (begins.rpartition(" ")[0] or begins) + "…"


def _measured(name: str, version: HistoryEntry, measure: str) -> str:
    new, old = (getattr(metric, measure) for metric in (version.measured, version.before))
    change = f" ({signed(new - old, 3)})" if None not in (new, old) and new != old else ""
    return f"{name} {rate(new)}{change}"
