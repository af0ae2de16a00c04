"""Every measure of a voice and every gate, defined once; and reports/metrics.json, typed, which holds their values.

MEASURES says of each measure its name, unit and direction, how the samples' rows come to one number, and the sentence
that explains it. Scores, report, diff, MLflow and the documentation iterate over the table. So a new measure is a
column of `Score` (scores.py), which stages/evaluate.py fills, a row of MEASURES and a field of `Metric`, and no more.

`evaluate` writes the file, `read` gives it back. Files of before (rates per condition alone) read as well: what they
lack is None, or an empty dict. A key that this version does not know is left out.

    evidence = read(Path("reports/metrics.json"))
    evidence.conditions["tuned"].wer, evidence.differences["tuned-base"].wer_high, evidence.failed
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from timbre.core.content import write_atomic
from timbre.core.errors import DataError

CONDITIONS = ("base", "base_clone", "tuned", "tuned_clone")
# Which conditions are compared, the first minus the second; each is told as `first-second`.
COMPARISONS = (
    ("tuned_clone", "base"),
    ("tuned_clone", "base_clone"),
    ("tuned", "base"),
    ("tuned_clone", "tuned"),
    ("base_clone", "base"),
)
DIGITS = 4  # of a number in the file
Unit = Literal["share", "cosine", "times", "count", "seconds"]


class MetricRow(Protocol):
    """A sample's measurements, by the names of their columns: see scores.Score."""

    def __getattribute__(self, name: str, /) -> Any: ...


@dataclass(frozen=True)
class Sum:
    column: str

    def of(self, rows: Sequence[MetricRow]) -> float:
        total: float = sum(getattr(row, self.column) for row in rows)
        return round(total, 2)  # hundredths of a second; counts are whole

    @property
    def formula(self) -> str:
        return f"Σ {self.column}"


@dataclass(frozen=True)
class Count:
    def of(self, rows: Sequence[MetricRow]) -> float:
        return len(rows)

    @property
    def formula(self) -> str:
        return "number of samples"


@dataclass(frozen=True)
class Ratio:
    """One column's sum over another's: a sentence of one word weighs one word. Rounded as the rows are."""

    column: str
    over: str

    def part(self, row: MetricRow) -> tuple[float, float] | None:
        return getattr(row, self.column), getattr(row, self.over)

    def of(self, rows: Sequence[MetricRow]) -> float | None:
        rate = _quotient(map(self.part, rows))
        return None if rate is None else round(rate, DIGITS)

    @property
    def formula(self) -> str:
        return f"Σ {self.column} / Σ {self.over}"


@dataclass(frozen=True)
class Mean:
    """Of the samples that have the column, each weighing as much as another column says, or the same."""

    column: str
    weight: str = ""

    def part(self, row: MetricRow) -> tuple[float, float] | None:
        """None where the sample has no value."""
        value, weight = getattr(row, self.column), getattr(row, self.weight) if self.weight else 1
        return None if value is None else (value * weight, weight)

    def of(self, rows: Sequence[MetricRow]) -> float | None:
        return _quotient(map(self.part, rows))

    @property
    def formula(self) -> str:
        return f"Σ {self.column} · {self.weight} / Σ {self.weight}" if self.weight else f"mean of {self.column}"


def _quotient(parts: Iterable[tuple[float, float] | None]) -> float | None:
    known = [part for part in parts if part is not None]
    over = sum(part[1] for part in known)
    return sum(part[0] for part in known) / over if over else None


@dataclass(frozen=True)
class Measure:
    name: str  # in reports/metrics.json, MLflow and `timbre log --json`
    title: str  # above a column
    short: str  # where there is little room, as the field abbreviates it
    unit: Unit
    better: Literal["lower", "higher", "near 1", ""]  # "" where it says how much was measured, not how well
    total: Sum | Count | Ratio | Mean  # how the samples' rows come to one number
    explained: str = ""
    under: str = ""  # measure under which it is explained, where it shares a paragraph
    formula: str = ""  # in words, where that of `total` is not clear by itself
    code: str = ""  # where it is measured
    files: str = ""  # and from what
    digits: int = 0  # after the point, in percent where it is a share
    first: bool = False  # in every table; the others are shown where one looks for them
    compared: bool = False  # with an interval, and as a difference between conditions
    complaint: str = ""  # what is wrong with a sample …
    complains: bool = True  # … whose column has this value

    def interval(self, record: Metric | Difference) -> tuple[float | None, float | None, float | None]:
        """Value, low and high end; None for what was not measured."""
        names = (self.name, f"{self.name}_low", f"{self.name}_high")
        value, low, high = (getattr(record, name, None) for name in names)
        return value, low, high

    def bare(self, value: float) -> str:
        """Without the sign of its unit: an end of an interval beside its value."""
        return self.text(value).strip("%×")

    def text(self, value: float | None) -> str:
        """As a person reads it; a dash where it was not measured."""
        if value is None:
            return "–"
        forms = {
            "share": lambda: f"{100 * value:.{self.digits}f}%",
            "times": lambda: f"×{value:.{self.digits}f}",
            "seconds": lambda: f"{int(value + 0.5) // 60}:{int(value + 0.5) % 60:02d}",
        }
        return forms.get(self.unit, lambda: f"{value:.{self.digits}f}")()


