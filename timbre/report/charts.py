"""Charts as numbers, for a page that draws them: curves and intervals in percent of the plot, and round ticks.

The template stretches the plot to the width it has and sets its labels as text around it, so a chart is as sharp and as
legible on a phone as on a wide screen, and needs no plotting library and no network.

    chart = draw("Loss", "step", [Line("training", points, "train"), Line("evaluation", few, "eval", dots=True)])
    scale = Scale.over([0.1, 0.3]); scale.interval(0.2, 0.15, 0.27)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True)
class ChartLine:
    name: str
    points: Sequence[Point]
    style: str  # class of the style sheet
    dots: bool = False  # a dot on each point: few were measured


@dataclass(frozen=True)
class Curve:
    name: str
    style: str
    path: str  # of SVG, in percent of the plot
    dots: str  # path of points without length, drawn as dots by a round cap; empty where there are none


@dataclass(frozen=True)
class Tick:
    at: float  # percent from the left, or from the top
    label: str


@dataclass(frozen=True)
class Chart:
    title: str
    x_label: str
    curves: list[Curve]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    mark: Tick | None  # a vertical line
    summary: str  # what the chart shows, in words, for who cannot see it


@dataclass(frozen=True)
class Interval:
    """A dot on a line, in percent from the left; without a line where only the value is known."""

    at: float
    left: float
    width: float


@dataclass(frozen=True)
class ChartScale:
    """An axis between two round numbers."""

    ticks: list[float]

    @classmethod
    def over(cls, values: Sequence[float], about: int = 4) -> ChartScale:
        return cls(ticks(min(values), max(values), about))

    def at(self, value: float) -> float:
        """Percent of the way from the first tick to the last; what lies outside is put on the edge."""
        low, high = self.ticks[0], self.ticks[-1]
        return round(100 * (min(max(value, low), high) - low) / (high - low), 2)

    def interval(self, value: float, low: float | None, high: float | None) -> Interval:
        left, right = (self.at(value if end is None else end) for end in (low, high))
        return Interval(self.at(value), left, round(right - left, 2))


def draw(
    title: str, x_label: str, lines: Sequence[ChartLine], mark: tuple[float, str] | None = None, narrow: bool = False
) -> Chart | None:
    """None where nothing was measured. A narrow chart has room for few ticks."""
    lines = [line for line in lines if line.points]
    if not lines:
        return None
    xs = [x for line in lines for x, _ in line.points]
    x_ticks = ticks(min(xs), max(xs), 3 if narrow else 6)
    y_ticks = ticks(*_span([line.points for line in lines]), 4)
    left, right, bottom, top = min(xs), max(xs), y_ticks[0], y_ticks[-1]

    def across(x: float) -> float:
        return round(100 * (x - left) / (right - left or 1), 2)

    def down(y: float) -> float:
        return round(100 * (top - min(max(y, bottom), top)) / (top - bottom or 1), 2)

    curves = [
        Curve(
            name=line.name,
            style=line.style,
            path="M" + " L".join(f"{across(x):g} {down(y):g}" for x, y in line.points),
            dots=" ".join(f"M{across(x):g} {down(y):g}h0" for x, y in line.points) if line.dots else "",
        )
        for line in lines
    ]
    return Chart(
        title=title,
        x_label=x_label,
        curves=curves,
        x_ticks=[Tick(across(x), label(x)) for x in x_ticks if left <= x <= right],
        y_ticks=[Tick(down(y), label(y)) for y in y_ticks],
        mark=Tick(across(mark[0]), mark[1]) if mark else None,
        summary="; ".join(_in_words(line) for line in lines),
    )


def _span(lines: Sequence[Sequence[Point]]) -> tuple[float, float]:
    """From the lowest value to the highest, without the 2 % highest: one wild step must not flatten all others."""
    ys = sorted(y for points in lines for _, y in points)
    return ys[0], max(ys[math.ceil(0.98 * len(ys)) - 1], *(points[-1][1] for points in lines))


def _in_words(line: ChartLine) -> str:
    (x, y), (x_last, y_last) = line.points[0], line.points[-1]
    return f"{line.name} from {label(y)} at {label(x)} to {label(y_last)} at {label(x_last)}"


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers, 1, 2 or 5 times a power of ten apart, from below `low` to above `high`."""
    distance = (high - low) / about or abs(high) / about or 1.0
    power = 10.0 ** math.floor(math.log10(distance))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= distance * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{step * i:.10g}") for i in range(first, max(last, first + 1) + 1)]


def label(value: float) -> str:
    if value and abs(value) < 1e-2:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:,.3f}".rstrip("0").rstrip(".")
