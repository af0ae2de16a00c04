"""Copy the report and add what changed since another version: one file to share.

The pipeline's own page depends on its inputs alone, so the same voice gives the same bytes in any clone. What changed
between two versions is read from git and from the tables that dvc.lock names, and stands only in the copy. So do the
clips that harm the voice, where `timbre value` has run for this adapter.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from timbre.commands import harmful_clips
from timbre.commands.options import add_local
from timbre.commands.place import given_path
from timbre.core.content import write_atomic
from timbre.core.errors import DataError
from timbre.diff import html, sounds
from timbre.diff.compare import compare
from timbre.diff.sections import build
from timbre.diff.sections.page import Page
from timbre.project.permissions import Permissions
from timbre.project.worth import PATH, read_current
from timbre.versions import dvc_lock
from timbre.versions.dvc_outs import Outs
from timbre.versions.snapshot import git, open_snapshot
from timbre.versions.tables import VersionTables

EXAMPLES = [
    ("timbre report", "what changed since the previous version"),
    ("timbre report v1 --out v2.html", "what changed since a tag, commit or branch"),
]
REPORT, COPY, LOCK = Path("reports/index.html"), Path("reports/report.html"), "dvc.lock"
BEGIN, END = "<!-- changes -->\n", "<!-- /changes -->"
VALUE, END_VALUE = "<!-- value -->\n", "<!-- /value -->"  # pages of before have no place for it
ADAPTER, CLIPS = Path("models/adapter"), Path("data/clips")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", nargs="?", help="commit, branch or tag (the last with other data or results)")
    parser.add_argument("--out", type=given_path, default=COPY, metavar="FILE", help=f"file to write ({COPY})")
    add_local(parser)


def command(args: argparse.Namespace) -> int:
    root = Path.cwd()
    if not REPORT.exists():
        raise DataError(f"{REPORT}: there is no report here; {dvc_lock.way_to(REPORT)}")
    page = REPORT.read_text(encoding="utf-8")
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise DataError(f"{REPORT}: has no place for what changed; `dvc repro report` makes it anew")
    Permissions().check_page(REPORT)
    old, which = (args.old, "") if args.old else version_before(root)
    changed = changes(root, old, remote=not args.local)
    write_atomic(args.out, filled(with_worth(page), BEGIN, END, changed))
    print(f"{args.out}: the report, and what changed since {old[:12]}{which}")
    return 0


def with_worth(page: str) -> str:
    """With the most harmful clips in their place, where they were computed for the adapter that lies here."""
    worth = read_current(PATH, ADAPTER)
    if worth is None or page.count(VALUE) != 1 or page.count(END_VALUE) != 1:
        return page
    return filled(page, VALUE, END_VALUE, harmful_clips.part(worth, CLIPS, Permissions()))


def filled(page: str, begin: str, end: str, content: str) -> str:
    """With the content in place of what stands between the two marks."""
    before, _, rest = page.partition(begin)
    return before + content + rest.partition(end)[2]


def changes(root: Path, revision: str, remote: bool) -> str:
    """The work tree against the version, as a part of a page; the samples that changed most are in it."""
    with open_snapshot(root, revision) as before, open_snapshot(root, None) as after:
        outs = Outs(root, remotes=remote)
        old, new = VersionTables(before, outs), VersionTables(after, outs)
        report = compare(old, new, remote=remote)
        return html.part(build(Page(report, sounds=sounds.fetch_allowed(report, old, new), embeds=True)))


def version_before(root: Path) -> tuple[str, str]:
    """The last commit with other data, parameters or results, else with other code; and which of the two, in words.

    HEAD while the results are new, an older one after.
    """
    with open_snapshot(root, None) as here:
        now = dvc_lock.read(here)
    other_code = None
    for commit in git(root, "rev-list", "--first-parent", "HEAD", "--", LOCK).decode().split():
        with open_snapshot(root, commit) as snapshot:
            then = dvc_lock.read(snapshot)
        if then.stages and then.substance != now.substance:
            return commit, ", the last version with other data, parameters or results"
        if then.stages and then != now:
            other_code = other_code or commit
    if other_code is None:
        raise DataError(f"{LOCK}: git knows no version before this one; name one to compare with")
    return other_code, ", which differs in code only"
