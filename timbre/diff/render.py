"""A Document with the marks of a format: Markdown for GitHub, HTML for a browser, plain text for a terminal; and JSON.

Whatever people wrote (words, ids, titles) shows as text in each: no mark-up, no mention that rings somebody, no
control character, and right-to-left words turn nothing around but themselves.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

from timbre.diff.document import Document, Inline, Items, Paragraph, Span, Table
from timbre.diff.report import Report
from timbre.diff.sections import build
from timbre.diff.verdict import said
from timbre.marks import apart, escaped, turns, visible

FORMATS = ("terminal", "markdown", "html", "json")
COMMENT = 65_536  # characters that GitHub takes in a comment
ROOM = 60_000  # of them that we use: a workflow adds its own lines
SHORTER = (400, 200, 100, 50, 25, 12, 6, 3)  # lengths of lists to try until it fits
MARKER = "<!-- timbre diff -->"  # by which a workflow finds its comment again
_COLOURS = {"old": "31;9", "new": "32;1", "strong": "1", "code": "36", "link": "36", "plain": ""}
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d1d1f}"
    "h1{font-size:1.4rem}h2{font-size:1.15rem}"
    "table{border-collapse:collapse;margin:.5rem 0}td,th{border-bottom:1px solid #d8d8dc;padding:.25rem .6rem;"
    "text-align:left;vertical-align:top}del{background:#fbe3e4;color:#8a1c24}ins{background:#dcf3e2;color:#14532d;"
    "text-decoration:none;font-weight:600}code{font-size:.9em}li{overflow-wrap:anywhere}"
    "@media(prefers-color-scheme:dark){body{background:#16161a;color:#e8e8ea}td,th{border-color:#3a3a40}"
    "del{background:#4a1d21;color:#ffb4b9}ins{background:#12391f;color:#a6e9bb}a{color:#8ab4ff}}"
)


def render(report: Report, form: str, link: str = "", colour: bool = False, whole: bool = False) -> str:
    """The report in one of FORMATS; `whole` leaves nothing out, however long it gets."""
    if form == "json":
        return json.dumps(_plain(report), indent=1) + "\n"  # ASCII, so that nothing in it can act on a terminal
    writers: dict[str, Callable[[Document], str]] = {
        "markdown": markdown,
        "html": page,
        "terminal": partial(terminal, colour=colour),
    }
    write = writers[form]
    if whole:
        return write(build(report, None, link))
    text = ""
    for most in SHORTER:
        text = write(build(report, most, link))
        if len(text) <= ROOM:
            break
    return text


def _plain(report: Report) -> dict[str, Any]:
    values = asdict(report)
    for line, change in zip(values["words"], report.words, strict=True):
        line["kinds"] = change.kinds
        line["pieces"] = [[piece.old, piece.new] for piece in change.pieces]
    return {"verdict": said(report), "failures": report.failures} | values


def markdown(made: Document) -> str:
    lines = [MARKER, f"**{escaped(made.verdict)}**", ""]
    for section in made.sections:
        lines += [f"### {section.title}", ""]
        for block in section.blocks:
            if isinstance(block, Paragraph):
                lines += [_marked(block.spans), ""]
            elif isinstance(block, Items):
                lines += [*(f"- {_marked(item)}" for item in block.items), ""]
            else:
                lines += [_row(escaped(cell) for cell in block.head), _row("---" for _ in block.head)]
                lines += [*(_row(map(_marked, row)) for row in block.rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def _row(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


def _marked(spans: Inline) -> str:
    return "".join(map(_mark, spans))


def _mark(span: Span) -> str:
    text = escaped(span.text)
    if span.style == "plain":
        return text
    if span.style == "link":
        return f"[{text}]({_address(span.href)})"
    if span.style == "code":
        return f"<code>{text}</code>"
    tag, sign = {"old": ("del", "~~"), "new": ("strong", "**"), "strong": ("strong", "**")}[span.style]
    # beside punctuation and spaces GitHub may take the signs for text; the tags it always takes for marks
    plain = span.text[:1].isalnum() and span.text[-1:].isalnum() and not turns(span.text)
    return f"{sign}{text}{sign}" if plain else f"<{tag}>{text}</{tag}>"


def _address(href: str) -> str:
    return re.sub(r"[\s()<>\"\\|]", lambda match: f"%{ord(match[0]):02X}", href)


def page(made: Document) -> str:
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>timbre diff</title><style>{_STYLE}</style>\n<h1>{_html(made.verdict)}</h1>\n"
        + "".join(_html_section(section.title, section.blocks) for section in made.sections)
        + "</html>\n"
    )


def _html_section(title: str, blocks: Any) -> str:
    return f"<section><h2>{_html(title)}</h2>\n" + "".join(map(_html_block, blocks)) + "</section>\n"


def _html_block(block: Paragraph | Items | Table) -> str:
    if isinstance(block, Paragraph):
        return f"<p>{_tagged(block.spans)}</p>\n"
    if isinstance(block, Items):
        return "<ul>\n" + "".join(f"<li>{_tagged(item)}</li>\n" for item in block.items) + "</ul>\n"
    head = "".join(f"<th>{_html(cell)}</th>" for cell in block.head)
    rows = ("".join(f"<td>{_tagged(cell)}</td>" for cell in row) for row in block.rows)
    return f"<table><tr>{head}</tr>\n" + "".join(f"<tr>{row}</tr>\n" for row in rows) + "</table>\n"


def _html(text: str) -> str:
    return html.escape(visible(text))


def _tagged(spans: Inline) -> str:
    return "".join(map(_tag, spans))


def _tag(span: Span) -> str:
    text = f"<bdi>{_html(span.text)}</bdi>" if turns(span.text) else _html(span.text)
    if span.style == "link":
        return f'<a href="{html.escape(span.href)}">{text}</a>'
    tag = {"old": "del", "new": "ins", "strong": "strong", "code": "code", "plain": ""}[span.style]
    return f"<{tag}>{text}</{tag}>" if tag else text


def terminal(made: Document, colour: bool = False) -> str:
    lines = [_paint(Span(made.verdict, "strong"), colour), ""]
    for section in made.sections:
        lines.append(_paint(Span(section.title.upper(), "strong"), colour))
        for block in section.blocks:
            if isinstance(block, Paragraph):
                lines.append("".join(_paint(span, colour) for span in block.spans))
            elif isinstance(block, Items):
                lines += ["  " + "".join(_paint(span, colour) for span in item) for item in block.items]
            else:
                lines += _columns(block)
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _paint(span: Span, colour: bool) -> str:
    text = apart(visible(span.text))
    if colour and _COLOURS[span.style]:
        return f"\x1b[{_COLOURS[span.style]}m{text}\x1b[0m"
    return {"old": f"[-{text}-]", "new": f"{{+{text}+}}"}.get(span.style, text)


def _columns(table: Table) -> Iterator[str]:
    rows = [list(table.head), *([_paint_row(cell) for cell in row] for row in table.rows)]
    widths = [min(max(len(row[column]) for row in rows), 40) for column in range(len(table.head))]
    for row in rows:
        yield ("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()


def _paint_row(cell: Inline) -> str:
    return "".join(_paint(span, colour=False) for span in cell)
