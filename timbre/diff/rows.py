"""Transcripts as they are: a diff must show also the files that `segment` would refuse.

What cannot be read as a line is told with its number (a conflict marker, a missing tab) and the others are compared.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

FOLDER = "data/transcripts"
CONFLICT = re.compile(r"(<<<<<<<|\|\|\|\|\|\|\||>>>>>>>)( |$)|=======$")


@dataclass(frozen=True)
class Row:
    """One line of data/transcripts/<recording>.tsv."""

    number: int  # of the line in its file, from 1
    start: float  # seconds
    end: float
    speaker: str
    flag: str
    text: str

    @property
    def seconds(self) -> float:
        return self.end - self.start

    @property
    def dropped(self) -> bool:
        return self.flag == "drop"


@dataclass(frozen=True)
class Problem:
    """A place that somebody must mend before the pipeline runs."""

    path: str
    line: int  # 0 where it is the whole file
    what: str


@dataclass(frozen=True)
class Rows:
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]


def parse(content: bytes, path: str) -> Rows:
    rows: list[Row] = []
    problems: list[Problem] = []
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if not line.strip() or line.startswith(("#", "start\t")):
            continue
        fields = line.split("\t")
        try:
            start, end, speaker, flag, words = fields
            if not math.isfinite(float(start) + float(end)):
                raise ValueError
            rows.append(Row(number, float(start), float(end), speaker, flag, words))
        except ValueError:
            marker = "a git conflict marker; keep one of the two versions and remove the markers"
            problems.append(Problem(path, number, marker if CONFLICT.match(line) else "not a line of a transcript"))
    return Rows(tuple(rows), tuple(problems))


def conflicts(content: bytes | None, path: str, remedy: str) -> list[Problem]:
    """The first conflict marker of any other text file."""
    for number, line in enumerate((content or b"").decode(errors="replace").splitlines(), 1):
        if CONFLICT.match(line):
            return [Problem(path, number, f"a git conflict marker; {remedy}")]
    return []
