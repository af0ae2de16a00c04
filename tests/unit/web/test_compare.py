"""A listening test: what stands beside what, how loud it is, and who may ask for it."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support import listening
from tests.support.listening import BAD, GOOD, OTHER
from tests.support.review_client import Client, running
from timbre.audio.loudness import loudness
from timbre.core.errors import DataError
from timbre.core.records import SPOILT
from timbre.project import opinions
from timbre.web.compare.matched_sounds import matched
from timbre.web.compare.planning import plan
from timbre.web.compare.routes import compare_server

TEXTS = {f"p{number}": "A sentence." for number in range(40)}


@pytest.fixture
def client(project: Path) -> Iterator[Client]:
    with running(compare_server(listening.sitting())) as server:
        yield Client(server)


def test_pairs_are_in_random_order_and_catch_trials_lie_between_them() -> None:
    compared, _ = listening.made_up(40, (GOOD, BAD, OTHER))
    test = plan("ab", compared, TEXTS, {}, 24, seed=1)
    catches = [
        number
        for number, screen in enumerate(test.screens)
        if screen.stimuli[0] == screen.stimuli[1] or SPOILT in (one.voice for one in screen.stimuli)
    ]
    pairs = Counter(frozenset(one.voice for one in screen.stimuli) for screen in test.screens)
    assert len(test.screens) == 30
    assert [pairs[frozenset(pair)] for pair in ((GOOD, BAD), (GOOD, OTHER), (BAD, OTHER))] == [8, 8, 8]
    assert len(catches) == 6
    assert catches[0] > 0
    assert any(number < 15 for number in catches)
    assert any(number >= 15 for number in catches)
    first = Counter(screen.stimuli[0].voice for screen in test.screens if GOOD in {s.voice for s in screen.stimuli})
    assert first[GOOD] not in (0, 16), "either comes first"
    assert plan("ab", compared, TEXTS, {}, 24, seed=1).screens == test.screens
    assert plan("ab", compared, TEXTS, {}, 24, seed=2).screens != test.screens


def test_a_sentence_that_sounds_the_same_in_both_is_no_trial() -> None:
    compared, _ = listening.made_up(3)
    with pytest.raises(DataError, match="nothing to compare"):
        plan("ab", [compared[0], compared[0]], TEXTS, {}, 3, seed=0)
    with pytest.raises(DataError, match=r"generate\.true_prompts"):
        plan("rating", compared, TEXTS, {}, 3, seed=0)


def test_sounds_of_a_screen_are_equally_loud_and_none_is_clipped() -> None:
    contents = [(listening.tone(200, level), spoil) for level, spoil in ((0.02, False), (0.9, False), (0.3, True))]
    sounds = [soundfile.read(io.BytesIO(content)) for content in matched(contents)]
    levels = [loudness(np.asarray(samples, np.float32), rate) for samples, rate in sounds]
    assert all(level is not None for level in levels)
    assert np.ptp(np.asarray(levels, np.float64)) < 0.1
    assert max(np.abs(samples).max() for samples, _ in sounds) < 0.9


def test_the_server_gives_sounds_by_names_that_say_nothing_and_takes_each_answer_once(client: Client) -> None:
    screen = client.ask("api/trial/1").value
    assert client.ask(f"sound/{screen['sounds'][0]}").body[:4] == b"fLaC"
    assert client.ask("sound/0000").status == 404
    assert client.ask("api/trial/99").status == 422
    assert client.ask("api/test", token="another").status == 403
    body = {"trial": 1, "answer": "first", "seconds": 2.0}
    assert client.ask("api/answer", body, headers={"Origin": "http://evil.example"}).status == 403
    assert client.ask("api/answer", body | {"answer": "A"}).status == 422
    assert client.ask("api/answer", body | {"voice": GOOD}).status == 400
    assert client.ask("api/answer", body).value == {"left": 8}
    assert client.ask("api/answer", body).value == {"error": "trial 1 has an answer already"}
    assert client.ask("api/answer", body | {"trial": 2, "seconds": float("nan")}).value == {"left": 7}
    assert [(row.trial, row.seconds) for row in opinions.read()["ann"]] == [(1, 2.0), (2, 0.0)]
