"""Continuous batching on a random CSM: a sentence comes out the same whoever shares the batch."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.tiny_models import CODEBOOK_SIZE, CODEBOOKS, WORDS, random_csm, write_random_adapter
from tests.support.waiting import until
from timbre import families
from timbre.core.errors import EngineError, ModelError
from timbre.core.sections import VoiceParams
from timbre.families import Audio, Request, Speaking, Turn
from timbre.families.csm import slots
from timbre.families.csm.decode import Decoder
from timbre.families.lora_rows import RowAdapters
from timbre.families.slots import Drawing, Slots, StreamSlots, open_slots
from timbre.synthesis.engine import Ask, Engine, OneSentence, QueueFull, SpokenPart, spoken

REFERENCE = Turn(
    "green train",
    {"codes": np.random.default_rng(0).integers(1, CODEBOOK_SIZE, (9, CODEBOOKS)).astype(np.int16)},
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = random_csm(tmp_path_factory.mktemp("csm") / "base")
    return families.load(VoiceParams("csm", str(folder), None))


@pytest.fixture(scope="module")
def adapters(base: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two adapters that change the voice a lot; one has a smaller rank."""
    base_folder, made = Path(base.base.config._name_or_path), {}
    for number, rank in enumerate((8, 4)):
        folder = tmp_path_factory.mktemp("adapters") / f"voice-{number}"
        made[folder.name] = write_random_adapter(base_folder, folder, number, rank)
    return made


def asks(count: int = 8) -> list[Ask]:
    """Different texts, seeds, temperatures, references and adapters."""
    ways = [Drawing(0.8), Drawing(0.0), Drawing(1.2, top_k=5), Drawing(0.9, top_p=0.5)]
    return [
        Ask(
            Request(" ".join(WORDS[: 1 + i % 5]), (REFERENCE,) if i % 3 == 1 else (), i, 0.4 + 0.2 * (i % 4)),
            ways[i % 4],
            [None, "voice-0", "voice-1"][i % 3],
        )
        for i in range(count)
    ]


def said(engine: Engine, ask: Ask) -> Audio:
    return np.concatenate([*spoken(engine, OneSentence(ask)), np.zeros(0, np.float32)])


@pytest.fixture
def engine(base: Any, adapters: dict[str, Path]) -> Any:
    engine = Engine(lambda: open_slots(base, 4, adapters), waiting=16)
    engine.wait_until_ready()
    yield engine
    engine.close()


def test_eight_callers_at_once_hear_what_each_hears_alone(engine: Engine) -> None:
    alone = [said(engine, ask) for ask in asks()]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda ask: said(engine, ask), asks()))
    assert all(len(sound) for sound in alone)
    assert [one.tobytes() for one in together] == [one.tobytes() for one in alone]
    assert len({one.tobytes() for one in alone}) == 8


def test_a_slot_with_an_adapter_says_what_the_merged_voice_says(
    base: Any, adapters: dict[str, Path], engine: Engine
) -> None:
    for name in adapters:
        ask = Ask(Request("the ferry to Oslo", (REFERENCE,), 3, 1.0), Drawing(0.0), name)
        tuned = families.load(VoiceParams("csm", base.base.config._name_or_path, None), adapters[name])
        expected = np.concatenate(list(tuned.stream(ask.request, Speaking(0.0, 0, 1))))
        mine = said(engine, ask)
        assert mine.shape == expected.shape
        assert np.abs(mine - expected).max() < 1e-4 * np.abs(expected).max()


