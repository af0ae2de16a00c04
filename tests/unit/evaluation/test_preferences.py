"""Listeners with a known preference are found, those who guess are named, and intervals hold the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.support import listening
from tests.support.listening import BAD, GOOD, OTHER, guesses, likes
from timbre.core.records import ListeningAnswer
from timbre.core.sections import GateParams
from timbre.evaluation import gates, metrics, preferences
from timbre.evaluation.metrics import Difference, Evidence, Metric, Preference
from timbre.evaluation.preferences import HeardSound, Judged, Vote
from timbre.evaluation.scores import Score
from timbre.project.listening_tests import ListeningTest
from timbre.web.compare.planning import ComparedVoice, plan

PROMPTS = 16
TEXTS = {f"p{number}": "A sentence." for number in range(PROMPTS)}
SCORE = Score("s", "base", "p0", 0, 0.0, 0.0, 0, 4, 0.5, True, 1.0, 0.1, 2.0, True, False, False, False, "t", "h", "d")


def condition(voice: str) -> str:
    return voice.partition("@")[0]


def known(compared: Sequence[ComparedVoice]) -> dict[str, HeardSound]:
    return {
        sound: HeardSound(condition(voice.key), prompt) for voice in compared for prompt, sound in voice.sounds.items()
    }


def heard(
    answers: Mapping[str, Sequence[ListeningAnswer]], voices: Sequence[str] = (GOOD, BAD), scores: Sequence[Score] = ()
) -> Judged:
    compared, _ = listening.made_up(PROMPTS, voices)
    return preferences.judge(answers, known(compared), scores)


def a_test(kind: str = "ab", voices: Sequence[str] = (GOOD, BAD), seed: int = 0) -> ListeningTest:
    compared, _ = listening.made_up(PROMPTS, voices)
    truths = {prompt: f"{number:016x}" for number, prompt in enumerate(TEXTS)}
    return plan(kind, compared, TEXTS, truths, PROMPTS * len(voices), seed)


def test_a_listener_with_a_known_preference_is_found() -> None:
    judged = heard({"ann": listening.answered(a_test(), likes(GOOD))})
    found = judged.preferences["tuned_clone-base_clone"]
    assert (found.share, found.answers, found.listeners) == (1.0, PROMPTS, 1)
    assert found.share_low is not None
    assert 0.7 < found.share_low < 1
    assert judged.listeners["ann"].reliable
    other_way = heard({"ann": listening.answered(a_test(), likes(BAD))}).preferences["tuned_clone-base_clone"]
    assert other_way.share == 0
    assert other_way.share_high == pytest.approx(1 - found.share_low)


@pytest.mark.parametrize("kind", ["ab", "abx", "rating"])
def test_a_listener_who_guesses_is_named_and_counts_for_nothing(kind: str) -> None:
    test = a_test(kind)
    careful = listening.answered(test, likes(GOOD))
    records = [preferences.record(listening.answered(test, guesses(seed))) for seed in range(40)]
    assert sum(record.reliable for record in records) <= 4, "one of twenty may be lucky"
    judged = heard({"ann": careful, "rob": listening.answered(test, guesses(0))})
    assert "catch trials as expected" in judged.listeners["rob"].why
    alone = heard({"ann": careful})
    assert (judged.preferences, judged.conditions) == (alone.preferences, alone.conditions)


def test_who_ended_after_a_few_trials_is_not_relied_on() -> None:
    few = listening.answered(a_test(), likes(GOOD))[:3]
    assert preferences.record(few).why.endswith("too few to tell listening from guessing")


def test_abx_tells_whether_they_can_be_told_apart() -> None:
    found = heard({"ann": listening.answered(a_test("abx"), likes(GOOD))}).preferences["tuned_clone-base_clone"]
    assert (found.share, found.apart) == (None, 1.0)
    assert found.apart_low is not None
    assert found.apart_low > 0.5


def test_ratings_are_of_each_condition_and_three_have_a_strength() -> None:
    voices = (GOOD, BAD, OTHER)
    judged = heard({"ann": listening.answered(a_test("rating", voices), likes(GOOD))}, voices)
    assert {name: one.rating for name, one in judged.conditions.items()} == {
        "tuned_clone": 80,
        "base_clone": 40,
        "tuned": 40,
    }
    judged = heard({"ann": listening.answered(a_test("ab", voices), likes(GOOD))}, voices)
    strengths = {name: one.strength or 0 for name, one in judged.conditions.items()}
    assert strengths["tuned_clone"] > 0.85
    assert strengths["base_clone"] == pytest.approx(strengths["tuned"])


def test_answers_about_sounds_of_another_version_do_not_count() -> None:
    answers = listening.answered(a_test(), likes(GOOD))
    old = [replace(answer, first_sound="f" * 16) for answer in answers if not answer.is_catch]
    assert heard({"ann": [*old, *(answer for answer in answers if answer.is_catch)]}).preferences == {}


def test_agreement_with_the_machine_is_a_rank_correlation() -> None:
    answers = listening.answered(a_test(), likes(GOOD))
    order = sorted(TEXTS)
    mixed = [
        replace(a, answer={"first": "second", "second": "first"}[a.answer])
        if a.answer != "neither" and not a.is_catch and order.index(a.prompt) < 8
        else a
        for a in answers
    ]
    scores = [
        replace(
            SCORE,
            condition=name,
            prompt=prompt,
            wer=0.1,
            similarity=0.5 + (place if name == "tuned_clone" else 0) / 100,
        )
        for place, prompt in enumerate(order)
        for name in ("tuned_clone", "base_clone")
    ]
    found = heard({"ann": mixed}, scores=scores).preferences["tuned_clone-base_clone"]
    assert found.with_similarity == pytest.approx(0.866, abs=0.01)
    assert found.with_words is None, "no sentence differs in wrong words"


@pytest.mark.parametrize("truth", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("listeners", [1, 6])
def test_intervals_hold_the_truth(truth: float, listeners: int) -> None:
    """By simulation: sentences differ in how clear the preference is, and so do listeners."""
    chance = np.random.default_rng(0)
    held, draws, prompts = 0, 250, 24
    for _ in range(draws):
        clear = np.clip(truth + chance.uniform(-0.1, 0.1, prompts), 0, 1)
        votes = [
            Vote(f"l{who}", f"p{place}", float(chance.random() < clear[place]))
            for who in range(listeners)
            for place in range(prompts)
        ]
        _, low, high = preferences.share(votes)
        assert low is not None
        assert high is not None
        held += low <= truth <= high
    assert 0.92 <= held / draws <= 1


@pytest.mark.parametrize(
    ("limit", "low", "passed"), [(None, None, None), (0.5, None, False), (0.5, 0.45, False), (0.5, 0.55, True)]
)
def test_the_gate_asks_for_the_lower_end(limit: float | None, low: float | None, passed: bool | None) -> None:
    limits = GateParams(words=1, similarity=0, named=0, reference=0, ends=0, leakage=0, preferred=limit)
    names = ("tuned_clone-base_clone", "tuned_clone-base")
    evidence = Evidence(
        {name: Metric() for name in metrics.CONDITIONS},
        {name: Difference() for name in names},
        preferences={} if low is None else {names[0]: Preference(0.7, low, 0.8)},
    )
    judged = gates.judge(evidence, None, 0, limits)
    assert (judged["preferred"].passed if "preferred" in judged else None) is passed


def test_what_people_said_is_written_and_read_again(tmp_path) -> None:  # type: ignore[no-untyped-def]
    judged = heard({"ann": listening.answered(a_test(), likes(GOOD)), "rob": []})
    evidence = Evidence(preferences=judged.preferences, heard=judged.conditions, listeners=judged.listeners)
    metrics.write(tmp_path / "metrics.json", evidence)
    again = metrics.read(tmp_path / "metrics.json")
    assert again.listeners == evidence.listeners
    assert again.preferences.keys() == evidence.preferences.keys()
