"""The CSM family on a random model: its codec, its losses, its adapter, its decode loop beside transformers' own."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.tiny_models import CODEBOOK_SIZE, CODEBOOKS, CSM, FRAME, SAMPLE_RATE, adapted, random_csm
from timbre import families
from timbre.core.errors import ModelError
from timbre.core.sections import VoiceParams
from timbre.families import Lora, Part, Request, Speaking, Turn
from timbre.families.csm import mimi
from timbre.families.frame_loop import Frames

LORA = Lora(rank=4, alpha=8, rslora=True, dropout=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_csm(tmp_path_factory.mktemp("models") / "csm")


@pytest.fixture
def voice(folder: Path) -> Any:
    return families.load(VoiceParams("csm", str(folder), None))


def sound(seconds: float, seed: int = 0) -> families.Audio:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * SAMPLE_RATE)).astype(np.float32)


def kept(frames: int, seed: int = 0) -> families.Codes:
    return {"codes": codes(frames, seed)}


def codes(frames: int, seed: int = 0) -> Frames:
    return np.random.default_rng(seed).integers(1, CODEBOOK_SIZE, (frames, CODEBOOKS)).astype(np.int16)


def test_the_voice_says_its_rates(voice: Any) -> None:
    assert (voice.sample_rate, voice.frame_rate, voice.positions) == (SAMPLE_RATE, SAMPLE_RATE / FRAME, 2048)


def test_encoding_in_a_batch_gives_the_codes_of_encoding_alone(voice: Any) -> None:
    sounds = [sound(0.5, 1), sound(1.37, 2), sound(0.04, 3)]
    together = [made["codes"] for made in voice.encode(sounds)]
    assert [len(made) for made in together] == [13, 35, 1]  # a begun frame is a frame
    for made, single in zip(together, sounds, strict=True):
        assert (made == voice.encode([single])[0]["codes"]).all()
    assert len(np.unique(together[1])) > 10, "the random codec should tell sounds apart"


def test_decoding_gives_a_frame_of_sound_per_frame(voice: Any) -> None:
    assert voice.decode(codes(7)).shape == (7 * FRAME,)
    assert voice.decode(codes(0)).shape == (0,)


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

    made, make = [], Decoder.frames
    monkeypatch.setattr(Decoder, "frames", lambda self, longest: made.append(longest) or make(self, longest))
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


@pytest.mark.parametrize("top_k", [0, 3])
def test_sampling_draws_from_the_distribution_of_the_logits(top_k: int) -> None:
    from timbre.families.sampling import pick

    logits = torch.tensor([0.0, 1.0, 2.0, -1.0, -9.0, 1.5])
    draws = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    drawn = pick(logits.expand(len(draws), -1), draws[:, None], Speaking(0.7, top_k, 1))
    kept = logits if not top_k else logits.masked_fill(logits < 1.0, -torch.inf)
    expected = torch.softmax(kept / 0.7, 0)
    assert (torch.bincount(drawn, minlength=6) / len(draws) - expected).abs().max() < 2e-5


def test_the_ends_of_the_draws_are_codes_that_may_be_drawn() -> None:
    from timbre.families.sampling import pick

    logits = torch.full((2, 9), -torch.inf)
    logits[:, 2:5] = 1.0
    draws = torch.tensor([[0.0], [1 - 2**-53]], dtype=torch.float64)
    assert pick(logits, draws, Speaking(0.7, 0, 1)).tolist() == [2, 4]
    assert pick(logits, draws, Speaking(0.7, 3, 1)).tolist() == [2, 4]


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


def test_the_losses_and_gradients_of_the_parts_add_up_to_those_of_the_whole(voice: Any) -> None:
    voice.adapt(LORA)
    talks = [[Turn("the ferry waits", kept(frames, frames))] for frames in (5, 30, 9)]

    def learn(*parts: Part) -> tuple[list[float], list[float]]:
        losses = [voice.losses(voice.batch(talks, 0.3, 7, part)) for part in parts]
        voice.model.zero_grad()
        for part in losses:
            part.total.backward()
        grads = [weight.grad.norm().item() for weight in voice.model.parameters() if weight.requires_grad]
        every = [[part.total, *part.parts.values()] for part in losses]
        return [sum(parts).item() for parts in zip(*every, strict=True)], grads

    losses, grads = learn(Part(0, 1))
    for of in (2, 3, 5):  # the last two of five processes have no row
        parted, summed = learn(*(Part(number, of) for number in range(of)))
        assert parted == pytest.approx(losses, rel=1e-5)
        assert summed == pytest.approx(grads, rel=1e-3, abs=1e-6)


def test_as_many_frames_as_codebooks_are_learnt_from_like_any_others(voice: Any) -> None:
    talk = [Turn("the ferry", kept(CODEBOOKS - 1))]  # and the end
    found = [voice.losses(voice.batch([talk] * times, 1.0, 0)).parts["depth_decoder"].item() for times in (1, 3)]
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_losses_from_codes_equal_those_of_the_documented_recipe_from_audio(voice: Any) -> None:
    from transformers import CsmProcessor

    waves = [sound(1.0, 5), sound(0.6, 6)]
    texts = ["the ferry waits", "green coffee please"]
    processor = CsmProcessor.from_pretrained(voice.base.config.name_or_path)
    for wave, text in zip(waves, texts, strict=True):
        talk = [{"role": "0", "content": [{"type": "text", "text": text}, {"type": "audio", "path": wave}]}]
        theirs = voice.base(**processor.apply_chat_template(talk, tokenize=True, return_dict=True, output_labels=True))
        mine = voice.losses(voice.batch([[Turn(text, voice.encode([wave])[0])]], depth_share=1.0, seed=0))
        assert mine.parts["backbone"].item() == pytest.approx(theirs.backbone_loss.item(), abs=1e-5)
        assert mine.parts["depth_decoder"].item() == pytest.approx(theirs.depth_decoder_loss.item(), abs=1e-5)


def test_only_the_last_turn_is_learnt_and_its_end_always(voice: Any) -> None:
    batch = voice.batch([[Turn("the ferry", kept(6)), Turn("waits", kept(8, 1))], [Turn("again", kept(3))]], 0.0, 0)
    size = batch.ids.shape[1]
    assert [(batch.said // size == row).sum() for row in (0, 1)] == [9, 4]  # frames and end
    said = batch.codes.flatten(0, 1)[batch.said]
    assert said[:9].tolist() == [*codes(8, 1).tolist(), [0] * CODEBOOKS]
    assert said[9:].tolist() == [*codes(3).tolist(), [0] * CODEBOOKS]
    assert batch.deep.tolist() == [batch.said[8].item(), batch.said[12].item()]
    some = voice.batch([[Turn("the ferry", kept(400))]], 0.25, 1)
    assert 70 < len(some.deep) < 130
    assert set(some.deep.tolist()) <= set(some.said.tolist())


def test_an_evaluation_in_pieces_finds_the_losses_of_training(voice: Any) -> None:
    for frames in (3, 40):  # fewer than pieces, and more
        batch = voice.batch([[Turn("the ferry", kept(frames))]], 1.0, 0)
        whole = voice.losses(batch)
        with torch.no_grad():
            pieces = voice.losses(batch)
        assert pieces.parts["depth_decoder"].item() == pytest.approx(whole.parts["depth_decoder"].item(), abs=1e-5)
        assert pieces.parts["codebook/2-4"].item() == pytest.approx(whole.parts["codebook/2-4"].item(), abs=1e-5)


def test_padding_changes_no_loss(voice: Any) -> None:
    short, long = [Turn("again", kept(5))], [Turn("the ferry waits", kept(40, 2))]
    alone = [voice.losses(voice.batch([one], 1.0, 0)).parts["backbone"].item() for one in (short, long)]
    together = voice.losses(voice.batch([short, long], 1.0, 0)).parts["backbone"].item()
    assert together == pytest.approx((6 * alone[0] + 41 * alone[1]) / 47, abs=1e-5)


def test_an_adapter_sits_on_the_decoders_alone_and_changes_nothing_at_first(voice: Any) -> None:
    course = adapted(voice, LORA)
    trained = [name for name, weight in voice.model.named_parameters() if weight.requires_grad]
    assert len(trained) == 2 * 7 * (2 + 2)
    assert not [name for name in trained if "codec" in name or "lora" not in name]
    turns = [Turn("the ferry waits", kept(5))]
    assert course.effect(turns) == 0
    weights = {name: torch.ones_like(weight) for name, weight in course.weights().items()}
    course.set_weights(weights)
    assert course.effect(turns) > 0


def test_an_adapter_is_the_same_bytes_twice_and_works_merged_as_it_did_unmerged(folder: Path, tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        torch.manual_seed(3)
        voice: Any = families.load(VoiceParams("csm", str(folder), None))
        course = adapted(voice, LORA)
        course.set_weights({n: torch.randn(w.shape) * 0.1 for n, w in course.weights().items()})
        voice.save_adapter(tmp_path / name)
        made.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert made[0] == made[1]
    assert set(made[0]) == {"adapter_config.json", "adapter_model.safetensors"}
    tuned: Any = families.load(VoiceParams("csm", str(folder), None), adapter=tmp_path / "a")
    batch = tuned.batch([[Turn("the ferry", kept(9))]], 1.0, 0)
    voice.model.eval()
    assert tuned.losses(batch).total.item() == pytest.approx(voice.losses(batch).total.item(), abs=1e-4)
    plain: Any = families.load(VoiceParams("csm", str(folder), None))
    assert abs(plain.losses(batch).total.item() - tuned.losses(batch).total.item()) > 1e-3


def test_gradient_checkpointing_gives_the_same_gradients(folder: Path) -> None:
    gradients = []
    for saving in (False, True):
        torch.manual_seed(0)
        voice: Any = families.load(VoiceParams("csm", str(folder), None))
        (course,) = voice.courses(LORA, CSM, save_memory=saving)
        course.begin()
        voice.model.train()
        voice.losses(voice.batch([[Turn("the ferry", kept(9))]], 1.0, 0)).total.backward()
        gradients.append([w.grad.clone() for w in voice.model.parameters() if w.requires_grad])
    for plain, saved in zip(*gradients, strict=True):
        assert torch.allclose(plain, saved, atol=1e-6)
    assert max(gradient.abs().max().item() for gradient in gradients[0]) > 0


@pytest.mark.parametrize(
    ("base", "revision", "told"),
    [
        ("models/nowhere", None, "no folder here"),
        ("nobody/no-such-model", "abc", "cannot be loaded"),
    ],
)
def test_a_model_that_is_not_there_is_told_with_the_way_out(base: str, revision: str | None, told: str) -> None:
    with pytest.raises(ModelError, match=told) as caught:
        families.load(VoiceParams("csm", base, revision))
    assert "\n" not in str(caught.value)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    with pytest.raises(ModelError, match="is a whisper model, not csm"):
        families.load(VoiceParams("csm", str(tmp_path), None))


def test_an_adapter_of_another_shape_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "target_modules": "nothing"}')
    with pytest.raises(ModelError, match="dvc repro -f train"):
        families.load(VoiceParams("csm", str(folder), None), adapter=tmp_path)


def test_an_adapter_whose_weights_find_no_place_or_are_zeros_is_refused(
    folder: Path, voice: Any, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    course = adapted(voice, LORA)
    course.set_weights({n: torch.ones_like(w) for n, w in course.weights().items()})
    voice.save_adapter(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    save_file({name.replace("layers", "blocks"): w for name, w in load_file(path).items()}, path)
    with pytest.raises(ModelError, match="missing adapter keys"):
        families.load(VoiceParams("csm", str(folder), None), adapter=tmp_path)
    save_file({name: torch.zeros_like(w) for name, w in course.weights().items()}, path)
    with pytest.raises(ModelError, match="changes nothing"):
        families.load(VoiceParams("csm", str(folder), None), adapter=tmp_path)


@pytest.mark.parametrize("damage", ["cut short", "without a weight", "without weights", "without tokenizer"])
def test_a_damaged_folder_is_told_in_one_line(folder: Path, tmp_path: Path, damage: str) -> None:
    from safetensors.torch import load_file, save_file

    base = shutil.copytree(folder, tmp_path / "csm")
    weights = base / "model.safetensors"
    if damage == "cut short":
        weights.write_bytes(weights.read_bytes()[:10_000])
    elif damage == "without a weight":
        kept = load_file(weights)
        del kept["lm_head.weight"]
        save_file(kept, weights, {"format": "pt"})
    else:
        (weights if damage == "without weights" else base / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="the folder is incomplete or damaged") as caught:
        families.load(VoiceParams("csm", str(base), None))
    assert "\n" not in str(caught.value)


def test_a_model_whose_embeddings_a_release_left_apart_hears_with_those_of_the_depth_decoder(
    voice: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import CsmForConditionalGeneration

    hear = "backbone_model.embed_tokens.embed_audio_tokens"
    load = CsmForConditionalGeneration.from_pretrained

    def apart(*given: Any, **said: Any) -> Any:
        model, report = load(*given, **said)
        model.get_submodule(hear).weight = torch.nn.Parameter(torch.randn_like(model.get_submodule(hear).weight))
        return model, report | {"missing_keys": {f"{hear}.weight"}}

    monkeypatch.setattr(CsmForConditionalGeneration, "from_pretrained", apart)
    loaded: Any = families.load(VoiceParams("csm", str(folder), None), precision="fp32")
    assert torch.equal(loaded.base.get_submodule(hear).weight, voice.base.get_submodule(hear).weight)
    assert loaded.base.get_submodule(hear).weight is loaded.base.depth_decoder.model.embed_tokens.weight


def test_a_long_sound_is_encoded_piece_by_piece_to_the_codes_of_the_whole(voice: Any) -> None:
    sounds = [np.random.default_rng(seed).normal(0, 0.1, FRAME * 150).astype(np.float32) for seed in range(2)]
    values = torch.from_numpy(np.stack(sounds))[:, None]
    with torch.no_grad():
        whole = voice.base.codec_model.encode(values, num_quantizers=CODEBOOKS).audio_codes
    assert len(sounds[0]) > 2 * mimi.HEARD_AT_ONCE * SAMPLE_RATE
    for codes, expected in zip(voice.encode([sounds[0], sounds[1][: FRAME * 140]]), whole, strict=True):
        assert np.array_equal(codes["codes"], expected.T.numpy()[: len(codes["codes"])])


def test_what_only_newer_releases_know_of_a_config_is_not_asked_of_an_older_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import CsmConfig

    from timbre.families.csm.load import read_config

    given: list[dict[str, Any]] = []
    monkeypatch.setattr(CsmConfig, "from_dict", given.append)
    read_config(str(folder), {})
    assert given[0]["model_type"] == "csm"
    assert "tie_word_embeddings" not in given[0]


def test_the_fingerprint_follows_the_files_and_not_their_place(folder: Path, tmp_path: Path) -> None:
    first = families.fingerprint(VoiceParams("csm", str(folder), None))
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    (copy / "README.md").write_text("words")
    assert families.fingerprint(VoiceParams("csm", str(copy), None)) == first
    (copy / "generation_config.json").write_text("{}")
    assert families.fingerprint(VoiceParams("csm", str(copy), None)) != first
    pinned = families.fingerprint(VoiceParams("csm", "sesame/csm-1b", "abc"))
    assert pinned != families.fingerprint(VoiceParams("csm", "sesame/csm-1b", "abd"))


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


@pytest.mark.parametrize(
    ("codebooks", "names"),
    [
        (2, ["2"]),
        (4, ["2-4"]),
        (8, ["2-4", "5-8"]),
        (32, ["2-4", "5-8", "9-16", "17-32"]),
        (10, ["2-4", "5-8", "9-10"]),
    ],
)
def test_the_depth_loss_is_told_by_groups_that_cover_its_codebooks(codebooks: int, names: list[str]) -> None:
    from timbre.families.csm.losses import group_losses, groups

    found = groups(codebooks)
    assert list(found) == names
    covered = [place for part in found.values() for place in range(codebooks - 1)[part]]
    assert covered == list(range(codebooks - 1))
    each = torch.rand(codebooks - 1, 5, requires_grad=True)
    losses = group_losses(each)
    weights = {name: len(range(codebooks - 1)[part]) for name, part in found.items()}
    assert sum(losses[n] * weights[n] for n in names) / (codebooks - 1) == pytest.approx(each.mean().item(), abs=1e-5)
    assert not any(loss.requires_grad for loss in losses.values()), "nothing is learnt from what is only shown"
