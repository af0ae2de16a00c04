"""Transcripts as they are: a diff must also show the files that `segment` would refuse.

A row is read as project/transcripts reads it, but one that is wrong does not spoil the file: it becomes a Problem with
its line number (a conflict marker, a missing tab), and the other rows are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from timbre.project import transcripts
from timbre.project.transcripts import CONFLICT

FOLDER = "data/transcripts"


@dataclass(frozen=True)
class TranscriptRow:
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
    rows: tuple[TranscriptRow, ...]
    problems: tuple[Problem, ...]


@lru_cache(maxsize=1024)  # a history reads the same transcripts in each of its versions
def parse(content: bytes, path: str) -> Rows:
    """Of a conflict's two sides the first counts as what the file says, so that the rest can be compared."""
    rows: list[TranscriptRow] = []
    problems: list[Problem] = []
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    conflicts = _conflicts(lines)
    inside = {number for conflict in conflicts for number in conflict.others}
    problems += [Problem(path, conflict.first, conflict.told()) for conflict in conflicts]
    for number, line in enumerate(lines, 1):
        if number in inside or not line.strip() or line.startswith(("#", "start\t")):
            continue
        row, problem = transcripts.read_row(line)
        if row:
            rows.append(TranscriptRow(number, row.start, row.end, row.speaker, row.flag, row.text))
        else:
            problems.append(Problem(path, number, transcripts.MARKER if CONFLICT.match(line) else problem))
    return Rows(tuple(rows), tuple(sorted(problems, key=lambda problem: problem.line)))


@dataclass(frozen=True)
class Conflict:
    """What git leaves where two people changed the same lines."""

    first: int  # line of `<<<<<<<`
    last: int  # line of `>>>>>>>`
    names: tuple[str, str]  # of the two sides
    texts: tuple[str, str]  # what each says
    others: frozenset[int]  # lines that are not our side's

    def told(self) -> str:
        sides = zip(self.names, self.texts, strict=True)
        versions = " and ".join(f"{name} says “{text}”" if text else f"{name} has no such line" for name, text in sides)
        return f"a git conflict, to line {self.last}: {versions}; keep one and remove the markers"


def _conflicts(lines: list[str]) -> list[Conflict]:
    """Those that are whole; other markers stay lines that nobody can read."""
    conflicts: list[Conflict] = []
    first, middle, base = 0, 0, 0
    for number, line in enumerate(lines, 1):
        if line.startswith("<<<<<<< "):
            first, middle, base = number, 0, 0
        elif first and line.startswith("||||||| "):
            base = number
        elif first and line == "=======":
            middle = number
        elif first and middle and line.startswith(">>>>>>> "):
            ours, theirs = lines[first : (base or middle) - 1], lines[middle : number - 1]
            names = (lines[first - 1][8:].strip() or "ours", line[8:].strip() or "theirs")
            others = frozenset({first, *range(base or middle, number + 1)})
            conflicts.append(Conflict(first, number, names, (_said(ours), _said(theirs)), others))
            first = 0
    return conflicts


def _said(lines: list[str]) -> str:
    return " / ".join(line.rpartition("\t")[2] for line in lines if line.strip())


def conflicts(content: bytes | None, path: str, remedy: str) -> list[Problem]:
    """The first conflict marker of any other text file."""
    for number, line in enumerate((content or b"").decode(errors="replace").splitlines(), 1):
        if CONFLICT.match(line):
            return [Problem(path, number, f"a git conflict marker; {remedy}")]
    return []