SCORES, HEARD = "timbre/evaluation/scores.py", "timbre/evaluation/word_errors.py"
MEASURES = (
    Measure(
        "wer", "wrong words", "WER", "share", "lower", Ratio("errors", "words"),
        "Whisper writes down each sample without knowing the sentence. Both texts pass its normaliser (case, "
        "punctuation, numbers, contractions); then the fewest words to change are counted. The rate can exceed 100%. "
        "A sample without sound counts as all words missed, and Whisper is not asked.",
        formula="Σ (substituted + left out + added) / Σ words of the sentences", code=f"{HEARD}, {SCORES}",
        files="reports/samples/*.flac, reports/heard/*.json, reports/scores.csv", digits=1, first=True, compared=True,
    ),
    Measure(
        "cer", "wrong characters", "CER", "share", "lower", Ratio("wrong_characters", "characters"),
        "The same with characters in the place of words: a word that is nearly right costs little.",
        formula="Σ wrong characters / Σ characters of the sentences", code=f"{HEARD}, {SCORES}",
        files="reports/heard/*.json", digits=1,
    ),
    Measure(
        "similarity", "likeness", "similarity", "cosine", "higher", Mean("similarity"),
        "A speaker encoder turns a sound into a vector that tells voices apart, whatever they say. A sample’s likeness "
        "is the cosine of its vector to the speaker’s. It is a measure of this encoder’s, not of an ear’s.",
        formula="cos(voice of the sample, mean voice of the held-out clips)",
        code="timbre/evaluation/speaker_encoder.py, timbre/evaluation/likeness.py",
        files="reports/samples/*.flac, data/dataset/eval.jsonl, data/clips, params.yaml: speaker", digits=3, first=True,
        compared=True,
    ),
    Measure(
        "named", "named", "named right", "share", "higher", Mean("named"),
        "The share of samples that are nearer to the speaker than to any other voice that is known here.",
        formula="samples nearest to the speaker / samples",
        code=f"timbre/evaluation/speaker_encoder.py, {SCORES}", files="reports/scores.csv", first=True,
    ),
    Measure(
        "pace", "pace", "pace", "times", "near 1", Mean("pace", "speech"),
        "Pace counts characters per second of speech: ×1.20 is a fifth faster than the speaker.",
        formula="characters / seconds of speech ÷ the speaker’s own", code=f"timbre/audio/delivery.py, {SCORES}",
        files="reports/scores.csv, data/clips", digits=2,
    ),
    Measure(
        "pauses", "pauses", "pauses", "share", "", Mean("pauses", "seconds"),
        "Pauses are the share of the time in which nobody speaks.", under="pace",
    ),
    Measure(
        "ended", "ended", "ended itself", "share", "higher", Mean("ended"),
        "The share of samples that the model ended by itself, before the limit that follows from the sentence’s "
        "length.",
        formula="samples with an end-of-speech frame / samples", code="stages/generate.py",
        files="reports/samples/*.json", first=True, complaint="ran into the limit on its length", complains=False,
    ),
    Measure(
        "silent", "silent", "silent", "count", "lower", Sum("silent"), "Silent are samples without sound.",
        code="timbre/audio/delivery.py, timbre/evaluation/word_errors.py",
        files="reports/scores.csv", complaint="silent",
    ),
    Measure(
        "clipped", "clipped", "clipped", "count", "lower", Sum("clipped"),
        "Clipped ones reach full scale three times in a row, as where a microphone ran out of room.",
        under="silent", complaint="clipped",
    ),
    Measure(
        "repeated", "repeats", "repeated", "count", "lower", Sum("repeated"),
        "In those that repeat themselves, words are heard again that the sentence has once.", under="silent",
        complaint="repeats itself",
    ),
    Measure("errors", "wrong words, counted", "errors", "count", "", Sum("errors")),
    Measure("words", "words", "words", "count", "", Sum("words")),
    Measure("samples", "samples", "samples", "count", "", Count()),
    Measure("seconds", "sound", "seconds", "seconds", "", Sum("seconds")),
)  # fmt: skip
BY_NAME = {measure.name: measure for measure in MEASURES}
COMPARED = tuple(measure for measure in MEASURES if measure.compared)
AMOUNTS = ("errors", "words", "samples", "seconds")  # how much was measured, not how well


@dataclass(frozen=True)
class GateRule:
    """What a gate asks; its limit stands in params.yaml, `evaluate.gates`."""

    asks: str
    unit: Unit | Literal["points"]
    relation: Literal["at least", "at most", "above"]  # of the value to the limit
    end: str = ""  # of an interval, where that is the value

    def text(self, value: float) -> str:
        forms = {
            "share": f"{100 * value:.0f}%",
            "points": f"{100 * value:+.1f} points".replace("-", "−"),
            "cosine": f"{value:+.3f}".replace("-", "−"),
        }
        return forms.get(self.unit, f"{value:.0f}")


