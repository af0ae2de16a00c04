"""A Document as GitHub's Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from timbre.core.safe_text import escaped, turns
from timbre.diff.document import Block, Document, Folded, Inline, Items, Paragraph, Table, TextSpan

MARKER = "<!-- timbre diff -->"  # by which a workflow finds its comment again


def markdown(document: Document) -> str:
    sign = "🔴" if document.alarming else "🟢"
    lines = [MARKER, f"{sign} **{escaped(document.verdict)}**", "", _marked(document.about), ""]
    for section in document.sections:
        lines += [f"### {section.title}", ""]
        for block in section.blocks:
            lines += _block(block)
    return "\n".join(lines).rstrip() + "\n"


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Paragraph):
        yield _marked(block.spans)
    elif isinstance(block, Items):
        yield from (f"- {_marked(item)}" for item in block.items)
    elif isinstance(block, Folded):
        yield from (f"<details><summary>{escaped(block.title)}</summary>", "")
        for inner in block.blocks:
            yield from _block(inner)
        yield "</details>"
    else:
        yield from _table(block)
    yield ""


def _table(block: Table) -> Iterator[str]:
    yield from (_row(map(escaped, block.head)), _row("---" for _ in block.head))
    yield from (_row(map(_marked, row)) for row in block.rows)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _marked(spans: Inline) -> str:
    return "".join(map(_mark, spans))


def _mark(span: TextSpan) -> str:
    text = escaped(span.text)
    if span.style == "link" and span.href.startswith(("https://", "http://")):
        return f"[{text}]({_address(span.href)})"
    if span.style in ("plain", "link", "sound"):
        return text
    if span.style == "code":
        return f"<code>{text}</code>"
    tag, sign = {"old": ("del", "~~"), "new": ("strong", "**"), "strong": ("strong", "**")}[span.style]
    # beside punctuation and spaces GitHub may take the signs for text; the tags it always takes for marks
    plain = span.text[:1].isalnum() and span.text[-1:].isalnum() and not turns(span.text)
    return f"{sign}{text}{sign}" if plain else f"<{tag}>{text}</{tag}>"


def _address(href: str) -> str:
    return re.sub(r"[\s()<>\"\\|]", lambda match: f"%{ord(match[0]):02X}", href)
