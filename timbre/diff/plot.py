"""The voice's history as a picture: word error rate and similarity over its versions, on a page or in a terminal."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from timbre.core.safe_text import visible
from timbre.diff.history import HistoryEntry
from timbre.diff.html import style
from timbre.evaluation.metrics import COMPARED
from timbre.report.charts import label, ticks
from timbre.report.numbers import rate

BARS = "▁▂▃▄▅▆▇█"
MEASURES = [(measure.name, f"{measure.title.capitalize()}, {measure.better} is better") for measure in COMPARED]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 880, 240, 56, 16, 12, 30  # pixels of a chart, and of its edges
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
    found = []
    for place, version in enumerate(reversed(versions)):
        value = getattr(version.measured, measure)
        if value is not None:
            ends = (getattr(version.measured, f"{measure}_{end}") for end in ("low", "high"))
            low, high = (value if end is None else end for end in ends)
            found.append(PlotPoint(place, value, low, high, version))
    return found


def sparklines(versions: Sequence[HistoryEntry]) -> Iterator[str]:
    """A line per measure, a column per version, a gap where it was not measured."""
    for measure, name in MEASURES:
        found = {point.place: point.value for point in points(versions, measure)}
        if found:
            values = list(found.values())
            drawn = "".join(_bar(found.get(place), min(values), max(values)) for place in range(len(versions)))
            yield f"{name.partition(',')[0]:26}{drawn}  {rate(values[0])} → {rate(values[-1])}"


def _bar(value: float | None, low: float, high: float) -> str:
    if value is None:
        return " "
    return BARS[round((value - low) / (high - low) * (len(BARS) - 1))] if high > low else BARS[len(BARS) // 2]


def page(versions: Sequence[HistoryEntry]) -> str:
    charts = "".join(_section(title, points(versions, measure), len(versions)) for measure, title in MEASURES)
    names = ("version", "", "author", "WER", "similarity", "gates", "what")
    head = "".join(f"<th>{name}</th>" for name in names)
    table = f"<table><tr>{head}</tr>\n{''.join(map(_row, versions))}</table>"
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>timbre log</title><style>{style()}</style>\n<h1>The voice, version by version</h1>\n{charts}"
        f'<section><h2>Versions</h2><div class="scroll">{table}</div></section></html>\n'
    )


def _section(title: str, found: list[PlotPoint], count: int) -> str:
    return f"<section><h2>{title}</h2>{_chart(title, found, count)}</section>\n" if found else ""


def _chart(title: str, found: list[PlotPoint], count: int) -> str:
    marks = ticks(min(point.low for point in found), max(point.high for point in found), 4)
    path = " L".join(f"{_across(point.place, count)} {_down(point.value, marks)}" for point in found)
    said = f"{title}: from {rate(found[0].value)} to {rate(found[-1].value)}"
    return (
        f'<div class="scroll"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">{_grid(marks)}'
        f'<path class="curve" d="M{path}"/>{"".join(_dot(point, count, marks) for point in found)}</svg></div>'
    )


def _across(place: int, count: int) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (place + 0.5) / count, 1)


def _down(value: float, marks: Sequence[float]) -> float:
    return round(TOP + (HEIGHT - TOP - BOTTOM) * (marks[-1] - value) / (marks[-1] - marks[0]), 1)


def _grid(marks: Sequence[float]) -> str:
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_down(mark, marks)}" y2="{_down(mark, marks)}"/>'
        f'<text x="{LEFT - 8}" y="{_down(mark, marks) + 4}" text-anchor="end">{label(mark)}</text>'
        for mark in marks
    )


def _dot(point: PlotPoint, count: int, marks: Sequence[float]) -> str:
    x, version = _across(point.place, count), point.version
    told = html.escape(visible(f"{version.date} {version.commit[:8]} {rate(point.value)} {version.subject}"))
    state = "failed" if version.failed else "passed"
    name = f'<text x="{x}" y="{HEIGHT - 8}" text-anchor="middle">{version.commit[:7]}</text>'
    every = -(-count // NAMED)
    return (
        f'<g class="{state}"><title>{told}</title>'
        f'<line class="range" x1="{x}" x2="{x}" y1="{_down(point.low, marks)}" y2="{_down(point.high, marks)}"/>'
        f'<circle cx="{x}" cy="{_down(point.value, marks)}" r="5"/></g>' + name * (point.place % every == 0)
    )


def _row(version: HistoryEntry) -> str:
    gates = "—" if version.failed is None else "pass" if not version.failed else f"failed: {', '.join(version.failed)}"
    what = f"{version.changed or 'only code or results'} · {version.subject}"
    told = (version.author, rate(version.measured.wer), rate(version.measured.similarity), gates, what)
    cells = "".join(f"<td>{html.escape(visible(text))}</td>" for text in told)
    day = f'<td class="whole">{html.escape(version.date)}</td>'
    return f"<tr><td><code>{version.commit[:8]}</code></td>{day}{cells}</tr>\n"
