"""Intervals that hold what they promise, and pairs that take out what both share."""

from __future__ import annotations

import numpy as np
import pytest

from timbre.evaluation import bootstrap
from timbre.evaluation.bootstrap import Tally, TallyPart

SIMULATIONS = 200
PROMPTS, SEEDS, WORDS = 14, 2, 8


def spoken(random: np.random.Generator, rates: np.ndarray, hardness: np.ndarray) -> list[list[TallyPart]]:
    """Conditions that read the same prompts, some of which are hard for all: word errors by chance around a rate."""
    return [
        [
            TallyPart(float(random.binomial(SEEDS * WORDS, np.clip(rate * hard, 0, 1))), SEEDS * WORDS)
            for hard in hardness
        ]
        for rate in rates
    ]


@pytest.mark.parametrize(("what", "truth"), [("rate", 0.2), ("difference", 0.05)])
def test_an_interval_covers_the_truth_in_about_95_of_100_cases(what: str, truth: float) -> None:
    random, covered = np.random.default_rng(5), 0
    for _ in range(SIMULATIONS):
        hardness = random.gamma(4, 0.25, PROMPTS)  # mean 1: the rate over all prompts there could be is `rates`
        first, second = spoken(random, np.array([0.2, 0.15]), hardness)
        found = bootstrap.estimate(first) if what == "rate" else bootstrap.difference(first, second)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
    assert 0.91 <= covered / SIMULATIONS <= 0.985, covered  # 95 % ± 2.6 standard deviations of 200 tries


def test_a_rate_weighs_each_word_the_same() -> None:
    assert bootstrap.estimate([TallyPart(1, 1), TallyPart(0, 9)]).value == pytest.approx(0.1)


def test_the_same_parts_give_the_same_interval_and_one_prompt_gives_none() -> None:
    parts = [TallyPart(1, 8), TallyPart(0, 5), TallyPart(4, 9)]
    assert bootstrap.estimate(parts) == bootstrap.estimate(list(parts))
    assert bootstrap.estimate(parts[:1]) == (1 / 8, None, None)


def test_what_is_hard_for_both_does_not_widen_their_difference() -> None:
    hard = [TallyPart(float(n), 10) for n in range(10)]
    other = [TallyPart(part.total + (n % 2), 10) for n, part in enumerate(hard)]
    apart, paired = bootstrap.estimate(hard), bootstrap.difference(other, hard)
    assert apart.low is not None
    assert apart.high is not None
    assert paired.low is not None
    assert paired.high is not None
    assert paired.value == pytest.approx(0.05)
    assert paired.high - paired.low < (apart.high - apart.low) / 3
    assert bootstrap.difference(hard, hard) == (0, 0, 0)


def test_wins_ties_and_losses_are_counted_by_prompt_whatever_their_length() -> None:
    assert bootstrap.tally(
        [TallyPart(1, 8), TallyPart(2, 4), TallyPart(3, 8)], [TallyPart(2, 8), TallyPart(4, 8), TallyPart(1, 8)]
    ) == Tally(1, 1, 1)
