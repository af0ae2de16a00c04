"""How many sentences a wished precision needs, from the variance of a voice's own samples.

    needed(score_rows.read(path.read_bytes()), 0.03)   # a row per rate and difference

The half of an interval falls with the square root of the number of sentences, so it takes four times as many to halve
it. Only sentences are counted: another take of the same sentence resembles the first, and tells less than a new one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from timbre.core.records import USED
from timbre.evaluation import bootstrap
from timbre.evaluation.bootstrap import Estimate, TallyPart
from timbre.evaluation.measures import BY_NAME, Measure
from timbre.evaluation.score_rows import ScoreRow

OTHERS = ("base_clone", "base")  # what the voice as it is used is compared with
FEWEST = 20  # sentences, below which no interval can be relied on
Parts = dict[str, TallyPart]  # by prompt


@dataclass(frozen=True)
class NeededSentences:
    measure: str  # a name of MEASURES
    condition: str
    other: str  # empty: of the rate itself; otherwise of its difference to this condition
    half: float  # of the interval now
    sentences: int  # that it has now
    needed: int  # for the wished half


def needed(rows: Sequence[ScoreRow], half: float) -> list[NeededSentences]:
    """`half` is the wished half of an interval of 95 %, of a rate or a cosine: 0.03 is three points."""
    return [row for name in ("wer", "similarity") for row in _of_measure(rows, BY_NAME[name], half)]


def _of_measure(rows: Sequence[ScoreRow], measure: Measure, half: float) -> Iterator[NeededSentences]:
    used = _parts(rows, measure, USED)
    if len(used) > 1:
        of = bootstrap.share if measure.name == "wer" else bootstrap.estimate
        yield _row(measure, "", of(list(used.values())), len(used), half)
    for other in OTHERS:
        theirs = _parts(rows, measure, other)
        both = sorted(used.keys() & theirs.keys())
        if len(both) > 1:
            estimate = bootstrap.difference([used[name] for name in both], [theirs[name] for name in both])
            yield _row(measure, other, estimate, len(both), half)


def _row(measure: Measure, other: str, estimate: Estimate, sentences: int, half: float) -> NeededSentences:
    assert estimate.low is not None, "there are two sentences or more"
    assert estimate.high is not None, "there are two sentences or more"
    now = (estimate.high - estimate.low) / 2
    count = max(FEWEST, math.ceil(sentences * (now / half) ** 2))
    return NeededSentences(measure.name, USED, other, now, sentences, count)


def _parts(rows: Sequence[ScoreRow], measure: Measure, condition: str) -> Parts:
    by_prompt: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.condition == condition and (part := measure.total.part(row)):  # type: ignore[union-attr]
            by_prompt.setdefault(row.prompt, []).append(part)
    return {
        prompt: TallyPart(sum(total for total, _ in some), sum(over for _, over in some))
        for prompt, some in by_prompt.items()
    }
