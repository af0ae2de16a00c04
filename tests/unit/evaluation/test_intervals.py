"""Intervals of 95 % hold the truth in 93 to 97 of 100 cases, at the demo's number of prompts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from timbre.evaluation import bootstrap
from timbre.evaluation.bootstrap import Estimate, TallyPart

PROMPTS = 60
CASES = 1000
Array = np.ndarray
RATES = {  # of sentences of eight words: how many are wrong, and how often
    "most are right": ([0, 1, 2, 4], [0.84, 0.07, 0.05, 0.04]),
    "few are wrong, and then much": ([0, 3], [0.96, 0.04]),
    "some are read quite wrongly": ([0, 1, 8, 12], [0.5, 0.3, 0.15, 0.05]),
}


def held(draw: Callable[[np.random.Generator], tuple[Estimate, float]]) -> float:
    random = np.random.default_rng(7)
    hits = 0
    for _ in range(CASES):
        (_, low, high), truth = draw(random)
        assert low is not None
        assert high is not None
        hits += low <= truth <= high
    return hits / CASES


def errors(random: np.random.Generator, values: list[int], often: list[float], words: Array) -> list[TallyPart]:
    wrong = random.choice(values, size=PROMPTS, p=often)
    return [TallyPart(int(e), int(w)) for e, w in zip(wrong, words, strict=True)]


@pytest.mark.parametrize("rates", RATES)
def test_a_share_of_words(rates: str) -> None:
    values, often = RATES[rates]

    def draw(random: np.random.Generator) -> tuple[Estimate, float]:
        words = np.full(PROMPTS, 8)
        return bootstrap.share(errors(random, values, often, words)), float(np.dot(values, often)) / 8

    assert 0.93 <= held(draw) <= 0.97


def test_a_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "DRAWS", 500)

    def draw(random: np.random.Generator) -> tuple[Estimate, float]:
        similarity = random.beta(8, 2, size=PROMPTS)  # near its end, as similarity is
        return bootstrap.estimate([TallyPart(float(x), 1) for x in similarity]), 0.8

    assert 0.93 <= held(draw) <= 0.97


def test_a_difference_of_two_conditions_over_the_same_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "DRAWS", 500)

    def draw(random: np.random.Generator) -> tuple[Estimate, float]:
        hard = random.random(PROMPTS) < 0.3  # what both find hard
        sides = []
        for rate in (0.10, 0.16):
            wrong = random.binomial(8, np.where(hard, 3 * rate, rate / 7))
            sides.append([TallyPart(int(e), 8) for e in wrong])
        truth = [0.3 * 3 * rate + 0.7 * rate / 7 for rate in (0.10, 0.16)]
        return bootstrap.difference(*sides), truth[0] - truth[1]

    assert 0.93 <= held(draw) <= 0.97


def test_no_error_at_all_is_no_certainty() -> None:
    none = [TallyPart(0, 8)] * PROMPTS
    _, low, high = bootstrap.share(none)
    assert low == 0
    assert high is not None
    assert 0.01 < high < 0.03
