"""Long text: where it is cut, how long the pauses are, what each sentence hears, and what is spoken again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.paths import ROOT
from timbre.core import params
from timbre.core.errors import DataError
from timbre.families import Turn
from timbre.families.slots import Drawing
from timbre.synthesis.engine import Outcome
from timbre.synthesis.narration import LONGEST, Manner, Narration, passages

REFERENCE = Turn("the reference", {"codes": np.ones((50, 4), np.int16)})
HEARD_BEFORE = 12.0  # seconds
RATE, FRAMES = 1000, 10  # samples and frames per second


def manner(**more: object) -> Manner:
    how = replace(params.read(ROOT / "params.yaml").generate, heard_before=HEARD_BEFORE)
    return Manner(how, Drawing(0.6), 7, None, (REFERENCE,), frame_rate=FRAMES, sample_rate=RATE, **more)  # type: ignore[arg-type]


def outcome(seconds: float, ended: bool = True) -> Outcome:
    codes = {"codes": np.ones((round(seconds * FRAMES), 4), np.int16)}
    return Outcome(np.ones(round(seconds * RATE), np.float32), ended, codes)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("He paid 3.5 euros to Mr. Smith. Then left.", ["He paid 3.5 euros to Mr. Smith.", "Then left."]),
        ('"Why?" she said. "Go!"', ['"Why?" she said.', '"Go!"']),
        ("One... Two! - ?", ["One...", "Two!"]),
    ],
)
def test_a_text_is_cut_where_sentences_end(text: str, cut: list[str]) -> None:
    assert [passage.text for passage in passages(text)] == cut


def test_pauses_are_as_the_text_says() -> None:
    found = passages("One. Two? [pause:1.5s] Three.\n\nFour. [pause:200ms]Five. [pause:99999s] Six.")
    assert [round(passage.pause, 2) for passage in found] == [0, 0.2, 1.75, 0.5, 0.4, 10]
    with pytest.raises(DataError, match="nothing to say"):
        passages("... [pause:1s] !")


def test_a_sentence_without_an_end_is_cut_at_a_comma_or_between_words() -> None:
    for text in ("word, " * 200, "word " * 200, "w" * 1000):
        found = passages(text)
        assert max(len(passage.text) for passage in found) <= LONGEST
        assert "".join("".join(passage.text for passage in found).split()) == "".join(text.split())


def test_each_sentence_hears_the_reference_and_the_last_seconds_before_it() -> None:
    script = Narration(passages("One. Two. Three. Four."), manner())
    first = script.next(None)
    assert first
    assert (first.request.seed, first.request.context) == (7, (REFERENCE,))
    second = script.next(outcome(HEARD_BEFORE / 2))
    assert second
    assert [turn.text for turn in second.request.context] == ["the reference", "One."]
    script.next(outcome(HEARD_BEFORE / 2))
    fourth = script.next(outcome(HEARD_BEFORE / 2))
    assert fourth
    assert [turn.text for turn in fourth.request.context] == ["the reference", "Two.", "Three."]
    assert script.next(outcome(1)) is None
    assert script.cut == []


def test_a_sentence_hears_the_reference_alone_where_no_sentence_before_it_is_to_be_heard() -> None:
    one = manner()
    script = Narration(passages("One. Two."), replace(one, params=replace(one.params, heard_before=0.0)))
    script.next(None)
    second = script.next(outcome(1.0))
    assert second
    assert second.request.context == (REFERENCE,)


def test_a_silent_sentence_is_spoken_again_and_one_that_ran_on_where_nobody_listens_yet() -> None:
    script = Narration(passages("One. Two."), manner())
    script.next(None)
    again = script.next(outcome(0))
    assert again
    assert (again.request.text, again.again) == ("One.", True)
    assert again.request.seed != 7
    following = script.next(outcome(1, ended=False))
    assert following
    assert following.request.text == "Two.", "it was heard already"
    assert [turn.text for turn in following.request.context] == ["the reference"], "what ran on is no example"
    assert script.cut == ["One."]
    whole = Narration(passages("One."), manner(whole=True))
    whole.next(None)
    tries = [whole.next(outcome(1, ended=False)) for _ in range(3)]
    assert [ask is not None for ask in tries] == [True, True, False]
    assert (whole.repeated, whole.cut) == (2, ["One."])