def test_matrices_of_rows_and_of_voices_say_the_same(
    base: Any, adapters: dict[str, Path], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows have matrices of their own on a GPU; here they are asked for on a CPU."""
    monkeypatch.setattr(slots, "RowAdapters", partial(RowAdapters, own=True))
    rows = Engine(lambda: open_slots(base, 4, adapters), waiting=16)
    rows.wait_until_ready()
    alone = [said(rows, ask) for ask in asks()]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda ask: said(rows, ask), asks()))
    assert [one.tobytes() for one in together] == [one.tobytes() for one in alone]
    for ask, sound in zip(asks(), alone, strict=True):
        assert np.abs(sound - said(engine, ask)).max() < 1e-4 * np.abs(sound).max()
    rows.close()


def test_a_voice_costs_products_only_while_it_speaks(base: Any, adapters: dict[str, Path]) -> None:
    made = slots.CsmSlots(base, 2, adapters)
    made.admit(0, Request("ferry", (), 0, 0.08), Drawing(0.8), "voice-0")
    made.admit(1, Request("ferry", (), 0, 0.2), Drawing(0.8), "voice-1")
    assert set(made.adapters.busy.masks) == {"voice-0", "voice-1"}
    while 0 in made.sentences:
        list(made.step())
    assert made.adapters.busy.masks == {"voice-1": None}, "all that are busy, so nothing is masked"
    made.free(1)
    assert not made.adapters.busy.masks


def ends_often(decoder: Decoder, frame: Any) -> bool:
    return bool(frame[0] % 9 == 0)


def heard_by_each(made: slots.CsmSlots, plan: list[tuple[int, int, Ask]], left: set[int]) -> dict[int, list[Any]]:
    """What those of a plan (step, slot, ask) hear: sounds, whether they ended, codes. Some leave after three steps."""
    heard: dict[int, list[Any]] = {number: [] for number in range(len(plan))}
    speaking: dict[int, int] = {}  # slot → number
    steps = Counter[int]()
    for step in range(400):
        for slot, number in list(speaking.items()):
            if number in left and steps[number] == 3:
                made.free(slot)
                del speaking[slot]
        for number, (begins, slot, ask) in enumerate(plan):
            if begins <= step and slot not in speaking and not steps[number]:
                made.admit(slot, ask.request, ask.how, ask.adapter)
                speaking[slot] = number
        for number in speaking.values():
            steps[number] += 1
        for piece in made.step():
            number = speaking[piece.slot]
            heard[number].append((piece.sound.tobytes(), piece.ended, piece.codes and piece.codes["codes"].tolist()))
            if piece.over:
                del speaking[piece.slot]
    assert not speaking
    assert len(steps) == len(plan)
    return heard


def test_a_frame_that_is_computed_ahead_changes_no_sentence_whoever_comes_ends_or_leaves(
    base: Any, adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a GPU does it. Sentences share slots with those before them, which ended by themselves, by the cap or were
    left, each while a frame of theirs was under way."""
    monkeypatch.setattr(Decoder, "is_end", ends_often)
    plan = [(2 * (i // 3), i % 3, ask) for i, ask in enumerate(asks(16))]
    left = {2, 7}
    waiting = slots.CsmSlots(base, 3, adapters)
    assert not waiting.decoder.ahead, "a CPU waits for each frame"
    expected = heard_by_each(waiting, plan, left)
    assert waiting.ahead is None
    made, gone = slots.CsmSlots(base, 3, adapters), Counter[bool]()
    made.decoder.ahead = True
    still_speaking = made._still_speaking

    def asked(frame: Any) -> Any:
        speaking = still_speaking(frame)
        gone[len(speaking) < len(frame.sentences)] += 1
        return speaking

    monkeypatch.setattr(made, "_still_speaking", asked)
    found = heard_by_each(made, plan, left)
    for number in range(len(plan)):
        mine, right = ([b"".join(part[0] for part in one[number]), one[number][-1][1:]] for one in (found, expected))
        if number in left:  # a step later it has heard a frame less
            assert right[0].startswith(mine[0])
        else:
            assert mine == right
    assert gone[True] > 5, "a frame under way was of somebody who was gone"
    assert made.ahead is None or not still_speaking(made.ahead)
    ends = Counter(expected[number][-1][1] for number in range(len(plan)) if number not in left)
    assert ends[True] > 2
    assert ends[False] > 2
    alone = slots.CsmSlots(base, 3, adapters)
    for number in (0, 5, 11):
        (mine,) = heard_by_each(alone, [(0, 0, plan[number][2])], set()).values()
        assert mine[-1][2] == found[number][-1][2], "as it is said alone"


def test_a_server_is_ready_when_all_is_compiled_and_captured(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = list[Decoder]()
    monkeypatch.setattr(Decoder, "prepare", lambda decoder: prepared.append(decoder))
    assert prepared == [slots.CsmSlots(base, 2, {}).decoder]


def test_a_sentence_that_fills_the_cache_is_computed_ahead_to_its_last_place_and_no_further(
    base: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "positions", 40)
    monkeypatch.setattr(base.base.config, "max_position_embeddings", 40)
    made = slots.CsmSlots(base, 2, {})
    made.decoder.ahead = True
    assert made.decoder.backbone.keys.shape[3] == 40
    plan = [(4 * slot, slot, Ask(Request("the ferry", (), slot, 60.0), Drawing(0.8), None)) for slot in range(2)]
    for pieces in heard_by_each(made, plan, set()).values():
        assert len(pieces[-1][2]) + base.length([Turn("the ferry")]) == 40


def test_one_large_piece_becomes_sound_in_a_step_and_a_first_sound_waits_for_none(
    base: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, fed = slots.CsmSlots(base, 4, {}), list[tuple[int, int]]()  # slot and frames of each piece of a step

    def watched(slot: int, sound: Any) -> Any:
        def told(codes: Any) -> Any:
            fed.append((slot, codes.shape[2]))
            return sound(codes)

        return told

    for slot, codec in enumerate(made.alone):
        monkeypatch.setattr(codec, "sound", watched(slot, codec.sound))
    for slot in range(3):
        made.admit(slot, Request("the ferry", (), slot, 2.0), Drawing(0.8), None)
    pieces: dict[int, list[int]] = {slot: [] for slot in range(4)}
    for step in range(40):
        if step == 14:  # large pieces of the others fall due in the next steps
            made.admit(3, Request("green train", (), 3, 2.0), Drawing(0.8), None)
        fed.clear()
        list(made.step())
        assert sum(size >= slots.LARGE for _, size in fed) <= 1
        if step == 14:
            assert fed[0] == (3, 1)
        for slot, size in fed:
            pieces[slot].append(size)
    assert [pieces[slot][:5] for slot in range(3)] == [[1, 2, 4, 8, 16]] * 3


def test_what_is_left_at_the_end_becomes_sound_in_turn_and_nothing_is_lost(
    base: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sentences that end in one step, each with a long rest."""
    made, fed = slots.CsmSlots(base, 4, {}), list[int]()

    def watched(sound: Any) -> Any:
        def told(codes: Any) -> Any:
            fed.append(codes.shape[2])
            return sound(codes)

        return told

    for codec in made.alone:
        monkeypatch.setattr(codec, "sound", watched(codec.sound))
    for slot in range(3):
        made.admit(slot, Request("the ferry", (), slot, 1.2), Drawing(0.8), None)
    heard: dict[int, list[Audio]] = {slot: [] for slot in range(3)}
    over: dict[int, int] = {}
    step = 0
    while made.sentences:
        step += 1
        fed.clear()
        for piece in made.step():
            heard[piece.slot].append(piece.sound)
            if piece.over:
                assert piece.codes
                assert len(piece.codes["codes"]) == 30
                over[piece.slot] = step
        assert sum(size >= slots.LARGE for size in fed) <= 1
    assert len(set(over.values())) == 3, "each in a step of its own"
    for slot, pieces in heard.items():
        alone = slots.CsmSlots(base, 4, {})
        alone.admit(slot, Request("the ferry", (), slot, 1.2), Drawing(0.8), None)
        expected = [piece.sound for _ in range(40) for piece in alone.step()]
        assert np.concatenate(pieces).tobytes() == np.concatenate(expected).tobytes()
        assert len(np.concatenate(pieces)) == round(1.2 * made.sample_rate)


def test_who_hangs_up_frees_the_slot_and_a_full_queue_says_so(base: Any, adapters: dict[str, Path]) -> None:
    engine = Engine(lambda: open_slots(base, 1, adapters), waiting=1)
    engine.wait_until_ready()
    begun, long = threading.Event(), Ask(Request("the", (), 1, 60.0), Drawing(1.0), None)

    def listen(heard: SpokenPart) -> None:
        begun.set()

    first = engine.submit(OneSentence(long), listen)
    assert begun.wait(20)
    second = engine.submit(OneSentence(long), lambda heard: None)
    with pytest.raises(QueueFull, match="1 are speaking and 1 are waiting"):
        engine.submit(OneSentence(long), listen)
    engine.cancel(second)
    engine.cancel(first)
    short = Ask(Request("ferry", (), 1, 0.2), Drawing(1.0), None)
    assert len(said(engine, short))
    assert not engine.speaking
    engine.close()
    with pytest.raises(EngineError, match="the server is ending"):
        engine.submit(OneSentence(short), listen)
    assert not engine.thread.is_alive()


def test_a_model_that_fails_is_made_again_and_whoever_spoke_is_told(base: Any, adapters: dict[str, Path]) -> None:
    made: list[Slots] = []

    def make() -> Slots:
        made.append(open_slots(base, 2, adapters))
        return made[-1]

    engine = Engine(make)
    engine.wait_until_ready()
    made[0].step = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    ask = asks()[0]
    with pytest.raises(EngineError, match=r"the model failed \(ZeroDivisionError\); ask again"):
        said(engine, ask)
    until(lambda: engine.restarts == 1)
    engine.wait_until_ready()
    assert len(said(engine, ask))
    assert engine.restarts == 1
    engine.close()


def test_a_sentence_that_cannot_be_spoken_is_told_to_its_caller_alone(engine: Engine) -> None:
    with pytest.raises(ModelError, match="positions, none is left to speak in"):
        said(engine, Ask(Request("the " * 3000, (), 0, 1.0), Drawing(1.0), None))
    assert len(said(engine, asks()[0]))


def test_an_adapter_comes_and_goes_while_others_speak(
    engine: Engine, adapters: dict[str, Path], tmp_path: Path
) -> None:
    ask = asks()[1]
    expected = said(engine, ask)
    engine.between_frames(lambda slots: slots.load("again", adapters["voice-0"]))
    assert said(engine, ask._replace(adapter="again")).tobytes() == expected.tobytes()
    engine.between_frames(lambda slots: slots.forget("again"))
    with pytest.raises(ModelError, match="is no adapter"):
        engine.between_frames(lambda slots: slots.load("none", tmp_path))


def test_a_family_without_slots_speaks_for_several_in_turn(base: Any) -> None:
    engine = Engine(lambda: StreamSlots(base, 2, None))
    engine.wait_until_ready()
    several = [ask._replace(how=Drawing(0.8), adapter=None) for ask in asks(4)]
    alone = [said(engine, ask) for ask in several]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda ask: said(engine, ask), several))
    assert [one.tobytes() for one in together] == [one.tobytes() for one in alone]
    engine.close()


def test_a_family_without_slots_never_speaks_with_another_adapter_than_its_own(base: Any) -> None:
    slots = StreamSlots(base, 2, "ann")
    for other in (None, "bob"):
        with pytest.raises(ModelError, match="loaded with another adapter"):
            slots.admit(0, Request("the ferry", (), 0, 0.4), Drawing(0.8), other)
