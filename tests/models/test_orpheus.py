"""Orpheus on a random model: its tokens, its codec in pieces, its losses, and what others get wrong."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.tiny_models import LORA, random_csm
from tests.support.tiny_orpheus import CODES, FRAME, OWN, RATE, random_orpheus, sound
from timbre import families
from timbre.core.errors import ModelError
from timbre.core.sections import OrpheusParams, VoiceParams
from timbre.families import Part, Request, SpeakerTag, Speaking, Turn

ANN = SpeakerTag(0, "ann")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_orpheus(tmp_path_factory.mktemp("models") / "orpheus")


@pytest.fixture(scope="module")
def shared(folder: Path) -> Any:
    return families.load(VoiceParams("orpheus", str(folder), None))


@pytest.fixture
def voice(folder: Path) -> Any:
    return families.load(VoiceParams("orpheus", str(folder), None))


def frames(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, CODES, (count, 7)).astype(np.int16)


def said(count: int, seed: int = 0, text: str = "the ferry") -> Turn:
    return Turn(text, {"codes": frames(count, seed)}, None, ANN)


def test_a_turn_is_the_makers_sequence(shared: Any) -> None:
    from timbre.families.orpheus.tokens import tokens_of

    turn = Turn("the ferry", {"codes": np.array([[0, 1, 2, 3, 4, 5, 6]], np.int16)}, None, ANN)
    names = shared.tokenizer.convert_ids_to_tokens(tokens_of(turn, shared.tokenizer, shared.ids).ids[:10].tolist())
    custom = {n: f"<custom_token_{n}>" for n in range(1, 8)}
    assert names == [
        custom[3], "<|begin_of_text|>", "ann", ":", "the", "ferry", "<|eot_id|>", custom[4], custom[5], custom[1],
    ]  # fmt: skip
    codes = tokens_of(turn, shared.tokenizer, shared.ids).ids[10:-2] - shared.ids.audio
    assert codes.tolist() == [slot * CODES + slot for slot in range(7)], "code 0 is a code, and shifts no other"
    assert shared.tokenizer.convert_ids_to_tokens(tokens_of(turn, shared.tokenizer, shared.ids).ids[-2:].tolist()) == [
        custom[2],
        custom[6],
    ]


def test_code_0_is_spoken_and_sounds(shared: Any) -> None:
    """Others drop it (`if token > 0`), and every code after it lands in another slot."""
    some = frames(6)
    some[2, 0] = some[3, 4] = 0
    assert len(shared.codec.decode(some)) == 6 * FRAME
    pieces = np.concatenate(list(shared.codec.stream(some)))
    assert np.abs(pieces - shared.codec.decode(some)).max() < 1e-5


def test_only_the_end_of_speech_ends_a_sentence_and_only_where_a_frame_begins(voice: Any) -> None:
    """Others wait for the id 49158, which this vocabulary lacks, and run into the limit."""
    with torch.no_grad():  # whatever it hears, the end is by far the likeliest in every slot where it may stand
        weight = voice.base.lm_head.weight
        weight.data[voice.ids.audio :] = 0
        voice.base.lm_head.weight.data[voice.ids.pad] = 100 * voice.base.model.norm.weight
        heads = voice.base.lm_head.weight
        heads.data[voice.ids.end_of_speech] = 0
    [spoken] = voice.speak_codes([Request("the ferry", (), 0, 0.1, None, ANN)], Speaking(0, 0, 1))
    assert len(spoken.codes) == 5, "the pad, however likely, stands in no slot"
    assert not spoken.ended
    decoder = next(iter(voice.decoders.values()))
    assert [head(decoder.state).shape[-1] for head in decoder.heads] == [CODES + 1, *[CODES] * 6]
    assert decoder.is_end(np.array([CODES, 1, 2, 3, 4, 5, 6]))
    assert not decoder.is_end(np.array([1, CODES - 1, 2, 3, 4, 5, 6]))


@pytest.mark.parametrize("count", [1, 3, 4, 7, 23])
def test_a_stream_has_the_first_and_the_last_frames_and_is_exact(shared: Any, count: int) -> None:
    """Others lose both, as they decode the middle of a window only. The codec's noise is the same in pieces."""
    some = frames(count, count)
    whole, pieces = shared.codec.decode(some), list(shared.codec.stream(some))
    assert sum(map(len, pieces)) == len(whole) == count * FRAME
    assert np.abs(np.concatenate(pieces) - whole).max() < 1e-5
    assert (shared.codec.decode(some) == whole).all(), "noise is drawn by place"


