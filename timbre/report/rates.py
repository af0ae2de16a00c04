"""The four conditions, their differences and the gates, with intervals as figures that a page can draw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from timbre.evaluation.measures import BY_NAME, COMPARED, GATES, Measure, asks
from timbre.evaluation.metrics import CONDITIONS, Difference, Evidence, Gate, Metric, Speaker
from timbre.report.charts import ChartScale, Interval
from timbre.report.second import doubt
from timbre.report.verdict import NAMES, change, signed

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
    figures: dict[str, Interval]  # of each measure that was measured with an interval


@dataclass(frozen=True)
class Versus:
    name: str
    what: str
    difference: Difference
    figures: dict[str, Interval]
    changes: dict[str, str]
    better: dict[str, str]  # better or worse, where the interval leaves out zero


@dataclass(frozen=True)
class GateRow:
    id: str
    asks: str
    passed: bool
    measured: str  # value and limit


@dataclass(frozen=True)
class Rates:
    """Axes are by measure; a measure that nobody measured has none."""

    conditions: list[Condition]
    axes: dict[str, Axis]
    versus: list[Versus]
    change_axes: dict[str, Axis]
    gates: list[GateRow]


def rates(evidence: Evidence) -> Rates:
    conditions = evidence.conditions
    compared = {name: evidence.differences[name] for name in VERSUS if name in evidence.differences}
    scales = {m.name: scale for m in COMPARED if (scale := _scale(m, conditions.values(), _ends(evidence, m)))}
    changes = {m.name: scale for m in COMPARED if (scale := _scale(m, compared.values(), [0.0]))}
    return Rates(
        conditions=[
            Condition(name, *NAMES[name], conditions[name], _figures(scales, conditions[name]))
            for name in CONDITIONS
            if name in conditions
        ],
        axes={
            name: _axis(scale, _tick(BY_NAME[name]), _marks(evidence, BY_NAME[name])) for name, scale in scales.items()
        },
        versus=[_versus(name, difference, changes) for name, difference in compared.items()],
        change_axes={name: _axis(scale, _change_tick(BY_NAME[name]), [(0.0, "")]) for name, scale in changes.items()},
        gates=gate_rows(evidence),
    )


def _scale(measure: Measure, records: Iterable[Metric | Difference], ends: Sequence[float]) -> ChartScale | None:
    """Over all values and intervals, and the ends; None where nothing was measured."""
    measured = [interval for record in records for interval in [measure.interval(record)] if interval[0] is not None]
    values = [value for interval in measured for value in interval if value is not None]
    return ChartScale.over([*values, *ends]) if values else None


def _tick(measure: Measure) -> Callable[[float], str]:
    return (lambda value: f"{100 * value:.3g}%") if measure.unit == "share" else "{:.2g}".format


def _change_tick(measure: Measure) -> Callable[[float], str]:
    factor, digits = (100, 0) if measure.unit == "share" else (1, 2)
    return lambda value: signed(factor * value, digits) if value else "0"


def _ends(evidence: Evidence, measure: Measure) -> list[float]:
    """What the axis holds in any case: a share begins at 0, similarity lies between other voices and the speaker."""
    return [0.0] if measure.unit == "share" else [value for value, _ in _marks(evidence, measure)]


def _marks(evidence: Evidence, measure: Measure) -> list[tuple[float, str]]:
    speaker = evidence.speaker or Speaker()
    named = [(speaker.floor, "other voices"), (speaker.ceiling, "the speaker")]
    return [(value, name) for value, name in named if value is not None and measure.name == "similarity"]


def _axis(scale: ChartScale, label: Callable[[float], str], marks: Sequence[tuple[float, str]]) -> Axis:
    return Axis([(scale.at(t), label(t)) for t in scale.ticks], [(scale.at(value), name) for value, name in marks])


def _figures(scales: Mapping[str, ChartScale], record: Metric | Difference) -> dict[str, Interval]:
    figures = {}
    for name, scale in scales.items():
        value, low, high = BY_NAME[name].interval(record)
        if value is not None:
            figures[name] = scale.interval(value, low, high)
    return figures


def _versus(name: str, difference: Difference, scales: Mapping[str, ChartScale]) -> Versus:
    first, second = (NAMES[part][0] for part in name.split("-"))
    measured = [measure for measure in COMPARED if measure.interval(difference)[0] is not None]
    return Versus(
        name=f"{first} against {second[0].lower()}{second[1:]}",
        what=VERSUS[name],
        difference=difference,
        figures=_figures(scales, difference),
        changes={m.name: change(difference, m) for m in measured},
        better={m.name: _better(difference, m) for m in measured},
    )


def _better(difference: Difference, measure: Measure) -> str:
    _, low, high = measure.interval(difference)
    sign = (low is not None and low > 0) - (high is not None and high < 0)
    return {0: "", 1: "better", -1: "worse"}[sign if measure.better == "higher" else -sign]


def gate_rows(evidence: Evidence) -> list[GateRow]:
    """With what a second judge says against a value: it fails no gate, but people shall know."""
    rows = (gate_row(name, gate) for name, gate in evidence.gates.items())
    return [replace(row, measured=row.measured + doubt(evidence, row.id)) for row in rows]


def gate_row(name: str, gate: Gate) -> GateRow:
    """What the gate asks, and its value beside its limit."""
    rule = GATES.get(name)
    shown: Callable[[float], str] = rule.text if rule else "{:g}".format
    end, relation = (f"{rule.end} " if rule.end else "", rule.relation) if rule else ("", "limit")
    value = "not measured" if gate.value is None else end + shown(gate.value)
    limit = "" if gate.limit is None else f", {relation} {shown(gate.limit)}"
    return GateRow(name, asks(name), gate.passed, value + limit)
