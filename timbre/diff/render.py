"""A Report in a format: Markdown for GitHub, HTML for a browser, plain text for a terminal; and JSON for programs.

Whatever people wrote (words, ids, titles) shows as text in each: no mark-up, no mention that rings somebody, no
control character, and right-to-left words turn nothing around but themselves.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from timbre.diff import html
from timbre.diff.document import Document
from timbre.diff.markdown import markdown
from timbre.diff.report import Report
from timbre.diff.sections import build
from timbre.diff.sections.page import Page
from timbre.diff.terminal import terminal
from timbre.diff.verdict import said

FORMATS = ("terminal", "markdown", "html", "json")
COMMENT = 65_536  # characters that GitHub takes in a comment
ROOM = 60_000  # of them that we use: a workflow adds its own lines
SHORTER = (400, 200, 100, 50, 25, 12, 6, 3)  # lengths of lists to try until it fits


def render(page: Page, form: str, colour: bool = False, whole: bool = False) -> str:
    """The report in one of FORMATS; `whole` leaves nothing out, however long it gets. Only a page holds sounds."""
    if form == "json":
        return json.dumps(_plain(page.report), indent=1) + "\n"  # ASCII, so that nothing in it can act on a terminal
    writers: dict[str, Callable[[Document], str]] = {
        "markdown": markdown,
        "html": html.page,
        "terminal": partial(terminal, colour=colour),
    }
    write = writers[form]
    if whole:
        return write(build(replace(page, most=None, embeds=form == "html")))
    text = ""
    for most in SHORTER:
        text = write(build(replace(page, most=most)))
        if len(text) <= ROOM:
            break
    return text


def _plain(report: Report) -> dict[str, Any]:
    values = asdict(report)
    for row in (row for change in values["clips"] for row in (*change["old"], *change["new"])):
        del row["speaker"], row["spans"]  # where a clip comes from is told by `timbre trace`
    for row in values["rejected"]:
        del row["clip"]
    for line, change in zip(values["words"], report.words, strict=True):
        line["kinds"] = change.kinds
        line["pieces"] = [[piece.old, piece.new] for piece in change.pieces]
    first = {"verdict": said(report), "failures": report.failures, "old": report.old, "new": report.new}
    return first | values
