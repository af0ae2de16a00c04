"""CSM speaks on a random model: its decode loop beside transformers' own, in slots, streamed, and by the draw."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.tiny_models import (
    CODEBOOK_SIZE,
    CODEBOOKS,
    FRAME,
    codes,
    kept,
    random_csm,
    sound,
)
from timbre import families
from timbre.core.errors import ModelError
from timbre.core.sections import VoiceParams
from timbre.families import Request, Speaking, Turn


def test_greedy_frames_equal_those_of_transformers(voice: Any) -> None:
    turns = (Turn("the ferry waits", kept(9)),)
    [mine] = voice.speak_codes([Request("green coffee please", turns, seed=0, seconds=0.8)], Speaking(0, 0, 1))
    row = voice._row([*turns, Turn("green coffee please")])
    ids, heard, is_sound = (torch.tensor(np.asarray(part))[None] for part in row)
    extra = [CODEBOOK_SIZE, CODEBOOK_SIZE + 1, CODEBOOK_SIZE + 2]
    theirs = voice.base.generate(
        inputs_embeds=voice._embed(ids, heard.long(), is_sound), max_new_tokens=20, do_sample=False,
        suppress_tokens=extra, depth_decoder_do_sample=False, depth_decoder_suppress_tokens=extra,
    )  # fmt: skip
    assert mine.codes.tolist() == theirs[0].tolist()[: len(mine.codes)]
    assert len(mine.codes) == 20
    assert len({tuple(frame) for frame in mine.codes.tolist()}) > 5, "frames that never change would prove little"


TRAIN = (Turn("the train", kept(30)),)


REQUESTS = [
    Request("the ferry waits", (), seed=1, seconds=0.48),
    Request("green coffee to oslo please again", TRAIN, seed=2, seconds=0.2),
    Request("again", (Turn("coffee", kept(3)), Turn("please", kept(4))), seed=3, seconds=2.4),
    Request("coffee again", TRAIN, seed=4, seconds=0.04),
    Request("the ferry", TRAIN, seed=5, seconds=1.2),
]


@pytest.mark.parametrize("how", [Speaking(0.0, 0, 3), Speaking(0.8, 0, 3), Speaking(0.8, 10, 2)])
def test_a_sentence_is_the_same_bits_in_any_company_slot_and_order(voice: Any, how: Speaking) -> None:
    together = list(voice.speak_codes(REQUESTS, how))
    backwards = list(voice.speak_codes(REQUESTS[::-1], how))[::-1]
    alone = [spoken for request in REQUESTS for spoken in voice.speak_codes([request], how)]
    some = list(voice.speak_codes(REQUESTS[1::2], how))
    for request, *takes in zip(REQUESTS, together, backwards, alone, [None, some[0], None, some[1], None], strict=True):
        made = [take.codes.tolist() for take in takes if take]
        assert all(codes == made[0] for codes in made), request.text
        assert len(made[0]) == math.ceil(request.seconds * 25)
        assert max(map(max, made[0])) < CODEBOOK_SIZE
    assert not any(spoken.ended for spoken in together)


def test_states_are_the_same_bits_however_long_the_others_are(voice: Any) -> None:
    """Codes would forgive a difference in the last digit."""
    from timbre.families.csm.decode import Decoder

    def states(company: Request) -> list[list[float]]:
        decoder = Decoder(voice.base, Speaking(0.8, 0, 2))
        longest = max(decoder.admit(s, voice.sentence(r), {}) for s, r in enumerate((REQUESTS[0], company)))
        seen = []
        for step in range(8):
            decoder.frames(longest + step + 1)
            seen.append(decoder.state[0].tolist())
        return seen

    first = states(REQUESTS[1])
    assert states(Request("again", (Turn("the train", kept(700)),), 9, 1)) == first
    assert states(Request("again", (), 9, 1)) == first


def test_a_shared_context_is_read_once(voice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    embed = voice._embed
    monkeypatch.setattr(voice, "_embed", lambda ids, *rest: read.append(ids.shape[1]) or embed(ids, *rest))
    list(voice.speak_codes([Request("again", TRAIN, seed, 0.04) for seed in range(5)], Speaking(0.8, 0, 2)))
    assert sum(size > 30 for size in read) == 1


def test_sentences_come_in_their_order_each_as_soon_as_those_before_it_are_over(voice: Any) -> None:
    from timbre.families.frame_loop import Said, whole

    frame = codes(1)[0]
    events = [Said(1, frame), Said(1, None, True), Said(0, frame), Said(2, frame), Said(0, None), Said(2, None, True)]
    came: list[int] = []

    def telling() -> Any:
        for event in events:
            came.append(0)
            yield event

    taken = [(len(came), len(spoken.codes), spoken.ended) for spoken in whole(telling(), CODEBOOKS)]
    assert taken == [(5, 1, False), (5, 1, True), (6, 1, True)]


def test_a_sentence_that_is_left_in_the_middle_leaves_the_next_ones_as_they_are(voice: Any) -> None:
    how = Speaking(0.8, 0, 2)
    expected = [spoken.codes.tolist() for spoken in voice.speak_codes(REQUESTS, how)]
    left = voice._said(REQUESTS, how)
    for _ in range(7):
        next(left)
    beside = [spoken.codes.tolist() for spoken in voice.speak_codes(REQUESTS, how)]
    left.close()
    assert beside == [spoken.codes.tolist() for spoken in voice.speak_codes(REQUESTS, how)] == expected


def test_a_frame_that_is_computed_ahead_changes_nothing(voice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU does it, which has the next frame ready while the host looks at this one."""
    from timbre.families.csm.decode import Decoder

    how = Speaking(0.8, 0, 2)
    monkeypatch.setattr(Decoder, "is_end", lambda _, frame: frame[0] % 9 == 0)  # it never ends by itself
    requests = [request._replace(seed=10 * n + request.seed) for n in range(3) for request in REQUESTS]
    launched = Counter[bool]()
    launch = Decoder.launch

    def counted(decoder: Decoder, longest: int) -> Any:
        launched[decoder.ahead] += 1
        return launch(decoder, longest)

    monkeypatch.setattr(Decoder, "launch", counted)
    waited_for = list(voice._said(requests, how))
    for decoder in voice.decoders.values():
        monkeypatch.setattr(decoder, "ahead", True)
    ahead = list(voice._said(requests, how))
    by_number = [[(n, None if f is None else f.tolist(), e) for n, f, e in said if n == number]
                 for said in (waited_for, ahead) for number in range(len(requests))]  # fmt: skip
    assert by_number[: len(requests)] == by_number[len(requests) :]
    assert {said.ended for said in ahead if said.frame is None} == {True, False}
    assert launched[True] > launched[False], "for sentences that were over"


