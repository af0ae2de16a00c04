"""How the rows of many samples become one number: a sum, a count, a ratio of sums, a mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

DIGITS = 4  # decimal places of a rate in reports/details.json


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
    measured = [part for part in parts if part is not None]
    over = sum(part[1] for part in measured)
    return sum(part[0] for part in measured) / over if over else None
