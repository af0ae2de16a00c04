"""The order of what is learnt: which clips share a batch, which stand after a reference, how fast is learnt."""

from __future__ import annotations

import dataclasses
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.support.batch_orders import course, told, utterance
from tests.support.training_root import PARAMS
from timbre.core.errors import DataError
from timbre.families.codes import StoredCodes, frames, to_bytes
from timbre.training.schedule import asked, learning_rate


def test_an_epoch_holds_every_clip_once_and_a_share_of_them_after_a_reference() -> None:
    seconds = np.random.default_rng(0).uniform(5, 30, 201)
    clips = [utterance(str(i), "ann", s) for i, s in enumerate(seconds)]
    batches = told(course(clips))
    assert Counter(talk[-1] for batch in batches for talk in batch) == Counter(str(i) for i in range(201))
    assert [len(batch) for batch in batches].count(4) == 50
    assert 0.6 < np.mean([len(talk) == 2 for batch in batches for talk in batch]) < 0.9
    assert told(course(clips)) == batches
    assert told(course(clips), 1) != batches
    later = course(clips)
    assert [[t.text for t in talk] for talk in later.dialogues(later.batches * 2 + 5)] == told(course(clips), 2)[5]


def test_speakers_with_equal_shares_are_heard_as_often_as_the_one_with_most_clips() -> None:
    clips = [
        utterance(f"{name}{n}", name, 6) for name, count in (("ann", 20), ("bob", 7), ("eve", 1)) for n in range(count)
    ]
    order = course(clips, share=0.0, equal=True)
    epochs = [[talk[-1] for batch in told(order, epoch) for talk in batch] for epoch in (0, 1)]
    for heard in epochs:
        times = Counter(heard)
        assert Counter(name[:3] for name in heard) == {"ann": 20, "bob": 20, "eve": 20}
        assert [times[f"ann{n}"] for n in range(20)] == [1] * 20
        assert sorted(times[f"bob{n}"] for n in range(7)) == [2] + [3] * 6
    assert Counter(epochs[0]) != Counter(epochs[1])  # another of Bob's clips comes only twice
    assert order.batches == 15
    assert order.positions == 4 * order.voice.length([clips[0].turn])
    alone = [clip for clip in clips if clip.speaker == "ann"]
    assert told(course(alone, equal=True)) == told(course(alone))


def test_the_usual_shares_are_in_no_key_and_others_are() -> None:
    before = {name: value for name, value in asked(PARAMS).items() if name != "speakers"}
    assert asked(PARAMS) == before
    assert asked(dataclasses.replace(PARAMS, speakers="equal")) == {**before, "speakers": "equal"}


def test_few_positions_are_padding() -> None:
    seconds = np.random.default_rng(0).triangular(5, 24, 30, 201)
    clips = [utterance(str(i), "ann", s) for i, s in enumerate(seconds)]
    size = {clip.turn.text: len(clip.turn.codes["codes"]) for clip in clips if clip.turn.codes is not None}
    batches = [[sum(size[turn] for turn in talk) for talk in batch] for batch in told(course(clips, batch=8))]
    assert sum(map(sum, batches)) > 0.9 * sum(max(batch) * len(batch) for batch in batches)


def test_the_learning_rate_rises_over_the_warm_up_and_falls_to_a_twentieth() -> None:
    rates = [learning_rate(step, 100, dataclasses.replace(PARAMS, warmup=10)) for step in range(1, 101)]
    assert rates[0] == pytest.approx(PARAMS.learning_rate / 10)
    assert max(rates) == rates[9] == PARAMS.learning_rate
    assert rates[-1] == pytest.approx(PARAMS.learning_rate / 20)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert learning_rate(1, 100, dataclasses.replace(PARAMS, warmup=0)) <= PARAMS.learning_rate


def test_a_reference_is_another_clip_of_the_same_speaker_that_fits() -> None:
    mine, fits = utterance("a", "ann", 3), utterance("b", "ann", 5)
    clips = [mine, fits, utterance("c", "bob", 5), utterance("d", "ann", 20), utterance("e", "ann", 15, frames=2030)]
    for seed in range(5):
        talks = {talk[-1]: talk[:-1] for batch in told(course(clips, share=1.0, seed=seed)) for talk in batch}
        assert talks.pop("d") in (["a"], ["b"])
        assert talks == {"a": ["b"], "b": ["a"], "c": [], "e": []}
    assert all(len(talk) == 1 for batch in told(course(clips, share=0.0)) for talk in batch)


def test_codes_stay_on_the_disk_until_a_batch_is_made(tmp_path: Path) -> None:
    arrays = {"codes": np.arange(20, dtype=np.int16).reshape(10, 2), "latents": np.ones((2, 3), np.float32)}
    path = tmp_path / "0123456789abcdef.safetensors"
    path.write_bytes(to_bytes(arrays))
    stored = StoredCodes(path)
    assert (frames(stored), set(stored)) == (10, set(arrays))
    path.write_bytes(to_bytes(arrays | {"codes": arrays["codes"] + 1}))
    assert (stored["codes"] == arrays["codes"] + 1).all(), "nothing was read before"
    assert "phones" not in stored
    opening = StoredCodes(path, 4)
    assert (frames(opening), opening["codes"].shape) == (4, (4, 2))
    sent = pickle.loads(pickle.dumps(opening))  # to a machine that has no such file
    assert type(sent) is dict
    assert (sent["codes"] == opening["codes"]).all()
    path.unlink()
    with pytest.raises(DataError, match=r"0123456789abcdef: no codes of this clip in .*dvc repro encode"):
        stored["codes"]
