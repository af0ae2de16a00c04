"""What a report is made of before it gets a format's marks: headings, paragraphs, lists, tables, and pieces of text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Style = Literal["plain", "code", "old", "new", "strong", "link", "sound"]


@dataclass(frozen=True)
class TextSpan:
    text: str
    style: Style = "plain"
    href: str = ""  # of a link; of a sound, its address or itself


Inline = tuple[TextSpan, ...]


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


@dataclass(frozen=True)
class Folded:
    """Shown where somebody opens it; a terminal shows it at once."""

    title: str
    blocks: tuple[Paragraph | Items | Table, ...]


Block = Paragraph | Items | Table | Folded


@dataclass(frozen=True)
class Section:
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    verdict: str
    about: Inline  # which versions, and where more of them is
    sections: tuple[Section, ...]
    alarming: bool = False  # something is to be mended before a merge
