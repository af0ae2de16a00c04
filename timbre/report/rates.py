"""The four conditions, their differences and the gates, with intervals as figures that a page can draw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from timbre.evaluation.metrics import CONDITIONS, GATES, Difference, Evidence, Gate, Metric
from timbre.report.charts import Interval, Scale
from timbre.report.verdict import NAMES, points, signed, span

VERSUS = {  # which differences are shown, the first against the second, and what each is good to know for
    "tuned_clone-base": "the voice as it is used, and the base",
    "tuned_clone-base_clone": "what the adapter adds to cloning",
    "tuned-base": "what the adapter does without a clip",
    "tuned_clone-tuned": "what a clip adds to the adapter",
    "base_clone-base": "what cloning alone does",
}


@dataclass(frozen=True)
class Axis:
    ticks: list[tuple[float, str]]  # percent, label
    marks: list[tuple[float, str]]  # likewise: floor and ceiling, or zero


@dataclass(frozen=True)
class Condition:
    id: str
    name: str
    what: str
    metric: Metric
    wer: Interval | None
    similarity: Interval | None


@dataclass(frozen=True)
class Versus:
    name: str
    what: str
    difference: Difference
    wer: Interval | None
    similarity: Interval | None
    wer_told: str
    similarity_told: str


@dataclass(frozen=True)
class GateRow:
    id: str
    asks: str
    passed: bool
    told: str  # value and limit


@dataclass(frozen=True)
class Rates:
    conditions: list[Condition]
    wer: Axis
    similarity: Axis | None  # None where nobody measured it
    versus: list[Versus]
    wer_change: Axis | None
    similarity_change: Axis | None
    gates: list[GateRow]


def rates(evidence: Evidence) -> Rates:
    found = evidence.conditions
    rate = _scale((0.0, m.wer, m.wer_low, m.wer_high) for m in found.values()) or Scale([0.0, 1.0])
    likeness = _scale([*((m.similarity, m.similarity_low, m.similarity_high) for m in found.values()), _ends(evidence)])
    compared = {name: evidence.differences[name] for name in VERSUS if name in evidence.differences}
    rate_change = _scale((0.0, d.wer, d.wer_low, d.wer_high) for d in compared.values())
    likeness_change = _scale(
        (0.0, d.similarity, d.similarity_low, d.similarity_high) for d in compared.values() if d.similarity is not None
    )
    zero = [(0.0, "")]
    return Rates(
        conditions=[_condition(name, found[name], rate, likeness) for name in CONDITIONS if name in found],
        wer=_axis(rate, lambda value: f"{100 * value:.3g}%"),
        similarity=_axis(likeness, lambda value: f"{value:.2g}", _marks(evidence)) if likeness else None,
        versus=[_versus(name, difference, rate_change, likeness_change) for name, difference in compared.items()],
        wer_change=_axis(rate_change, lambda value: _around(100 * value, 0), zero) if rate_change else None,
        similarity_change=_axis(likeness_change, lambda value: _around(value, 2), zero) if likeness_change else None,
        gates=[gate_row(name, gate) for name, gate in evidence.gates.items()],
    )


def _around(value: float, digits: int) -> str:
    return signed(value, digits) if value else "0"


def _scale(groups: Iterator[tuple[float | None, ...]] | Sequence[tuple[float | None, ...]]) -> Scale | None:
    values = [value for group in groups for value in group if value is not None]
    return Scale.over(values) if len(values) > 1 else None


def _ends(evidence: Evidence) -> tuple[float | None, float | None]:
    return (evidence.speaker.floor, evidence.speaker.ceiling) if evidence.speaker else (None, None)


def _marks(evidence: Evidence) -> list[tuple[float, str]]:
    floor, ceiling = _ends(evidence)
    named = [(floor, "other voices"), (ceiling, "the speaker")]
    return [(value, name) for value, name in named if value is not None]


def _axis(scale: Scale, label: Callable[[float], str], marks: Sequence[tuple[float, str]] = ()) -> Axis:
    return Axis([(scale.at(t), label(t)) for t in scale.ticks], [(scale.at(value), name) for value, name in marks])


def _condition(name: str, metric: Metric, wer: Scale, similarity: Scale | None) -> Condition:
    return Condition(
        name,
        *NAMES[name],
        metric,
        _interval(wer, metric.wer, metric.wer_low, metric.wer_high),
        _interval(similarity, metric.similarity, metric.similarity_low, metric.similarity_high),
    )


def _versus(name: str, difference: Difference, wer: Scale | None, similarity: Scale | None) -> Versus:
    first, second = (NAMES[part][0] for part in name.split("-"))
    return Versus(
        name=f"{first} − {second[0].lower()}{second[1:]}",
        what=VERSUS[name],
        difference=difference,
        wer=_interval(wer, difference.wer, difference.wer_low, difference.wer_high),
        similarity=_interval(similarity, difference.similarity, difference.similarity_low, difference.similarity_high),
        wer_told="" if difference.wer is None else f"{points(difference.wer)} ({span(difference, 'wer')})",
        similarity_told=""
        if difference.similarity is None
        else f"{signed(difference.similarity)} ({span(difference, 'similarity')})",
    )


def _interval(scale: Scale | None, value: float | None, low: float | None, high: float | None) -> Interval | None:
    return None if scale is None or value is None else scale.interval(value, low, high)


def gate_row(name: str, gate: Gate) -> GateRow:
    """What the gate asks, and its value beside its limit."""
    told: dict[str, tuple[str, Callable[[float], str], str]] = {
        "changes": ("", lambda value: f"{100 * value:.0f}%", "at least"),
        "words": ("upper end ", lambda value: f"{points(value)} points", "at most"),
        "likeness": ("lower end ", signed, "above"),
        "ends": ("", lambda value: f"{100 * value:.0f}%", "at least"),
        "leakage": ("", lambda value: f"{value:.0f}", "at most"),
    }
    what, shown, relation = told.get(name, ("", lambda value: f"{value:g}", "limit"))
    value = "not measured" if gate.value is None else what + shown(gate.value)
    limit = "" if gate.limit is None else f", {relation} {shown(gate.limit)}"
    return GateRow(name, GATES.get(name, name), gate.passed, value + limit)
