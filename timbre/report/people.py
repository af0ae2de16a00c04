"""What people said in blind listening tests, as sentences and rows: for the page, Markdown and terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from timbre.evaluation.metrics import CONDITIONS, Evidence, Preference
from timbre.report.charts import ChartScale, Interval
from timbre.report.numbers import plural
from timbre.report.rates import Axis
from timbre.report.verdict import NAMES

SCALE = ChartScale([0.0, 0.25, 0.5, 0.75, 1.0])
AXIS = Axis([(SCALE.at(tick), f"{100 * tick:.0f}%") for tick in SCALE.ticks], [(50.0, "")])


@dataclass(frozen=True)
class PreferenceRow:
    name: str  # such as `Tuned + cloning over base + cloning`
    told: str  # share and interval
    figure: Interval | None
    answers: int
    apart: str  # of ABX trials
    with_words: str
    with_similarity: str


@dataclass(frozen=True)
class RatedRow:
    id: str
    name: str
    rating: str
    strength: str


@dataclass(frozen=True)
class PeopleFigures:
    rows: list[PreferenceRow]
    rated: list[RatedRow]
    listeners: str
    left_out: list[str]  # who is not counted, and why
    axis: Axis = AXIS


def people(evidence: Evidence) -> PeopleFigures | None:
    """None where nobody listened."""
    if not evidence.listeners:
        return None
    relied = [name for name, record in evidence.listeners.items() if record.reliable]
    return PeopleFigures(
        rows=[_row(name, preference) for name, preference in evidence.preferences.items()],
        rated=list(_rated(evidence)),
        listeners=plural(len(relied), "listener"),
        left_out=[f"{name} {record.why}" for name, record in evidence.listeners.items() if not record.reliable],
    )


def sentences(evidence: Evidence) -> Iterator[str]:
    figures = people(evidence)
    if figures is None:
        return
    for row in figures.rows:
        parts = [f"{row.told} of {plural(row.answers, 'answer')} prefer it"] if row.told else []
        parts += [f"told apart in {row.apart} of ABX trials"] if row.apart else []
        yield f"{row.name}: {'; '.join(parts)}"
    for rated in figures.rated:
        if rated.rating:
            yield f"{rated.name}: rated {rated.rating} of 100 against the true recording"
    yield from (f"not counted: {line}" for line in figures.left_out)


def _row(name: str, preference: Preference) -> PreferenceRow:
    first, second = (NAMES[part][0] for part in name.split("-"))
    liked = (preference.share, preference.share_low, preference.share_high)
    return PreferenceRow(
        name=f"{first} over {second[0].lower()}{second[1:]}",
        told=share_with_interval(*liked),
        figure=None if preference.share is None else SCALE.interval(preference.share, *liked[1:]),
        answers=preference.answers or 0,
        apart=share_with_interval(preference.apart, preference.apart_low, preference.apart_high),
        with_words=_correlation(preference.with_words),
        with_similarity=_correlation(preference.with_similarity),
    )


def _rated(evidence: Evidence) -> Iterator[RatedRow]:
    for name in CONDITIONS:
        if heard := evidence.heard.get(name):
            ends = (heard.rating_low, heard.rating_high)
            between = "" if None in ends else f" ({ends[0]:.0f}–{ends[1]:.0f})"
            rating = "" if heard.rating is None else f"{heard.rating:.0f}{between}"
            strength = "" if heard.strength is None else f"{100 * heard.strength:.0f}%"
            yield RatedRow(name, NAMES[name][0], rating, strength)


def share_with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """Such as `78% (70–86)`; empty where nothing was answered."""
    between = "" if low is None or high is None else f" ({100 * low:.0f}–{100 * high:.0f})"
    return "" if value is None else f"{100 * value:.0f}%{between}"


def _correlation(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}".replace("-", "−")
