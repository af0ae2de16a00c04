"""The one line that a reviewer reads first, and how numbers are said in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from timbre.diff.lines import count
from timbre.diff.report import DataChanges, Rate, Report, Total
from timbre.evaluation.measures import BY_NAME
from timbre.report.numbers import decimals, minutes, plural, rate, signed

MAIN = ("tuned_clone", "tuned")  # the condition that a version of the voice is judged by: the first that it has


def said(report: Report) -> str:
    parts = [", ".join(part(report)) for part in (_data, _voice, _gates)]
    return "; ".join(["nothing changed"] * report.is_empty + [part for part in parts if part]) or "small changes only"


def data(changes: Report | DataChanges) -> str:
    """What is new in what the voice is made from; empty where nothing is."""
    return ", ".join(_data(changes))


def _data(report: Report | DataChanges) -> Iterator[str]:
    for kind in ("added", "removed"):
        sources = [source for source in report.sources if source.kind == kind]
        if sources:
            yield f"{plural(len(sources), 'recording')} {kind}"
        named = {source.id for source in sources}
        changed_files = [change for change in report.transcripts if change.kind == kind]
        if whole := [change for change in changed_files if change.recording not in named]:
            yield f"{plural(len(whole), 'transcript')} {kind}"
    kinds = count(report.words)
    for kind in ("reworded", "split", "merged", "regrouped", "retimed", "dropped", "restored", "added", "removed"):
        if times := kinds[kind]:  # type: ignore[index]
            where = len({change.recording for change in report.words if kind in change.kinds})
            yield f"{plural(times, 'line')} in {plural(where, 'recording')} {kind}"
    changed = Counter(change.kind for change in report.clips)
    for name in ("re-cut", "re-worded", "moved", "added", "removed"):
        if times := changed[name]:
            yield f"{plural(times, 'clip')} {name}"
    minutes = next((t.new - t.old for t in report.totals if t.name == "clips, time"), 0.0)
    if abs(minutes) >= 0.05:
        yield signed(minutes) + " min"
    yield from _people(report)
    if rights := [s for s in report.sources if s.kind == "changed" and {"consent", "licence"} & set(s.values)]:
        yield f"rights of {plural(len(rights), 'recording')} changed"
    if report.params:
        yield f"{plural(len(report.params), 'parameter')} changed"


def _people(report: Report | DataChanges) -> Iterator[str]:
    for kind, said_so in (("added", "added"), ("removed", "removed"), ("revoked", "took the consent back")):
        if names := [person.id for person in report.people if person.kind == kind]:
            yield f"{plural(len(names), 'speaker')} {said_so}"


def _voice(report: Report) -> Iterator[str]:
    main = next((name for name in MAIN if any(change.condition == name for change in report.rates)), "")
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