GATES = {
    "changes": GateRule("the adapter changes the output", "share", "at least"),
    "words": GateRule("tuned, cloning, reads no worse than base", "points", "at most", "upper end"),
    "likeness": GateRule("tuned, cloning, is more like the speaker than base, cloning", "cosine", "above", "lower end"),
    "ends": GateRule("sentences end by themselves", "share", "at least"),
    "leakage": GateRule("nothing that is judged was learnt", "count", "at most"),
}


def asks(gate: str) -> str:
    """In words; the name of a gate that this version does not know."""
    return GATES[gate].asks if gate in GATES else gate


@dataclass(frozen=True)
class Metric:
    """A condition: all its samples, over prompts and seeds; MEASURES says what each is. Intervals are 95 %."""

    wer: float | None = None
    wer_low: float | None = None
    wer_high: float | None = None
    cer: float | None = None
    similarity: float | None = None
    similarity_low: float | None = None
    similarity_high: float | None = None
    named: float | None = None
    pace: float | None = None
    pauses: float | None = None
    ended: float | None = None
    silent: int | None = None
    clipped: int | None = None
    repeated: int | None = None
    errors: int | None = None
    words: int | None = None
    samples: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Difference:
    """One condition minus another, over the same prompts and seeds. Intervals are 95 %."""

    wer: float | None = None
    wer_low: float | None = None
    wer_high: float | None = None
    similarity: float | None = None
    similarity_low: float | None = None
    similarity_high: float | None = None
    wins: int | None = None  # prompts of which the first condition reads more words right
    ties: int | None = None
    losses: int | None = None


@dataclass(frozen=True)
class Speaker:
    """The scale that similarity, pace and pauses are read on."""

    ceiling: float | None = None  # similarity of the speaker's own held-out clips, through the codec
    floor: float | None = None  # similarity of other voices
    characters_per_second: float | None = None  # of the speaker's held-out clips, while speaking
    pauses: float | None = None  # share of their time


@dataclass(frozen=True)
class Gate:
    passed: bool
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Evidence:
    conditions: dict[str, Metric] = field(default_factory=dict)
    differences: dict[str, Difference] = field(default_factory=dict)  # `tuned-base` → tuned minus base
    speaker: Speaker | None = None
    gates: dict[str, Gate] = field(default_factory=dict)

    @property
    def failed(self) -> list[str]:
        """Names of the gates that did not pass."""
        return [name for name, gate in self.gates.items() if not gate.passed]

    @property
    def passed(self) -> bool:
        """All gates passed, and there are some."""
        return bool(self.gates) and not self.failed


def read(path: Path) -> Evidence:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); `dvc repro` makes it") from error
    try:
        return from_dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: does not hold what a voice's evaluation writes ({error}); run `dvc repro`") from error


def from_dict(values: Any) -> Evidence:
    """What metrics.json holds, of this version or of one before; TypeError where it is something else."""
    if not isinstance(values, Mapping):
        raise TypeError("no object")
    speaker = values.get("speaker")
    return Evidence(
        conditions={name: _made(Metric, values[name]) for name in CONDITIONS if name in values},
        differences={name: _made(Difference, found) for name, found in values.get("differences", {}).items()},
        speaker=None if speaker is None else _made(Speaker, speaker),
        gates={name: _made(Gate, found) for name, found in sorted(values.get("gates", {}).items(), key=_place)},
    )


def to_dict(evidence: Evidence) -> dict[str, Any]:
    """As the file holds it: rounded, and without what was not measured."""
    made: dict[str, Any] = {name: _told(metric) for name, metric in evidence.conditions.items()}
    made["differences"] = {name: _told(difference) for name, difference in evidence.differences.items()}
    made["gates"] = {name: _told(gate) for name, gate in evidence.gates.items()}
    return made if evidence.speaker is None else made | {"speaker": _told(evidence.speaker)}


def write(path: Path, evidence: Evidence) -> None:
    write_atomic(path, json.dumps(to_dict(evidence), indent=2, sort_keys=True) + "\n")


T = TypeVar("T")


def _made(kind: type[T], values: Mapping[str, Any]) -> T:
    if not isinstance(values, Mapping):
        raise TypeError(f"{values!r} is no {kind.__name__}")
    known = [found.name for found in dataclasses.fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: values[name] for name in known if name in values})


def _place(item: tuple[str, Any]) -> int:
    return list(GATES).index(item[0]) if item[0] in GATES else len(GATES)


def _told(record: Any) -> dict[str, Any]:
    values = dataclasses.asdict(record)
    return {k: round(v, DIGITS) if isinstance(v, float) else v for k, v in values.items() if v is not None}
