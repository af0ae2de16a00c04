"""What a comparison found, as plain records: the one thing that every format shows.

A value with `old` and `new` is the older version's and the newer one's; None is a version that has none.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from timbre.diff.clips import Leak
from timbre.diff.material import DataChanges
from timbre.diff.regression import RegressionCheck, failure
from timbre.tracking.run import TrackedRun
from timbre.versions.clip_rows import RejectedRow
from timbre.versions.dvc_lock import Stale
from timbre.versions.lenient_rows import Problem, TranscriptRow


@dataclass(frozen=True)
class Replacement:
    old: str
    new: str
    times: int


@dataclass(frozen=True)
class Rate:
    """What was measured of one condition, over all prompts."""

    condition: str
    name: str  # of the measure: wer, similarity, …
    old: float | None
    new: float | None
    margin: float | None = None  # ± of the change: what chance between the sentences does, 95 times of 100
    old_range: tuple[float, float] | None = None  # 95 % interval of the value itself
    new_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class GateChange:
    name: str
    asks: str  # in words
    old: bool | None  # whether it passed
    new: bool | None
    value: float | None = None  # of the newer one
    limit: float | None = None


@dataclass(frozen=True)
class PromptChange:
    """A sample that is understood better or worse, or sounds more or less like the speaker."""

    sample: str
    condition: str
    prompt: str
    seed: str
    text: str
    old: float  # word error rate
    new: float
    heard_before: str
    heard_now: str
    similarity: tuple[float, float] | None = None
    text_before: str = ""  # what the older version was to say; nothing where it is the same


@dataclass(frozen=True)
class Doubt:
    """A line whose words or times are likely wrong."""

    recording: str
    path: str
    row: TranscriptRow
    why: tuple[str, ...]


@dataclass(frozen=True)
class Shared:
    """What of the newer version's outputs the default remote lacks."""

    remote: str  # its name; empty where there is none, or where it was not asked
    lacks: list[str]  # paths
    refused: str = ""  # why it could not be asked


@dataclass(frozen=True)
class Report(DataChanges):
    old: str  # names of the versions
    new: str
    problems: list[Problem]
    replacements: list[Replacement]
    doubts: list[Doubt]
    outliers: dict[str, str]  # id of a changed clip → why it is unlike the others
    leaks: list[Leak] | None  # None where the tables could not be reached
    left_out: dict[str, tuple[int, int]]
    rejected: list[RejectedRow]  # that were not before
    rates: list[Rate]
    gates: list[GateChange]
    prompts: list[PromptChange]
    stale: list[Stale]
    shared: Shared
    unreachable: list[str]
    seconds: dict[str, float] = field(default_factory=dict)  # stage → what its last run here took
    runs: tuple[TrackedRun | None, TrackedRun | None] = (None, None)
    heard: list[str] = field(default_factory=list)  # what people prefer, in sentences
    regression: list[RegressionCheck] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs; what is wrong with both is told all the same."""
        changes = (self.transcripts, self.words, self.clips, self.left_out, self.sources, self.params, self.rates)
        return not (
            any(changes)
            or self.prompts
            or self.people
            or self.heard
            or any(gate.old != gate.new for gate in self.gates)
        )

    @property
    def failed(self) -> list[GateChange]:
        return [gate for gate in self.gates if gate.new is False]

    @property
    def failures(self) -> list[str]:
        """What `--check` fails on."""
        reasons = [f"{p.path}:{p.line}: {p.what}" if p.line else f"{p.path}: {p.what}" for p in self.problems]
        if behind := [stage.stage for stage in self.stale if stage.reasons]:
            reasons.append(f"dvc.lock is behind the files: `dvc repro` would run {', '.join(behind)}")
        if self.leaks:
            reasons.append(f"{len(self.leaks)} text(s) are in training and in evaluation")
        reasons += [f"gate `{gate.name}` failed: {said_of(gate)}" for gate in self.failed]
        reasons += [failure(check) for check in self.regression if check.outcome == "harm"]
        return reasons


def said_of(gate: GateChange) -> str:
    """What it asks, and what it found."""
    numbers = (("measured", gate.value), ("limit", gate.limit))
    about = [f"{name} {value:.4g}" for name, value in numbers if value is not None]
    return f"{gate.asks} ({', '.join(about)})" if about else gate.asks
