"""The one line that a reviewer reads first, and how numbers are said in it."""

from __future__ import annotations

from collections.abc import Iterator

from timbre.diff import material
from timbre.diff.report import Rate, Report
from timbre.diff.totals import Total
from timbre.evaluation.measures import BY_NAME
from timbre.evaluation.metrics import JUDGED
from timbre.report.numbers import decimals, minutes, plural, rate, signed


def said(report: Report) -> str:
    parts = [material.said(report), *(", ".join(part(report)) for part in (_voice, _gates))]
    return "; ".join(["nothing changed"] * report.is_empty + [part for part in parts if part]) or "small changes only"


def _voice(report: Report) -> Iterator[str]:
    main = next((name for name in JUDGED if any(change.condition == name for change in report.rates)), "")
    for change in report.rates:
        if change.condition != main or change.old is None or change.new is None:
            continue
        measure = BY_NAME[change.name]
        if measure.compared:
            both = f"{rate(change.old)} → {rate(change.new)} ({rate_change(change)})"
            yield f"{measure.short} {both if measure.unit == 'share' else rate_change(change)}"


def _gates(report: Report) -> Iterator[str]:
    if report.problems:
        yield f"{plural(len(report.problems), 'place')} to mend"
    if report.failed:
        yield f"{plural(len(report.failed), 'gate')} failed: {', '.join(gate.name for gate in report.failed)}"
    elif any(gate.new for gate in report.gates):
        yield "gates pass"
    if report.leaks:
        yield f"{plural(len(report.leaks), 'text')} in training and in evaluation"
    if report.leaks is None:
        yield "clips not reached, so not checked for leakage"
    if behind := [stage for stage in report.stale if stage.reasons]:
        seconds = [report.seconds.get(stage.stage) for stage in report.stale]
        cost = f", about {minutes(sum(filter(None, seconds)))}" if None not in seconds else ""
        yield f"dvc.lock is behind by {plural(len(behind), 'stage')}{cost}"
    if report.shared.lacks:
        yield f"{plural(len(report.shared.lacks), 'output')} not in the remote"


def change_of(total: Total) -> str:
    change = total.new - total.old
    if round(change, 2) == 0:
        return ""
    digits = max(decimals(total.old, total.unit), decimals(total.new, total.unit))
    return f"{signed(change, digits)} {total.unit}" if total.unit else signed(change, 0)


def measured(name: str, value: float | None) -> str:
    return f"{value:.0f}" if is_counted(name) and value is not None else rate(value)


def is_counted(name: str) -> bool:
    return name in BY_NAME and BY_NAME[name].unit == "count"


def rate_change(rate: Rate) -> str:
    if rate.old is None or rate.new is None:
        return ""
    decimals = 0 if is_counted(rate.name) else 3
    return signed(rate.new - rate.old, decimals) + ("" if rate.margin is None else f" ± {rate.margin:.3f}")
