"""Compare two versions of the voice: words, clips, rights, parameters, results.

Reads git and the tables that dvc.lock names, in a clone that may hold no data at all; a remote is asked only for what
DVC's cache lacks. Without versions, what your branch and your unsaved work add to `main`. In a terminal it prints text,
into a file or a pipe Markdown, cut to what fits into a comment on GitHub.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from timbre.commands.options import add_local
from timbre.commands.place import given_path
from timbre.core.content import write_atomic
from timbre.core.running import tell
from timbre.core.safe_text import colours
from timbre.diff import sounds, speed
from timbre.diff.compare import compare
from timbre.diff.render import FORMATS, render
from timbre.diff.sections.page import Page
from timbre.versions.dvc_outs import Outs
from timbre.versions.snapshot import fork_point, open_snapshot
from timbre.versions.tables import VersionTables

EXAMPLES = [
    ("timbre diff", "your branch and work tree, compared with main"),
    ("timbre diff v1 v2 --full diff.html", "two versions, with everything in one page"),
    ("timbre diff main HEAD --check", "exit with 1 if something must be fixed before a merge"),
]
BY_SUFFIX = {".html": "html", ".json": "json", ".md": "markdown"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", nargs="?", help="a commit, branch or tag (where this branch left main)")
    parser.add_argument("new", nargs="?", help="a commit, branch or tag (the work tree)")
    parser.add_argument("--format", choices=FORMATS, help="output format (terminal or markdown)")
    parser.add_argument(
        "--full", type=given_path, metavar="FILE", help="write the whole report: .html, .md, .json or text"
    )
    parser.add_argument("--link", default="", metavar="URL", help="base address for links to lines")
    parser.add_argument("--artifact-url", default="", metavar="URL", help="address of the whole report")
    parser.add_argument("--speed", type=given_path, metavar="FILE", help="what `timbre speed` measured of the two")
    add_local(parser)
    parser.add_argument("--check", action="store_true", help="exit with 1 if something must be fixed before a merge")


def command(args: argparse.Namespace) -> int:
    root = Path.cwd()
    first = args.old or fork_point(root)
    full = BY_SUFFIX.get(args.full.suffix, "terminal") if args.full else ""
    form = args.format or ("terminal" if sys.stdout.isatty() else "markdown")
    with open_snapshot(root, first) as before, open_snapshot(root, args.new) as after:
        outs = Outs(root, remotes=not args.local)
        old, new = VersionTables(before, outs), VersionTables(after, outs)
        timed = speed.read(args.speed) if args.speed else None
        if timed:
            timed.check_is_of(before.commit, after.commit, args.speed)
        report = compare(old, new, remote=not args.local, speed=timed)
        players = sounds.fetch_allowed(report, old, new) if full == "html" else {}
    page = Page(report, link=f"{args.link.rstrip('/')}/" if args.link else "", whole=args.artifact_url, sounds=players)
    if args.full:
        write_atomic(args.full, render(page, full, whole=True))
    colour = colours()
    sys.stdout.write(render(page, form, colour))
    if args.check:
        for failure in report.failures:
            tell(failure)
    return 1 if args.check and report.failures else 0