def test_a_frame_asks_the_host_nothing_and_keeps_its_buffers(voice: Any) -> None:
    """What a CUDA graph asks for, on a CPU: no value is read, nothing comes from or goes to another device."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from timbre.families.csm.decode import Decoder

    seen = set()

    class Spy(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.add(str(function).removeprefix("aten."))
            return function(*args, **(kwargs or {}))

    decoder = Decoder(voice.base, Speaking(0.8, 10, 2))
    decoder.admit(0, voice.sentence(REQUESTS[0]), {})
    buffers = {name: value.data_ptr() for name, value in vars(decoder).items() if isinstance(value, torch.Tensor)}
    with Spy():
        decoder.frame(64)
    assert buffers == {name: getattr(decoder, name).data_ptr() for name in buffers}
    asking = ("_local_scalar_dense", "nonzero", "item", "is_nonzero", "equal.", "unique", "scalar_tensor", "arange")
    assert "matmul.default" in seen
    assert not [name for name in seen if name.startswith(asking)]


def test_a_sentence_streamed_is_the_sentence_spoken(voice: Any) -> None:
    request, how = Request("the ferry waits", (Turn("the train", kept(30)),), 3, 0.8), Speaking(0.8, 0, 1)
    [spoken] = voice.speak_codes([request], how)
    sounds = list(voice.stream(request, how))
    together, whole = np.concatenate(sounds), voice.decode(spoken.codes)
    assert len(sounds) > 5
    assert together.shape == whole.shape == (20 * FRAME,)
    assert np.abs(together - whole).max() < 1e-5 * np.abs(whole).max()


def test_sound_comes_while_the_sentence_is_spoken_and_nobody_must_hear_it_out(
    voice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from timbre.families.csm.decode import Decoder

    made, make = [], Decoder.launch
    monkeypatch.setattr(Decoder, "launch", lambda self, longest: made.append(longest) or make(self, longest))
    request, how = Request("the ferry waits", (), 3, 4.0), Speaking(0.8, 0, 1)
    stream = voice.stream(request, how)
    first = next(stream)
    assert (len(first), len(made)) == (FRAME, 1)
    stream.close()
    assert len(made) == 1
    assert (next(voice.stream(request, how)) == first).all()


def test_warming_up_for_a_graph_in_the_middle_of_a_sentence_changes_nothing(
    voice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA's part is played: a graph is the call of `frame` that was captured, and its replay calls it again."""
    from timbre.families.csm.decode import Decoder
    from timbre.families.frame_loop import decode, whole

    calls: list[int] = []

    class Graph:
        def pool(self) -> int:
            return 1

        def replay(self) -> None:
            frame(self.length)

    @contextmanager
    def capture(graph: Any, pool: Any) -> Iterator[None]:
        yield
        graph.length = calls[-1]

    def frame_counted(length: int) -> None:
        calls.append(length)
        frame(length)

    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name, part in {
        "Stream": lambda: stream, "current_stream": lambda: stream, "stream": nullcontext, "CUDAGraph": Graph,
        "graph": capture,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, part)
    how, sentences = Speaking(0.8, 0, 2), [voice.sentence(request) for request in REQUESTS]
    expected = [spoken.codes.tolist() for spoken in voice.speak_codes(REQUESTS, how)]
    decoder = Decoder(voice.base, how, graphs=True)
    frame = decoder.frame
    monkeypatch.setattr(decoder, "frame", frame_counted)
    assert [spoken.codes.tolist() for spoken in whole(decode(decoder, sentences), CODEBOOKS)] == expected
    assert calls == [64] * 4 + [128] * 4, "three to warm up and one to capture, for each length"

    calls.clear()
    prepared = Decoder(voice.base, how, graphs=True)
    frame = prepared.frame
    monkeypatch.setattr(prepared, "frame", frame_counted)
    prepared.prepare()
    assert calls == [length for length in prepared.lengths for _ in range(4)]
    assert [spoken.codes.tolist() for spoken in whole(decode(prepared, sentences), CODEBOOKS)] == expected
    assert len(calls) == 4 * len(prepared.lengths), "who speaks then waits for none"


