"""A Document as a page that opens offline: its style and its sounds are within it."""

from __future__ import annotations

import html
from functools import lru_cache
from importlib import resources

from timbre.core.safe_text import turns, visible
from timbre.diff.document import Block, Document, Folded, Inline, Items, Paragraph, Table, TextSpan


def page(made: Document) -> str:
    state = "alarming" if made.alarming else "calm"
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>timbre diff</title><style>{style()}</style>\n"
        f'<header class="{state}"><p>{_tagged(made.about)}</p>\n<h1>{_lines(made.verdict)}</h1></header>\n'
        + "".join(_section(section.title, section.blocks) for section in made.sections)
        + "</html>\n"
    )


def part(made: Document) -> str:
    """For a section of another page, which has a heading of its own and knows how tables look."""
    said = f"<p>{_tagged(made.about)}</p>\n<p><strong>{_text(made.verdict)}</strong></p>\n"
    return said + "".join(_section(section.title, section.blocks, "h3") for section in made.sections)


def _lines(verdict: str) -> str:
    """What changed, what it did, what is in the way: a line each."""
    return "<br>".join(map(_text, verdict.split("; ")))


@lru_cache(maxsize=1)
def style() -> str:
    return resources.files("timbre.diff").joinpath("diff.css").read_text(encoding="utf-8")


def _section(title: str, blocks: tuple[Block, ...], heading: str = "h2") -> str:
    return f"<section><{heading}>{_text(title)}</{heading}>\n" + "".join(map(_block, blocks)) + "</section>\n"


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        return f"<p>{_tagged(block.spans)}</p>\n"
    if isinstance(block, Items):
        return "<ul>\n" + "".join(f"<li>{_tagged(item)}</li>\n" for item in block.items) + "</ul>\n"
    if isinstance(block, Folded):
        inner = "".join(map(_block, block.blocks))
        return f"<details><summary>{_text(block.title)}</summary>\n{inner}</details>\n"
    return _table(block)


def _table(block: Table) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in block.head)
    rows = ("".join(f"<td>{_tagged(cell)}</td>" for cell in row) for row in block.rows)
    body = "".join(f"<tr>{row}</tr>\n" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>\n{body}</table></div>\n'


def _text(text: str) -> str:
    return html.escape(visible(text))


def _tagged(spans: Inline) -> str:
    return "".join(map(_tag, spans))


def _tag(span: TextSpan) -> str:
    text = f"<bdi>{_text(span.text)}</bdi>" if turns(span.text) else _text(span.text)
    href = html.escape(span.href)
    if span.style == "sound":
        return f'<audio controls preload="none" aria-label="{_text(span.text)}" src="{href}"></audio>'
    if span.style == "link" and span.href.startswith(("https://", "http://")):
        return f'<a href="{href}">{text}</a>'
    tag = {"old": "del", "new": "ins", "strong": "strong", "code": "code"}.get(span.style, "")
    return f"<{tag}>{text}</{tag}>" if tag else text
