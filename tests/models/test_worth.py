"""The worth of a line: known gradients give the known order, and what is told to do follows from what was heard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from timbre.core.content import file_sha256
from timbre.core.records import Example, Label
from timbre.families import Losses, Objective, Turn
from timbre.project import worth
from timbre.project.worth import Worth, WorthRow, advised, judged, lines_in, pulls, read_current
from timbre.training.batches import Utterance
from timbre.training.influence import WEIGHTS, Influence, Moment, influences, read_moments


class LinearCourse:
    """Learns a number `w` of pairs: the loss is half the square of w · x − y, and a text is `x y`."""

    name = "linear"

    def __init__(self, start: float = 0.0) -> None:
        self.weight, self.unused = torch.nn.Parameter(torch.tensor([start])), torch.nn.Parameter(torch.zeros(2))
        self.model = torch.nn.ParameterList([self.weight, self.unused])

    @property
    def objectives(self) -> list[Objective]:
        return [Objective("linear", [self.weight, self.unused], self.losses)]

    def exam(self, dialogues: list[list[Turn]]) -> list[tuple[float, float]]:
        return [(float(x), float(y)) for (turn,) in dialogues for x, y in [turn.text.split()]]

    def losses(self, batch: list[tuple[float, float]]) -> Losses:
        errors = torch.stack([(self.weight[0] * x - y) ** 2 / 2 for x, y in batch])
        return Losses(errors.mean(), {})

    def weights(self) -> dict[str, Any]:
        return {"weight": self.weight.detach().clone()}

    def set_weights(self, values: dict[str, Any]) -> None:
        with torch.no_grad():
            self.weight.copy_(values["weight"])


def clip(name: str, text: str) -> Utterance:
    return Utterance(name, "ann", 1.0, Turn(text))


class HeldPair(NamedTuple):
    clips: list[Utterance]
    held: list[Utterance]


PAIRS = HeldPair(
    [clip("agrees", "1 2"), clip("opposes", "1 -2"), clip("silent", "0 5")], [clip("a", "1 1"), clip("b", "2 2")]
)


def test_a_clip_whose_gradient_opposes_the_held_out_sentences_has_a_negative_gain() -> None:
    course: Any = LinearCourse()
    agrees, opposes, silent = influences(course, [Moment(0, None)], *PAIRS)
    # at w = 0 the gradients are -xy: -2 and 2 of the clips, -1 and -4 of the held-out sentences, their mean -2.5
    assert (agrees.gains, opposes.gains, silent.gains) == ([5.0], [-5.0], [0.0])
    assert (agrees.alignments, opposes.alignments, silent.alignments) == ([1.0], [-1.0], [0.0])
    assert (agrees.losses, agrees.norms) == ([2.0], [2.0])
    assert course.model.training is False, "dropout would be noise"


def test_a_small_step_along_a_clip_changes_the_held_out_loss_by_its_gain() -> None:
    rate, held = 1e-3, PAIRS.held
    for one in PAIRS.clips:
        course: Any = LinearCourse(0.3)
        (found,) = influences(course, [Moment(0, None)], [one], held)

        def loss(course: Any = course) -> float:
            return float(course.losses(course.exam([[held_clip.turn] for held_clip in held])).total.detach())

        before = loss()
        (slope,) = torch.autograd.grad(course.losses(course.exam([[one.turn]])).total, [course.weight])
        course.set_weights({"weight": (course.weight - rate * slope).detach()})
        assert before - loss() == pytest.approx(rate * found.gains[0], rel=0.02, abs=1e-9)


def test_moments_are_the_beginning_and_each_adapter_that_differs(tmp_path: Path) -> None:
    adapter, points = tmp_path / "adapter", tmp_path / "points"
    for folder, content in ((points / "000005", b"early"), (points / "000010", b"best"), (adapter, b"best")):
        folder.mkdir(parents=True)
        (folder / WEIGHTS).write_bytes(content)
    (adapter / "training.json").write_text(json.dumps({"best_step": 20}))
    moments = read_moments(adapter, points)
    assert moments == [Moment(0, None), Moment(5, points / "000005" / WEIGHTS), Moment(10, points / "000010" / WEIGHTS)]


def test_a_long_gradient_that_points_elsewhere_is_unusual_and_among_few_none_is() -> None:
    usual = [Influence("", [4.0], [0.1], [0.1 + 0.01 * (place % 5)], [1 + 0.1 * (place % 3)]) for place in range(20)]
    long, against = (Influence("", [4.0], [0.1], *pair) for pair in (([0.1], [2.0]), ([-0.3], [1.0])))
    *others, one, other = pulls([*usual, long, against])
    assert min(one, other) > 1 > max(others)
    assert pulls([*usual[:3], against]) == [0.0] * 4


@pytest.mark.parametrize(
    ("heard", "advice", "told"),
    [
        ("The ferry waits at noon.", "keep", "nothing"),
        ("The ferry waits.", "re-cut", "does not hear “at noon”"),
        ("Then the ferry waits at noon.", "re-cut", "also hears “then”"),
        ("The lighthouse waits at noon.", "correct", "hears “The lighthouse waits at noon.”"),
    ],
)
def test_the_advice_follows_from_what_is_heard(heard: str, advice: str, told: str) -> None:
    text = "The ferry waits at noon."
    chosen, why = advised(text, heard, 0.0 if heard == text else 3.0, 0.0)
    assert chosen == advice
    assert told in why


def test_a_clip_that_is_heard_as_written_but_teaches_something_else_is_to_be_dropped() -> None:
    advice, why = advised("The ferry waits.", "The ferry waits.", 0.0, 1.4)
    assert advice == "drop"
    assert "listen" in why
    assert advised("The ferry waits.", None, 0.0, 1.4)[1].startswith("No label check")


def example(name: str, text: str = "The ferry waits.") -> Example:
    return Example(f"{name}.flac", text, "ann", name, "noon", 1.0, 3.0, 2.0)


def test_the_order_hears_both_witnesses_and_a_label_of_another_text_counts_for_nothing() -> None:
    names = [f"clip{number}" for number in range(12)]
    found = [Influence(name, [4.0], [0.1], [0.2 + 0.01 * place], [1.0]) for place, name in enumerate(names)]
    found[3] = Influence("clip3", [4.0], [-0.4], [-0.4], [1.0])
    examples = {name: example(name) for name in names}
    labels = {name: Label(name, "noon", 1.0, 3.0, "The ferry waits.", "The ferry waits.", 0.0, None) for name in names}
    labels["clip5"] = Label("clip5", "noon", 1.0, 3.0, "The ferry waits.", "The fairy waited.", 0.2, None)
    labels["clip6"] = Label("clip6", "noon", 1.0, 3.0, "An older text.", "The fairy waited.", 0.9, None)
    rows = judged(found, examples, labels)
    assert [row.clip for row in rows[:2]] == ["clip3", "clip5"]
    assert [row.advice for row in rows[:3]] == ["drop", "correct", "keep"]
    (edited,) = (row for row in rows if row.clip == "clip6")
    assert (edited.heard, edited.cer, edited.advice) == (None, None, "keep")


class TranscriptLine(NamedTuple):
    start: float
    end: float
    flag: str
    text: str


def test_of_several_lines_the_one_that_is_heard_otherwise_comes_first() -> None:
    lines = [
        TranscriptLine(0.0, 0.9, "", "Elsewhere."), TranscriptLine(1.0, 1.8, "", "The ferry waits."),
        TranscriptLine(1.9, 2.2, "drop", "Well."), TranscriptLine(2.3, 3.0, "", "Good night."),
    ]  # fmt: skip
    assert lines_in(row_of("The ferry waits. Good light."), lines) == [3, 1]
    assert lines_in(row_of(None), lines) == [1, 3]


def row_of(heard: str | None) -> WorthRow:
    return WorthRow(
        "clip",
        "noon",
        1.0,
        3.0,
        "The ferry waits. Good night.",
        heard,
        None,
        [4.0],
        [0.1],
        [0.1],
        2.0,
        0.0,
        "correct",
        "so",
    )


def test_a_file_of_another_adapter_or_release_is_not_read(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(b"weights")
    path, own = tmp_path / "value.json", file_sha256(tmp_path / WEIGHTS)
    assert read_current(path, tmp_path) is None
    kept = Worth("key", own, [0, 40], [row_of("The ferry waits.")])
    worth.write(path, kept)
    assert read_current(path, tmp_path) == kept
    worth.write(path, Worth("key", "another", [0, 40], []))
    assert read_current(path, tmp_path) is None
    path.write_text('{"key": 1}')
    assert read_current(path, tmp_path) is None