def test_fewer_frames_of_context_are_not_exact(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    some = frames(23)
    assert shared.codec.reach == 3
    monkeypatch.setattr(shared.codec, "reach", 1)
    assert np.abs(np.concatenate(list(shared.codec.stream(some))) - shared.codec.decode(some)).max() > 1e-5


def test_the_public_codec_reaches_three_frames_as_was_measured() -> None:
    from timbre.families.orpheus.codec import reach

    assert (reach([8, 8, 4, 2], 512, 2048), reach([4, 80], 320, 1280)) == (3, 4)


def test_a_clip_is_encoded_alone_whatever_is_beside_it(shared: Any) -> None:
    one, two = sound(0.51), sound(1.03, 1)
    together = shared.encode([one, two])
    assert [len(codes["codes"]) for codes in together] == [26, 52]
    assert (together[0]["codes"] == shared.encode([one])[0]["codes"]).all()
    assert len(np.unique(together[1]["codes"])) > 10
    turn = Turn("again", together[0])
    assert len(shared.resound(turn, None)) == 26 * FRAME
    assert shared.frame_rate == RATE / FRAME


def test_frames_that_repeat_their_coarse_code_are_dropped_where_that_is_asked_for(shared: Any) -> None:
    some = frames(6)
    some[:, 0] = [4, 4, 4, 9, 4, 4]
    turn = Turn("again", {"codes": some}, None, ANN)
    kept = shared.batch([[turn]], OrpheusParams(learn_text=False, drop_repeated=True))
    assert kept.places.shape == (7, 3)
    assert shared.batch([[turn]], OWN).places.shape == (7, 6)
    codes = kept.ids.flatten()[kept.places[0]] - shared.ids.audio
    assert codes.tolist() == [4, 9, 4]


def test_losses_are_those_of_a_whole_softmax_over_the_slots_codes(shared: Any) -> None:
    turns = [said(3), said(5, 1, "again")]
    found = shared.losses(shared.batch([turns], OrpheusParams(learn_text=True, drop_repeated=False)))
    ids = torch.from_numpy(shared._ids(turns))[None]
    with torch.no_grad():
        logits = shared.base(ids).logits[0].double()
    first = len(shared._ids(turns[:1]))
    text, coarse, fine = [], [], []
    for place in range(first, ids.shape[1] - 1):  # not the end of the turn, which nobody waits for
        token, before = int(ids[0, place]), logits[place - 1]
        slot = (token - shared.ids.audio) // CODES
        if token == shared.ids.end_of_speech or (slot == 0 and token >= shared.ids.audio):
            legal = [*range(shared.ids.audio, shared.ids.audio + CODES), shared.ids.end_of_speech]
            coarse.append(-before[legal].log_softmax(0)[legal.index(token)].item())
        elif token >= shared.ids.audio:
            legal = list(range(shared.ids.audio + slot * CODES, shared.ids.audio + (slot + 1) * CODES))
            (fine if slot in (2, 3, 5, 6) else []).append(-before[legal].log_softmax(0)[legal.index(token)].item())
        elif first < place < first + 5:
            text.append(-before.log_softmax(0)[token].item())
    assert (len(coarse), len(fine), len(text)) == (6, 20, 4)
    for name, expected in {"coarse": coarse, "fine": fine, "text": text}.items():
        assert found.parts[name].item() == pytest.approx(np.mean(expected), rel=1e-4), name


def test_parts_of_a_batch_add_up_and_padding_changes_nothing(voice: Any) -> None:
    (course,) = voice.courses(LORA, OWN)
    course.begin()
    talks = [[said(2)], [said(9, 1), said(5, 2)], [said(4, 3)]]

    def learn(*parts: Part) -> tuple[list[float], list[float]]:
        losses = [voice.losses(course.batch(talks, 7, part)) for part in parts]
        voice.model.zero_grad()
        for part in losses:
            part.total.backward()
        grads = [weight.grad.norm().item() for weight in voice.model.parameters() if weight.requires_grad]
        return [sum(p.total.item() for p in losses), sum(p.parts["fine"].item() for p in losses)], grads

    losses, grads = learn(Part(0, 1))
    for of in (2, 3, 5):
        parted, summed = learn(*(Part(number, of) for number in range(of)))
        assert parted == pytest.approx(losses, rel=1e-5)
        assert summed == pytest.approx(grads, rel=1e-3, abs=1e-6)


def test_what_was_said_becomes_less_likely_and_a_sentence_begins_anew(shared: Any) -> None:
    asked = [Request("the ferry waits", (), seed, 0.4, None, ANN) for seed in range(3)]
    plain = list(shared.speak_codes(asked, Speaking(0.8, 0, 2)))
    less = list(shared.speak_codes(asked, Speaking(0.8, 0, 2, 1.0, 3.0)))

    def repeated(takes: list[Any]) -> float:
        return float(np.mean([len(np.unique(take.codes[:, 3])) / len(take.codes) for take in takes if len(take.codes)]))

    assert repeated(less) > repeated(plain)
    assert (less[2].codes == next(shared.speak_codes(asked[2:], Speaking(0.8, 0, 2, 1.0, 3.0))).codes).all()


def test_the_name_and_the_reference_are_heard(shared: Any) -> None:
    def first(request: Request) -> list[int]:
        return next(shared.speak_codes([request], Speaking(0.8, 0, 1))).codes[:4].flatten().tolist()

    plain = Request("the ferry waits", (), 3, 0.2)
    takes = [
        plain,
        plain._replace(speaker=ANN),
        plain._replace(context=(said(9),)),
        plain._replace(text="<laugh> the ferry"),
    ]
    assert len({tuple(first(take)) for take in takes}) == 4


def test_a_base_of_another_family_is_one_clear_line(folder: Path, tmp_path: Path) -> None:
    csm = random_csm(tmp_path / "csm")
    with pytest.raises(ModelError, match=r"is a csm model, not orpheus; see voice.family$"):
        families.load(VoiceParams("orpheus", str(csm), None))
    with pytest.raises(ModelError, match=r"is a llama model, not csm; see voice.family$"):
        families.load(VoiceParams("csm", str(folder), None))
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "snac/pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match=r"broken cannot be loaded .*pytorch_model.bin.*restore it, or name another"):
        families.load(VoiceParams("orpheus", str(broken), None))


def test_eight_bits_speak_the_same_in_any_company(folder: Path) -> None:
    voice: Any = families.load(VoiceParams("orpheus", str(folder), None), precision="int8")
    asked = [Request("the ferry", (said(4),), 1, 0.2, None, ANN), Request("again", (), 2, 0.2, None, ANN)]
    together = list(voice.speak_codes(asked, Speaking(0.8, 0, 2)))
    for request, spoken in zip(asked, together, strict=True):
        assert spoken.codes.tolist() == next(voice.speak_codes([request], Speaking(0.8, 0, 2))).codes.tolist()


def test_half_precision_keeps_the_angles_of_positions_whole(folder: Path, shared: Any) -> None:
    half = families.load(VoiceParams("orpheus", str(folder), None), precision="bf16")
    assert half.base.lm_head.weight.dtype == torch.bfloat16  # type: ignore[attr-defined]
    angles = half.base.model.rotary_emb.inv_freq  # type: ignore[attr-defined]
    assert torch.equal(angles, shared.base.model.rotary_emb.inv_freq)
