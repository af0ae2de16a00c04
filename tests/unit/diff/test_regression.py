"""The regression check with known answers: harm is shown only where it is there, and few sentences show none."""

from __future__ import annotations

import dataclasses
import random

import pytest

from tests.support.git_histories import page
from tests.support.git_history import Voice
from timbre.diff import regression
from timbre.diff.regression import PreferredShare, RegressionCheck, checks, failure
from timbre.diff.render import render
from timbre.evaluation.score_rows import ScoreRow

WORDS = 8  # of each sentence


def version(
    sentences: int, wrong: float, similarity: float = 0.9, seconds: float = 3.0, seed: int = 0
) -> dict[str, ScoreRow]:
    """A voice that gets that share of words wrong, each by chance."""
    chance = random.Random(seed)
    rows = {}
    for number in range(sentences):
        errors = sum(chance.random() < wrong for _ in range(WORDS))
        heard = similarity + chance.gauss(0, 0.03)
        text = f"Sentence {number}."
        row = ScoreRow(
            f"tuned_clone-{number}-0", "tuned_clone", str(number), 0, errors / WORDS, errors, WORDS, text,
            "", heard, {}, "", seconds * (1 + number % 3),
        )  # fmt: skip
        rows[row.sample] = row
    return rows


def outcomes(found: list[RegressionCheck]) -> dict[str, str]:
    return {check.name: check.outcome for check in found}


def test_the_same_version_passes_and_says_nothing_of_itself() -> None:
    voice = version(60, 0.05)
    assert list(checks(voice, voice)) == []
    renamed = {name: dataclasses.replace(row, heard="another text") for name, row in voice.items()}
    found = list(checks(voice, renamed))
    assert outcomes(found) == dict.fromkeys(("words", "similarity", "length"), "no harm shown")
    assert all(check.change == check.low == check.high == 0 for check in found)


@pytest.mark.parametrize(
    ("worse", "name"),
    [({"wrong": 0.3}, "words"), ({"similarity": 0.8}, "similarity"), ({"seconds": 3.6}, "length")],
)
def test_a_worse_version_fails_by_what_is_worse(worse: dict[str, float], name: str) -> None:
    old = version(60, 0.05)
    found = list(checks(old, version(60, **({"wrong": 0.05} | worse), seed=1)))
    assert [check.name for check in found if check.outcome == "harm"] == [name]
    better = list(checks(version(60, **({"wrong": 0.05} | worse), seed=1), old))
    assert "harm" not in outcomes(better).values(), "an improvement is no harm"


def test_few_sentences_pass_with_a_note_however_bad_they_are() -> None:
    found = list(checks(version(6, 0.0), version(6, 0.9, similarity=0.1)))
    assert outcomes(found) == dict.fromkeys(("words", "similarity", "length"), "too few to tell")
    assert found[0].compared == 6


def test_equal_voices_are_seldom_called_harmful() -> None:
    called = 0
    for seed in range(200):
        found = checks(version(60, 0.08, seed=2 * seed), version(60, 0.08, seed=2 * seed + 1))
        called += any(check.outcome == "harm" for check in found)
    assert called <= 2, "the margin and the interval both have to be passed"


def test_only_the_sentences_that_both_spoke_are_compared() -> None:
    old, new = version(40, 0.05), version(60, 0.05)
    new |= {name: dataclasses.replace(row, text="Another sentence.") for name, row in list(new.items())[:10]}
    assert {check.compared for check in checks(old, new)} == {30}
    assert list(checks({}, new)) == []


@pytest.mark.parametrize(
    ("share", "outcome"),
    [
        (PreferredShare(0.2, 0.1, 0.35, 40), "harm"),
        (PreferredShare(0.4, 0.3, 0.52, 40), "no harm shown"),
        (PreferredShare(0.0, 0.0, 0.3, 6), "too few to tell"),
    ],
)
def test_what_people_prefer_counts_too(share: PreferredShare, outcome: str) -> None:
    (check,) = checks({}, {}, share)
    assert (check.name, check.outcome) == ("preferred", outcome)


def test_a_failure_says_what_is_asked_and_what_was_measured() -> None:
    check = RegressionCheck("words", "wrong words rise by no more than 2% of all", 0.1, 0.05, 0.15, 60, "harm")
    assert failure(check) == (
        "the voice is worse than before: it is asked that wrong words rise by no more than 2% of all, "
        "and measured is +10.0% (+5.0% to +15.0%)"
    )
    assert regression.shown(dataclasses.replace(check, name="similarity", change=-0.05, low=None)) == "−0.050"


def test_the_report_shows_the_check_and_check_fails_on_harm(history: Voice) -> None:
    found = [RegressionCheck("words", "asked", 0.1, 0.05, 0.15, 60, "harm"), *few()]
    made = page(history.root, "main~1", "main")
    made = dataclasses.replace(made, report=dataclasses.replace(made.report, regression=found))
    text = render(made, "markdown")
    assert "| <code>words</code> | asked | +10.0% (+5.0% to +15.0%) | 60 sentences | **HARM** |" in text
    assert "too few to tell" in text
    assert [line for line in made.report.failures if "worse than before" in line] == [failure(found[0])]


def few() -> list[RegressionCheck]:
    return list(checks(version(6, 0.0), version(6, 0.9)))
