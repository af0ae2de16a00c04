"""Labelled text as a tree of rows for the terminal, broken where it ends."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from timbre.core.safe_text import visible


@dataclass
class Node:
    label: str
    text: str
    below: list[Node] = field(default_factory=list)


class TreeRow(NamedTuple):
    first: str  # what stands before the text in its first line …
    other: str  # … and in those below
    text: str

    def broken(self, width: int | None) -> list[str]:
        text = visible(self.text)
        room = max(40, width - len(self.first)) if width else len(text) + 1
        pieces = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
        return [f"{self.other if number else self.first}{piece}".rstrip() for number, piece in enumerate(pieces)]


def rows(nodes: Sequence[Node], indent: str = "") -> Iterator[TreeRow]:
    width = max((len(node.label) for node in nodes), default=0)
    for node in nodes:
        last = node is nodes[-1]
        below = indent + ("   " if last else "│  ")
        first = f"{indent}{'└─' if last else '├─'} {visible(node.label):{width}}  "
        yield TreeRow(first, below + ("│" if node.below else " ").ljust(width + 2), node.text)
        yield from rows(node.below, below)