def test_half_precision_speaks_with_a_codec_in_single(folder: Path) -> None:
    voice: Any = families.load(VoiceParams("csm", str(folder), None), precision="bf16")
    assert voice.base.lm_head.weight.dtype == torch.bfloat16
    assert {weight.dtype for weight in voice.base.codec_model.parameters()} == {torch.float32}
    [spoken] = voice.speak_codes([Request("the ferry waits", (Turn("again", kept(5)),), 0, 0.4)], Speaking(0.8, 0, 1))
    assert spoken.codes.shape == (10, CODEBOOKS)
    assert np.isfinite(voice.decode(spoken.codes)).all()
    assert len(voice.encode([sound(0.5)])[0]["codes"]) == 13


def test_another_seed_is_another_take(voice: Any) -> None:
    takes = list(voice.speak_codes([Request("the ferry waits", (), seed, 0.4) for seed in (1, 2)], Speaking(0.8, 0, 2)))
    assert takes[0].codes.tolist() != takes[1].codes.tolist()


def test_takes_of_many_seeds_follow_the_distribution_of_the_first_code(voice: Any) -> None:
    prompt = voice.embedded((Turn("the ferry waits"),))
    with torch.no_grad():
        logits = voice.base(inputs_embeds=prompt[None]).logits[0, -1, :CODEBOOK_SIZE]
    expected = torch.softmax(logits / 0.8, 0)
    takes = voice.speak_codes([Request("the ferry waits", (), seed, 0.04) for seed in range(600)], Speaking(0.8, 0, 16))
    drawn = torch.bincount(torch.tensor([int(take.codes[0, 0]) for take in takes]), minlength=CODEBOOK_SIZE)
    often = expected * 600 >= 5
    seen, awaited = drawn[often], expected[often] * 600
    assert ((seen - awaited) ** 2 / awaited).sum() < 2 * often.sum() + 10


