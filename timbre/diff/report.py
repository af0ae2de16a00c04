"""What a comparison found, as plain records: the one thing that every format shows.

A value with `old` and `new` is the older version's and the newer one's; None is a version that has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from timbre.diff.clips import ClipChange, Leak
from timbre.diff.lines import LineChange
from timbre.diff.lock import Stale
from timbre.diff.rows import Problem


@dataclass(frozen=True)
class Total:
    name: str
    old: float
    new: float
    unit: str = ""


@dataclass(frozen=True)
class Transcribed:
    """A transcript that only one of the two versions has."""

    recording: str
    path: str
    kind: str  # added or removed
    lines: int
    seconds: float


@dataclass(frozen=True)
class Replacement:
    old: str
    new: str
    times: int


@dataclass(frozen=True)
class Source:
    """An entry of data/sources.yaml that changed: key → old and new value, None where it had none."""

    id: str
    kind: str  # added, removed or changed
    values: dict[str, tuple[str | None, str | None]]


@dataclass(frozen=True)
class Param:
    key: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Rate:
    """An error rate of one condition, over all prompts; lower is better."""

    condition: str
    name: str  # wer or cer
    old: float | None
    new: float | None
    margin: float | None = None  # ± of the change: what chance between the sentences does, 95 times of 100


@dataclass(frozen=True)
class Prompt:
    """A sample whose word error rate changed."""

    condition: str
    prompt: str
    seed: str
    text: str
    old: float
    new: float
    heard_before: str
    heard_now: str


@dataclass(frozen=True)
class Report:
    old: str  # names of the versions
    new: str
    problems: list[Problem]
    totals: list[Total]
    transcripts: list[Transcribed]
    words: list[LineChange]
    replacements: list[Replacement]
    odd: dict[str, str]  # path:line → why a changed line is likely wrong
    clips: list[ClipChange]
    leaks: list[Leak] | None  # None where the tables could not be reached
    left_out: dict[str, tuple[int, int]]
    sources: list[Source]
    params: list[Param]
    rates: list[Rate]
    prompts: list[Prompt]
    stale: list[Stale]
    unreachable: list[str]

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs; what is wrong with both is told all the same."""
        found = (self.transcripts, self.words, self.clips, self.left_out, self.sources, self.params, self.rates)
        return not (any(found) or self.prompts)

    @property
    def failures(self) -> list[str]:
        """What `--check` fails on."""
        found = [f"{p.path}:{p.line}: {p.what}" if p.line else f"{p.path}: {p.what}" for p in self.problems]
        if behind := [stage.stage for stage in self.stale if stage.reasons]:
            found.append(f"dvc.lock is behind the files: `dvc repro` would run {', '.join(behind)}")
        if self.leaks:
            found.append(f"{len(self.leaks)} text(s) are in training and in evaluation")
        return found
