"""Clips and what was left out: the tables of `chunk` and `dataset`, read by the keys that are needed and no others.

So an older version's tables can be read too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

TABLE = "data/chunks/clips.jsonl"
PARTS = {"training": "data/dataset/train.jsonl", "evaluation": "data/dataset/eval.jsonl"}
REJECTED = "data/dataset/rejected.jsonl"
LEFT_OUT = "left out"


@dataclass(frozen=True)
class ClipRow:
    id: str
    recording: str
    start: float  # seconds in the recording
    end: float
    seconds: float
    text: str
    part: str  # training, evaluation or left out
    speaker: str = ""  # empty in an older table
    spans: tuple[tuple[float, float], ...] = ()  # seconds in the recording; of the table of `chunk`


@dataclass(frozen=True)
class RejectedRow:
    """A line or clip that was left out, or that was kept with a warning."""

    recording: str
    start: float
    end: float
    text: str
    reason: str
    warning: bool = False  # the clip is used all the same
    clip: str | None = None  # id; None of a line that came into no clip, and in an older table

    @property
    def kind(self) -> str:
        """The reason up to its colon."""
        return self.reason.partition(":")[0] + " (a warning)" * self.warning


def parse(table: bytes, parts: Mapping[str, bytes]) -> list[ClipRow]:
    """`parts` is the content of the dataset's tables, by the names of PARTS."""
    part_of = {row["id"]: part for part, content in parts.items() for row in json_rows(content)}
    return [clip_row(row, part_of.get(row["id"], LEFT_OUT)) for row in json_rows(table)]


def clip_row(row: dict[str, Any], part: str) -> ClipRow:
    """Of the table of clips, or of one of the dataset's."""
    return ClipRow(
        id=str(row["id"]),
        recording=str(row["recording"]),
        start=float(row["start"]),
        end=float(row["end"]),
        seconds=float(row["seconds"]),
        text=str(row["text"]),
        part=part,
        speaker=str(row.get("speaker") or row.get("source") or ""),
        spans=tuple((float(start), float(end)) for start, end in row.get("spans", ())),
    )


def rejected(content: bytes) -> list[RejectedRow]:
    return [
        RejectedRow(
            str(row["recording"]),
            float(row["start"]),
            float(row["end"]),
            str(row["text"]),
            str(row["reason"]),
            row.get("kind") == "warning",  # an older version's rows have no kind
            row.get("clip"),
        )
        for row in json_rows(content)
    ]


def json_rows(content: bytes) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in content.split(b"\n") if line.strip())
