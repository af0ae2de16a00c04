"""Two judges of the same samples: how far they agree, and where they put two conditions in another order.

    judges = second_opinion(scores, ear="pocketsphinx", encoder=None)     # {"wer": SecondJudge(…)}
    judges["wer"].opposed                                                # ["tuned-base"]: an order turned round

An order is turned round where the two judges differ in the sign of a difference and at least one of them is sure of its
own: its interval leaves out zero. Two signs that may both be chance are no disagreement.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from timbre.evaluation import bootstrap
from timbre.evaluation.bootstrap import Estimate
from timbre.evaluation.measures import BY_NAME, SECOND, Measure
from timbre.evaluation.metrics import COMPARISONS, CONDITIONS, SecondJudge
from timbre.evaluation.preferences import rank_correlation
from timbre.evaluation.scores import Score, parts


def second_opinion(scores: Sequence[Score], ear: str | None, encoder: str | None) -> dict[str, SecondJudge]:
    """By the measure that is judged twice; nothing of a judge who was not asked, or could not tell."""
    judges = {}
    if ear is not None:
        judges["wer"] = _judge(ear, "wer", scores, _agreement([(s.errors == 0, s.second_errors == 0) for s in scores]))
    if encoder is not None and all(score.second_similarity is not None for score in scores):
        named = [(s.named, s.second_named) for s in scores if s.named is not None and s.second_named is not None]
        judges["similarity"] = _judge(encoder, "similarity", scores, _agreement(named))
    return judges


def _judge(name: str, measure: str, scores: Sequence[Score], agreement: float | None) -> SecondJudge:
    first, second = BY_NAME[measure], SECOND[measure]
    of = {condition: [score for score in scores if score.condition == condition] for condition in CONDITIONS}
    values = {condition: second.total.of(rows) for condition, rows in of.items() if rows}
    opposed = [
        f"{one}-{other}"
        for one, other in COMPARISONS
        if _turned(*(_difference(of[one], of[other], judged) for judged in (first, second)))
    ]
    rank = rank_correlation(_each(scores, first), _each(scores, second))
    return SecondJudge(name, agreement=agreement, rank=rank, opposed=opposed, **values)


def _agreement(pairs: Sequence[tuple[object, object]]) -> float | None:
    return fmean(one == other for one, other in pairs) if pairs else None


def _each(scores: Sequence[Score], measure: Measure) -> list[float]:
    values = (measure.total.of([score]) for score in scores)
    return [0.0 if value is None else value for value in values]


def _difference(one: Sequence[Score], other: Sequence[Score], measure: Measure) -> Estimate | None:
    these, those = parts(one, measure), parts(other, measure)
    return bootstrap.difference(these, those) if these and those else None


def _turned(first: Estimate | None, second: Estimate | None) -> bool:
    if first is None or second is None or first.value * second.value >= 0:
        return False
    return _is_sure(first) or _is_sure(second)


def _is_sure(estimate: Estimate) -> bool:
    return estimate.low is not None and estimate.high is not None and estimate.low * estimate.high > 0
