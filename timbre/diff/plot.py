"""The voice's history as a picture: word error rate and similarity over its versions, on a page or in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from timbre.diff import html
from timbre.diff.history import HistoryEntry
from timbre.evaluation.measures import COMPARED
from timbre.report.charts import label, ticks
from timbre.report.columns import columns
from timbre.report.numbers import rate

BARS = "▁▂▃▄▅▆▇█"
MEASURES = [(measure.name, f"{measure.title.capitalize()}, {measure.better} is better") for measure in COMPARED]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 880, 240, 56, 16, 12, 30  # pixels of a chart, and of its edges
HEAD = ("version", "", "author", "WER", "similarity", "gates", "what")
NAMED = 12  # versions whose names have room below a chart


@dataclass(frozen=True)
class PlotPoint:
    place: int  # of the version, from the oldest
    value: float
    low: float
    high: float
    version: HistoryEntry


def points(versions: Sequence[HistoryEntry], measure: str) -> list[PlotPoint]:
    """From the oldest to the newest; `versions` come newest first, as `timbre log` lists them."""
    placed = []
    for place, version in enumerate(reversed(versions)):
        value = getattr(version.measured, measure)
        if value is not None:
            ends = (getattr(version.measured, f"{measure}_{end}") for end in ("low", "high"))
            low, high = (value if end is None else end for end in ends)
            placed.append(PlotPoint(place, value, low, high, version))
    return placed


def sparklines(versions: Sequence[HistoryEntry]) -> list[str]:
    """A line per measure, a character per version, a gap where it was not measured."""
    rows = []
    for measure, name in MEASURES:
        by_place = {point.place: point.value for point in points(versions, measure)}
        if by_place:
            values = list(by_place.values())
            drawn = "".join(_bar(by_place.get(place), min(values), max(values)) for place in range(len(versions)))
            rows.append((name.partition(",")[0], drawn, f"{rate(values[0])} → {rate(values[-1])}"))
    return columns(rows)


def _bar(value: float | None, low: float, high: float) -> str:
    if value is None:
        return " "
    return BARS[round((value - low) / (high - low) * (len(BARS) - 1))] if high > low else BARS[len(BARS) // 2]


def page(versions: Sequence[HistoryEntry]) -> str:
    charts = [
        _chart(title, curve, len(versions)) for measure, title in MEASURES if (curve := points(versions, measure))
    ]
    rows = [(version, _cells(version)) for version in versions]
    sizes = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT}
    return html.fill("log.html", charts=charts, head=HEAD, rows=rows, **sizes) + "\n"


@dataclass(frozen=True)
class HistoryDot:
    x: float
    y: float
    low: float
    high: float
    title: str
    named: bool  # whether its name is written below the chart
    version: HistoryEntry


@dataclass(frozen=True)
class GridLine:
    y: float
    label: str


@dataclass(frozen=True)
class HistoryChart:
    title: str
    summary: str  # read aloud in its place
    path: str  # of SVG
    dots: list[HistoryDot]
    marks: list[GridLine]


def _chart(title: str, curve: list[PlotPoint], count: int) -> HistoryChart:
    marks = ticks(min(point.low for point in curve), max(point.high for point in curve), 4)
    dots = [_dot(point, count, marks) for point in curve]
    return HistoryChart(
        title=title,
        summary=f"{title}: from {rate(curve[0].value)} to {rate(curve[-1].value)}",
        path="M" + " L".join(f"{dot.x} {dot.y}" for dot in dots),
        dots=dots,
        marks=[GridLine(_down(mark, marks), label(mark)) for mark in marks],
    )


def _dot(point: PlotPoint, count: int, marks: Sequence[float]) -> HistoryDot:
    version = point.version
    x = round(LEFT + (WIDTH - LEFT - RIGHT) * (point.place + 0.5) / count, 1)
    y, low, high = (_down(value, marks) for value in (point.value, point.low, point.high))
    title = f"{version.date} {version.commit[:8]} {rate(point.value)} {version.subject}"
    every = -(-count // NAMED)
    return HistoryDot(x, y, low, high, title, point.place % every == 0, version)


def _down(value: float, marks: Sequence[float]) -> float:
    return round(TOP + (HEIGHT - TOP - BOTTOM) * (marks[-1] - value) / (marks[-1] - marks[0]), 1)


def _cells(version: HistoryEntry) -> tuple[str, ...]:
    gates = "—" if version.failed is None else "pass" if not version.failed else f"failed: {', '.join(version.failed)}"
    changes = f"{version.changed or 'only code or results'} · {version.subject}"
    return version.author, rate(version.measured.wer), rate(version.measured.similarity), gates, changes