def test_a_voice_that_ends_at_once_says_nothing(tmp_path: Path) -> None:
    voice = families.load(VoiceParams("csm", str(random_csm(tmp_path / "csm", silent=True)), None))
    [spoken] = voice.speak_codes([Request("the ferry", (), 0, 50)], Speaking(0, 0, 1))
    assert spoken.ended
    assert spoken.codes.shape == (0, CODEBOOKS)
    with pytest.raises(StopIteration) as end:
        next(voice.stream(Request("the ferry", (), 0, 50), Speaking(0, 0, 1)))
    assert end.value.value is True, "it ended by itself"


def test_a_reference_that_leaves_no_room_is_told(voice: Any) -> None:
    with pytest.raises(ModelError, match="positions, none is left"):
        list(voice.speak_codes([Request("again", (Turn("the ferry", kept(2100)),), 0, 10)], Speaking(0, 0, 1)))


def test_grouped_heads_and_stretched_positions_as_in_csm_1b_decode_like_transformers(voice: Any) -> None:
    from transformers import CsmConfig, CsmForConditionalGeneration

    from timbre.families.csm.decode import Decoder
    from timbre.families.frame_loop import Sentence, decode, whole

    torch.manual_seed(1)
    rope = {
        "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 32.0, "low_freq_factor": 0.125,
        "high_freq_factor": 0.5, "original_max_position_embeddings": 16,
    }  # fmt: skip
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"num_key_value_heads": 2, "num_codebooks": 4, "vocab_size": 67, "rope_parameters": rope}
    depth = shape | {"backbone_hidden_size": 32, "max_position_embeddings": 5}
    ends = {"pad_token_id": 0, "bos_token_id": 1, "audio_token_id": 3, "audio_eos_token_id": 4}
    codec = voice.base.config.codec_config
    config = CsmConfig(
        **shape, **ends, text_vocab_size=50, codebook_pad_token_id=66, depth_decoder_config=depth, codec_config=codec
    )
    model = CsmForConditionalGeneration(config).eval()
    for weight in (model.lm_head.weight, model.depth_decoder.codebooks_head.weight):
        weight.data.mul_(20)
    prompt = torch.randn(1, 40, 32)
    with torch.no_grad():
        sentence = Sentence("before", lambda: prompt[0, :30], lambda: prompt[0, 30:], 15, 0)
        decoder = Decoder(model, Speaking(0.0, 0, 2))
        mine, beside = whole(decode(decoder, [sentence, sentence]), 4)
        extra = [64, 65, 66]
        theirs = model.generate(
            inputs_embeds=prompt, max_new_tokens=15, do_sample=False, suppress_tokens=extra,
            depth_decoder_do_sample=False, depth_decoder_suppress_tokens=extra,
        )  # fmt: skip
    assert mine.codes.tolist() == beside.codes.tolist() == theirs[0].tolist()
