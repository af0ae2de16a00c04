"""Two judges of the same samples, by known answers: how far they agree, and whose order is turned round."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from timbre.evaluation import metrics, scores
from timbre.evaluation.metrics import CONDITIONS, Evidence, Gate, Metric, SecondJudge
from timbre.evaluation.scores import Score
from timbre.evaluation.second_opinion import second_opinion
from timbre.report import second, tables
from timbre.report.rates import gate_rows

WORDS = 10
ERRORS = {"base": 4, "base_clone": 3, "tuned": 2, "tuned_clone": 0}
LIKE = {"base": 0.1, "base_clone": 0.5, "tuned": 0.6, "tuned_clone": 0.9}


def row(condition: str, place: int, second_errors: int, second_similarity: float | None = None) -> Score:
    errors = ERRORS[condition] + place % 2
    return Score(
        sample=f"{condition}-p{place}-0", condition=condition, prompt=f"p{place}", seed=0, wer=errors / WORDS, cer=0.0,
        errors=errors, words=WORDS, similarity=LIKE[condition] + place / 100, named=LIKE[condition] > 0.4, pace=1.0,
        pauses=0.1, seconds=2.0, ended=True, silent=False, clipped=False, repeated=False, text="The ferry.",
        heard="The ferry.", diff="the ferry", second_heard="the ferry", second_errors=second_errors,
        second_similarity=second_similarity,
        second_named=None if second_similarity is None else second_similarity > 0.4,
    )  # fmt: skip


def rows(second: dict[str, int], like: dict[str, float] | None = None) -> list[Score]:
    return [
        row(name, place, second[name] + place % 2, like and like[name] + place / 100)
        for name in CONDITIONS
        for place in range(20)
    ]


def test_the_same_ear_twice_agrees_on_everything() -> None:
    judged = second_opinion(rows(ERRORS, LIKE), "small.en", "models/other")
    assert (judged["wer"].agreement, judged["similarity"].agreement) == (1.0, 1.0)
    assert judged["wer"].rank == pytest.approx(1.0)
    assert judged["similarity"].rank == pytest.approx(1.0)
    assert judged["wer"].opposed == judged["similarity"].opposed == []
    first = scores.metric([one for one in rows(ERRORS) if one.condition == "tuned"])
    assert judged["wer"].tuned == first.wer
    assert judged["similarity"].tuned == pytest.approx(first.similarity or 0)


def test_nobody_who_was_not_asked_has_an_opinion() -> None:
    assert second_opinion(rows(ERRORS), None, None) == {}
    assert list(second_opinion(rows(ERRORS), "small.en", None)) == ["wer"]
    assert second_opinion(rows(ERRORS), None, "models/other") == {}, "without clips of the speaker nothing is compared"


def test_an_ear_that_hears_the_opposite_is_told_with_the_conditions() -> None:
    turned = {"base": 4, "base_clone": 1, "tuned": 2, "tuned_clone": 3}
    judge = second_opinion(rows(turned), "pocketsphinx", None)["wer"]
    assert judge.opposed == ["tuned_clone-base_clone", "tuned_clone-tuned"]
    assert judge.agreement == pytest.approx(0.875), (
        "of tuned + cloning, every other sample is right by the first ear only"
    )
    assert judge.rank is not None
    assert judge.rank < 0.5
    evidence = Evidence(
        {name: Metric(wer=ERRORS[name] / WORDS) for name in CONDITIONS},
        gates={"words": Gate(True, 0.01, 0.05), "named": Gate(True, 1.0, 0.5)},
        second={"wer": judge},
    )
    words, named = gate_rows(evidence)
    assert words.passed, "a second judge fails no gate"
    assert words.measured.endswith(
        "; pocketsphinx puts tuned + cloning and base + cloning in the other order by wrong words, and one of the two "
        "judges is sure"
    )
    assert "pocketsphinx" not in named.measured
    page = tables.markdown(evidence, [])
    assert "**Judged twice:** wrong words: Base 40.0%, by pocketsphinx 45.0%" in page
    assert page.count("warning: pocketsphinx puts tuned + cloning and") == 2


def test_signs_that_may_both_be_chance_are_no_disagreement() -> None:
    def one(name: str, place: int) -> Score:
        wrong = int(place == (3 if name == "tuned" else 7)) + int(name == "tuned" and place == 5)
        return dataclasses.replace(row(name, place, 0), errors=wrong, second_errors=1 - wrong if place in (5, 6) else 0)

    judge = second_opinion([one(name, place) for name in CONDITIONS for place in range(20)], "small.en", None)["wer"]
    assert judge.opposed == []


def test_what_the_second_judge_says_is_written_and_read_and_nothing_where_there_is_none(tmp_path: Path) -> None:
    judge = SecondJudge("pocketsphinx", 0.4, 0.3, 0.2, 0.1, agreement=0.75, rank=0.5, opposed=["tuned-base"])
    evidence = Evidence({"base": Metric(wer=0.4)}, second={"wer": judge})
    metrics.write(tmp_path / "details.json", evidence)
    assert metrics.read(tmp_path / "details.json").second == {"wer": judge}
    metrics.write(tmp_path / "details.json", dataclasses.replace(evidence, second={}))
    assert "second" not in json.loads((tmp_path / "details.json").read_text())
    assert second.second(dataclasses.replace(evidence, second={})) is None
    assert "judged twice" not in tables.markdown(dataclasses.replace(evidence, second={}), []).lower()


def test_columns_of_a_second_judge_are_in_the_table_only_where_there_is_one(tmp_path: Path) -> None:
    plain = [dataclasses.replace(one, second_heard=None, second_errors=None) for one in rows(ERRORS)]
    scores.write(tmp_path / "scores.csv", plain)
    assert "second_" not in (tmp_path / "scores.csv").read_text()
    scores.write(tmp_path / "scores.csv", rows(ERRORS))
    assert (tmp_path / "scores.csv").read_text().splitlines()[0].endswith(",second_heard,second_errors")
