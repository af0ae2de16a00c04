"""A Document as plain text, with colours where a terminal takes them."""

from __future__ import annotations

from collections.abc import Iterator

from timbre.core.safe_text import apart, visible
from timbre.diff.document import Block, Document, Folded, Inline, Items, Paragraph, Table, TextSpan
from timbre.report.columns import columns

COLOURS = {"old": "31;9", "new": "32;1", "strong": "1", "code": "36", "link": "36"}
WIDEST = 40  # characters of a column; a longer cell moves the rest of its line


def terminal(document: Document, colour: bool = False) -> str:
    lines = [_paint(TextSpan(document.verdict, "strong"), colour), _line(document.about, colour), ""]
    for section in document.sections:
        lines.append(_paint(TextSpan(section.title.upper(), "strong"), colour))
        for block in section.blocks:
            lines += _block(block, colour)
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _block(block: Block, colour: bool) -> Iterator[str]:
    if isinstance(block, Paragraph):
        yield _line(block.spans, colour)
    elif isinstance(block, Items):
        yield from (f"  {_line(item, colour)}" for item in block.items)
    elif isinstance(block, Folded):
        yield f"{visible(block.title)}:"
        for inner in block.blocks:
            yield from _block(inner, colour)
    else:
        yield from _columns(block)


def _line(spans: Inline, colour: bool) -> str:
    return "".join(_paint(span, colour) for span in spans)


def _paint(span: TextSpan, colour: bool) -> str:
    text = apart(visible(span.text))
    if colour and span.style in COLOURS:
        return f"\x1b[{COLOURS[span.style]}m{text}\x1b[0m"
    return {"old": f"[-{text}-]", "new": f"{{+{text}+}}"}.get(span.style, text)


def _columns(table: Table) -> Iterator[str]:
    rows = [table.head, *([_line(cell, False) for cell in row] for row in table.rows)]
    yield from (f"  {line}" for line in columns(rows, widest=WIDEST))
