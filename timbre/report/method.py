"""How each measure was computed, as the report's last section tells it; measures that share a paragraph in one."""

from __future__ import annotations

from dataclasses import dataclass

from timbre.evaluation.measures import MEASURES


@dataclass(frozen=True)
class Explained:
    name: str  # of the measure, which links lead to
    titles: str
    sentences: str
    formula: str
    code: str
    files: str


def explained() -> list[Explained]:
    """In the order of the table."""
    paragraphs = []
    for first in (m for m in MEASURES if m.explained and not m.under):
        together = [first, *(m for m in MEASURES if m.under == first.name)]
        titles = ", ".join(m.title for m in together)
        sentences = " ".join(m.explained for m in together)
        paragraphs.append(Explained(first.name, titles.capitalize(), sentences, first.formula, first.code, first.files))
    return paragraphs
