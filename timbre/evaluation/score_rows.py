"""reports/scores.csv as its readers want it: a row per sample, of this version of the table or an older one."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from timbre.evaluation.measures import MEASURES


@dataclass(frozen=True)
class ScoreRow:
    sample: str
    condition: str
    prompt: str
    seed: int
    wer: float
    errors: int  # wrong words
    words: int  # of the prompt
    text: str
    heard: str
    similarity: float | None  # this and what follows: None or empty where an older table has no such column
    flags: dict[str, bool]  # of the measures that can name something wrong with a sample
    diff: str  # text and heard, word by word, in wdiff's notation
    seconds: float | None = None  # of sound


def read(content: bytes) -> list[ScoreRow]:
    """ValueError, KeyError or TypeError where it is another table."""
    return [_row(row) for row in cells(content)]


def cells(content: bytes) -> list[dict[str, str]]:
    """Each row by its columns, all text, as the table has them."""
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def _row(row: dict[str, str]) -> ScoreRow:
    similarity = row.get("similarity")
    return ScoreRow(
        sample=row["sample"],
        condition=row["condition"],
        prompt=row["prompt"],
        seed=int(row["seed"]),
        wer=float(row["wer"]),
        errors=int(row["errors"]),
        words=int(row["words"]),
        text=row["text"],
        heard=row["heard"],
        similarity=float(similarity) if similarity else None,
        flags={m.name: row[m.name] == "True" for m in MEASURES if m.complaint and row.get(m.name)},
        seconds=float(row["seconds"]) if row.get("seconds") else None,
        diff=row.get("diff") or "",
    )
