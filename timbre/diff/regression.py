"""Whether the newer version harms the voice: words, similarity, length, speed and what people prefer.

Each is a change with its 95 % interval over the sentences that both versions spoke, each paired with itself. Harm is
shown where the whole interval lies on the bad side of a margin: chance alone brings that about in one pair of equal
versions of forty at most, and a real change below the margin is nothing to stop a merge for. What too few sentences or
answers tell is told, and stops nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from timbre.core.records import USED
from timbre.diff.speed import SpeedComparison
from timbre.evaluation.measures import BY_NAME
from timbre.evaluation.score_rows import ScoreRow
from timbre.report.numbers import signed

ENOUGH = 20  # sentences, or answers: with fewer, no harm is shown and no absence of it
MARGINS = {  # from which a change for the worse matters
    "words": 0.02,  # of the words of the sentences
    "similarity": 0.02,  # of the cosine
    "length": 0.1,  # of the older version's seconds
    "speed": 0.1,  # of the older version's computing for a second of speech
    "preferred": 0.05,  # of the answers, below one half
}
ASKS = {
    "words": "wrong words rise by no more than {:.0%} of all",
    "similarity": "the similarity falls by no more than {:.2f}",
    "length": "the same sentences get no more than {:.0%} longer",
    "speed": "a second of speech takes no more than {:.0%} more computing",
    "preferred": "no fewer than {:.0%} of the listeners' answers prefer it",
}
Outcome = Literal["harm", "no harm shown", "too few to tell"]
Scores = Mapping[str, ScoreRow]


class PairedChange(NamedTuple):
    """Of a rate, over the sentences that both versions spoke."""

    value: float
    margin: float  # half of its 95 % interval
    sentences: int


@dataclass(frozen=True)
class RegressionCheck:
    name: str
    asks: str
    change: float  # of `preferred`, the share itself
    low: float | None  # of its 95 % interval
    high: float | None
    compared: int  # sentences, or answers
    outcome: Outcome


class PreferredShare(NamedTuple):
    """Of the answers that heard both versions, those that prefer the newer."""

    value: float
    low: float | None
    high: float | None
    answers: int


Part = Callable[[ScoreRow, ScoreRow], tuple[float, float] | None]  # of a sample before and now: its change, its weight


def paired(condition: str, old: Scores, new: Scores, part: Part) -> PairedChange | None:
    """Σ change / Σ weight, with the usual variance of a ratio; None where nothing can be paired.

    However often a sentence was spoken it counts once, because its takes are not independent.
    """
    change: dict[str, float] = defaultdict(float)
    weight: dict[str, float] = defaultdict(float)
    for sample in old.keys() & new.keys():
        before, after = old[sample], new[sample]
        if after.condition == condition and before.text == after.text and (values := part(before, after)):
            change[after.prompt] += values[0]
            weight[after.prompt] += values[1]
    return _ratio(change, weight)


def _ratio(change: Mapping[str, float], weight: Mapping[str, float]) -> PairedChange | None:
    total, count = sum(weight.values()), len(weight)
    if not total:
        return None
    mean = sum(change.values()) / total
    squares = sum((change[prompt] - mean * weight[prompt]) ** 2 for prompt in weight)
    margin = 1.96 * math.sqrt(squares * count / (count - 1)) / total if count > 1 else math.inf
    return PairedChange(mean, margin, count)


def of_measure(name: str) -> Part:
    total = BY_NAME[name].total

    def part(before: ScoreRow, after: ScoreRow) -> tuple[float, float] | None:
        first, second = total.part(before), total.part(after)  # type: ignore[union-attr]
        return (second[0] - first[0], second[1]) if first and second else None

    return part


def length(before: ScoreRow, after: ScoreRow) -> tuple[float, float] | None:
    if not before.seconds or after.seconds is None:
        return None
    return after.seconds - before.seconds, before.seconds


PARTS: dict[str, Part] = {"words": of_measure("wer"), "similarity": of_measure("similarity"), "length": length}
WORSE = {"words": 1, "similarity": -1, "length": 1, "speed": 1}  # the sign of a change for the worse


def checks(
    old: Scores, new: Scores, preferred: PreferredShare | None = None, speed: SpeedComparison | None = None
) -> Iterator[RegressionCheck]:
    """Nothing where both versions have the same samples, and nobody compared or timed them."""
    if old != new:
        for name, part in PARTS.items():
            if change := paired(USED, old, new, part):
                yield _measured(name, change)
    if speed and (timed := speed_change(speed)):
        yield timed
    if preferred:
        yield _preferred(preferred)


def speed_change(speed: SpeedComparison) -> RegressionCheck | None:
    """Of the computing for a second of speech, each sentence against itself."""
    change = {row.text: row.new.rate - row.old.rate for row in speed.sentences}
    measured = _ratio(change, {row.text: row.old.rate for row in speed.sentences})
    return _measured("speed", measured) if measured else None


def _measured(name: str, change: PairedChange) -> RegressionCheck:
    limit = MARGINS[name]
    nearest = WORSE[name] * change.value - change.margin  # the end of the interval that is nearest to no harm
    outcome: Outcome = (
        "too few to tell" if change.sentences < ENOUGH else "harm" if nearest > limit else "no harm shown"
    )
    many = change.sentences > 1
    low, high = (change.value - change.margin, change.value + change.margin) if many else (None, None)
    return RegressionCheck(name, ASKS[name].format(limit), change.value, low, high, change.sentences, outcome)


def _preferred(share: PreferredShare) -> RegressionCheck:
    limit = 0.5 - MARGINS["preferred"]
    few = share.answers < ENOUGH or share.high is None
    outcome: Outcome = "too few to tell" if few else "harm" if (share.high or 0.0) < limit else "no harm shown"
    asks = ASKS["preferred"].format(limit)
    return RegressionCheck("preferred", asks, share.value, share.low, share.high, share.answers, outcome)


def shown(check: RegressionCheck) -> str:
    """The change and its interval, in the unit of its kind."""

    def number(value: float) -> str:
        if check.name == "preferred":
            return f"{value:.0%}"
        return signed(value, 3) if check.name == "similarity" else f"{signed(100 * value, 1)}%"

    span = f" ({number(check.low)} to {number(check.high)})" if None not in (check.low, check.high) else ""  # type: ignore[arg-type]
    return number(check.change) + span


def failure(check: RegressionCheck) -> str:
    return f"the voice is worse than before: it is asked that {check.asks}, and measured is {shown(check)}"
