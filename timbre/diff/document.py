"""What a report is made of before it gets a format's marks: headings, paragraphs, lists, tables, and pieces of text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Style = Literal["plain", "code", "old", "new", "strong", "link"]


@dataclass(frozen=True)
class Span:
    text: str
    style: Style = "plain"
    href: str = ""


Inline = tuple[Span, ...]


@dataclass(frozen=True)
class Paragraph:
    spans: Inline


@dataclass(frozen=True)
class Items:
    items: tuple[Inline, ...]


@dataclass(frozen=True)
class Table:
    head: tuple[str, ...]
    rows: tuple[tuple[Inline, ...], ...]


Block = Paragraph | Items | Table


@dataclass(frozen=True)
class Section:
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    verdict: str
    sections: tuple[Section, ...]
