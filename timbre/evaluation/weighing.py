"""From scores to what reports/details.json holds: rates, differences and gates, of one speaker or of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from timbre.core.sections import GateParams
from timbre.evaluation import gates, preferences, scores
from timbre.evaluation.metrics import Evidence, SecondJudge, Speaker
from timbre.evaluation.preferences import Judged
from timbre.evaluation.scores import Score

NO_JUDGES: Mapping[str, SecondJudge] = {}


class JudgedSpeaker(NamedTuple):
    rows: list[Score]
    own: Speaker  # the scale that the rows are read on
    reference: float | None  # share of the cloned clips that are named as the speaker


def weigh(
    rows: Sequence[Score],
    own: Speaker,
    reference: float | None,
    leaks: int,
    limits: GateParams,
    people: Judged = preferences.NOBODY,
    judges: Mapping[str, SecondJudge] = NO_JUDGES,
) -> Evidence:
    evidence = Evidence(
        *scores.summarise(rows),
        own,
        preferences=people.preferences,
        heard=people.conditions,
        listeners=people.listeners,
        second=dict(judges),
    )
    return replace(evidence, gates=gates.judge(evidence, reference, leaks, limits))


def weigh_all(
    judged: Mapping[str, JudgedSpeaker], rows: Sequence[Score], leaks: int,
    limits: GateParams, people: Judged, judges: Mapping[str, SecondJudge],
) -> Evidence:  # fmt: skip
    """Of one speaker, or of several: each, and all together."""
    if len(judged) == 1:
        (only,) = judged.values()
        return weigh(rows, only.own, only.reference, leaks, limits, people, judges)
    each = {name: weigh(one.rows, one.own, one.reference, leaks, limits) for name, one in judged.items()}
    mean = Speaker.mean(one.own for one in judged.values())
    together = weigh(rows, mean, None, leaks, limits, people, judges)
    return replace(together, gates=gates.of_all(each, together, leaks, limits), speakers=each)
