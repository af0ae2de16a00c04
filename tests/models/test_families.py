"""What every family of voice models keeps to: the contract of timbre/families/protocol.py, on random models."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from tests.support import tiny_models, tiny_orpheus, tiny_sovits, tiny_xtts
from tests.support.tiny_models import LORA
from tests.support.training_root import PARAMS
from timbre import audio, families
from timbre.core.content import write_atomic
from timbre.core.sections import SovitsParams, VoiceParams, XttsParams
from timbre.families import Part, Request, SpeakerTag, Speaking, Turn, batch_rows
from timbre.families.codes import frames, read, to_bytes
from timbre.families.fused_layers import fuse_norms, normed_at_once
from timbre.training.batches import Utterance
from timbre.training.courses import learn
from timbre.training.loop import Training

ANN = SpeakerTag(0, "ann")


class Example(NamedTuple):
    make: Callable[[Path], Path]
    own: Any  # the family's section of params.yaml
    seconds: float = 0.3  # of the shortest clip that it can learn and clone from


EXAMPLES = {
    "csm": Example(tiny_models.random_csm, tiny_models.CSM),
    "orpheus": Example(tiny_orpheus.random_orpheus, tiny_orpheus.OWN),
    "xtts": Example(tiny_xtts.random_xtts, XttsParams(whole=False, text_weight=0.01), 1.2),
    "sovits": Example(tiny_sovits.random_sovits, SovitsParams(True, 1e-4, 1, 0.4, 45, 1.0), 3.1),
}


class Subject(NamedTuple):
    """A family's random voice."""

    params: VoiceParams
    own: Any
    turns: list[Turn]

    def load(self, adapter: Path | None = None) -> Any:
        return families.load(self.params, adapter)

    def course(self, voice: Any) -> Any:
        course = voice.courses(LORA, self.own)[0]
        course.begin()
        return course


@pytest.fixture(scope="module", params=sorted(EXAMPLES))
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    example, folder = EXAMPLES[request.param], tmp_path_factory.mktemp(request.param)
    base = VoiceParams(request.param, str(example.make(folder / "base")), None)
    voice = families.load(base)
    turns = []
    for n, text in enumerate(("the ferry waits", "again", "green train", "coffee to oslo please")):
        seconds, clip = example.seconds + 0.2 * n, folder / f"{n}.flac"
        noise = np.random.default_rng(n).normal(0, 0.1, int(voice.hearing_rate * seconds)).astype(np.float32)
        write_atomic(clip, audio.flac_bytes(noise, voice.hearing_rate))
        turns.append(Turn(text, voice.encode([noise])[0], "en", ANN, clip))
    return Subject(base, example.own, turns)


def test_every_family_has_an_example_here() -> None:
    """`sections.VoiceParams` says which families there are."""
    import typing

    assert set(typing.get_args(typing.get_type_hints(VoiceParams)["family"])) == set(EXAMPLES)


def test_a_family_says_what_it_is_without_torch(subject: Subject) -> None:
    family = families.family(subject.params.family)
    assert family.name == subject.params.family
    assert 0 < family.cloning.seconds[0] < family.cloning.seconds[1]
    assert all(family.shape(config).weights > 5e7 for config in family.known.values())


def test_codes_are_the_same_in_any_batch_and_keep_their_bytes(subject: Subject, tmp_path: Path) -> None:
    voice, turn = subject.load(), subject.turns[2]
    sounds = [np.random.default_rng(n).normal(0, 0.1, 9000 + 3000 * n).astype(np.float32) for n in range(3)]
    for together, sound in zip(voice.encode(sounds), sounds, strict=True):
        assert to_bytes(together) == to_bytes(voice.encode([sound])[0])
    assert turn.codes
    (tmp_path / "a.safetensors").write_bytes(to_bytes(turn.codes))
    again = read(tmp_path, "a")
    assert to_bytes(again) == to_bytes(turn.codes)
    assert len(voice.resound(turn._replace(codes=again), None)) == pytest.approx(
        frames(again) * voice.sample_rate / voice.frame_rate, abs=voice.sample_rate / voice.frame_rate / 2
    )


def test_a_codec_alone_hears_and_sounds_as_the_voice_does(subject: Subject) -> None:
    voice = subject.load()
    for sounding_first in (True, False):
        codec = families.load_codec(subject.params)
        turns = subject.turns if sounding_first else []
        again = [codec.resound(turn, None) for turn in turns]
        for turn in subject.turns:
            assert turn.clip
            sound, _ = audio.read(turn.clip, codec.hearing_rate)
            assert to_bytes(codec.encode([sound])[0]) == to_bytes(voice.encode([sound])[0])
        again += [codec.resound(turn, None) for turn in subject.turns]
        for turn, one in zip([*turns, *subject.turns], again, strict=True):
            assert one.tobytes() == voice.resound(turn, None).tobytes()
    assert (codec.sample_rate, codec.hearing_rate) == (voice.sample_rate, voice.hearing_rate)


@pytest.mark.parametrize("subject", ["csm", "orpheus", "sovits"], indirect=True)
def test_a_codec_alone_makes_nothing_that_finds_codes_for_words(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import CsmForConditionalGeneration, LlamaForCausalLM

    from timbre.families.csm.speaking_parts import SpeakingParts
    from timbre.families.sovits.stage1 import Stage1

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("nobody asked for it")

    for kind in (CsmForConditionalGeneration, SpeakingParts, LlamaForCausalLM, Stage1):
        monkeypatch.setattr(kind, "__init__", refuse)
    codec, turn = families.codec_once(subject.params), subject.turns[0]
    assert turn.clip
    (codes,) = codec.encode([audio.read(turn.clip, codec.hearing_rate)[0]])
    assert len(codec.resound(turn._replace(codes=codes), None))
    assert families.codec_once(subject.params) is codec
    with pytest.raises(AssertionError, match="nobody asked"):
        subject.load()


def test_codes_are_made_with_all_digits_whatever_is_allowed_elsewhere(subject: Subject) -> None:
    """On a GPU, convolutions leave many of them out."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    allowed: set[bool] = set()

    class Watch(TorchFunctionMode):  # type: ignore[misc]  # torch is not typed here
        def __torch_function__(self, of: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            allowed.update((convolutions.allow_tf32, products.allow_tf32))
            return of(*args, **(kwargs or {}))

    voice, noise = subject.load(), np.random.default_rng(0).normal(0, 0.1, 9000).astype(np.float32)
    before, products.allow_tf32 = products.allow_tf32, True
    try:
        with Watch():
            voice.encode([noise])
        assert allowed == {False}
        assert convolutions.allow_tf32
        assert products.allow_tf32
    finally:
        products.allow_tf32 = before


@pytest.mark.parametrize("subject", ["csm", "orpheus"], indirect=True)
def test_what_a_gpu_computes_otherwise_is_learnt_the_same(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few shapes, which it has met before, and norms of one kernel."""
    voice = subject.load()
    course = subject.course(voice)
    course.model.eval()  # without dropout
    for module in course.model.modules():
        if hasattr(module, "variance_epsilon"):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)  # a random model has ones

    def learnt() -> tuple[Any, list[float]]:
        batch = course.batch([[turn] for turn in subject.turns], 7)
        course.model.zero_grad()
        losses = course.objectives[0].losses(batch)
        losses.total.backward()
        norms = [weight.grad.norm().item() for weight in course.model.parameters() if weight.requires_grad]
        return batch, [losses.total.item(), *(part.item() for part in losses.parts.values()), *norms]

    monkeypatch.setattr("timbre.families.llama.fuse", lambda _: None)
    plain, as_written = learnt()
    monkeypatch.setitem(batch_rows.SHAPES, "cpu", 64)
    for stack in voice.stacks:
        fuse_norms(stack, normed_at_once)
    rounded, fused = learnt()
    assert plain.ids.shape[1] % 64
    assert rounded.ids.shape[1] % 64 == 0
    assert fused == pytest.approx(as_written, rel=1e-3, abs=1e-6)
    assert fused[0] == pytest.approx(as_written[0], rel=1e-5)


def test_turns_that_fit_have_no_reason_and_longer_ones_have_one(subject: Subject) -> None:
    voice = subject.load()
    assert voice.fits(subject.turns[:2]) is None
    assert voice.length(subject.turns[:2]) == sum(voice.length([turn]) for turn in subject.turns[:2])
    last = subject.turns[3]
    assert last.codes
    many = last._replace(codes={**last.codes, "codes": np.concatenate([last.codes["codes"]] * 200)})
    wordy = last._replace(text=" ".join([last.text] * 200))
    assert re.search(r"\d+ (positions|codes)", voice.fits([many]))
    if families.family(subject.params.family).cloning.kind == "turns":
        assert "positions" in voice.fits(subject.turns[3:] * 200)
    else:  # no turn is heard before the last, and text has a limit of its own
        assert re.search(r"a text of \d+ (tokens|phones)", voice.fits([wordy]))


def test_losses_are_equal_under_padding_and_of_parts_add_up(subject: Subject) -> None:
    voice = subject.load()
    course = subject.course(voice)
    talks = [[turn] for turn in subject.turns]
    course.model.eval()
    with torch.no_grad():
        whole = course.evaluate(course.exam(talks)).total.item()
        parts = [course.evaluate(course.exam(talks, Part(n, 3))).total.item() for n in range(3)]
        alone = [course.evaluate(course.exam([talk] * 2)).total.item() for talk in talks[:1]]
        single = course.evaluate(course.exam(talks[:1])).total.item()
    assert sum(parts) == pytest.approx(whole, rel=1e-4)
    assert alone[0] == pytest.approx(single, rel=1e-4)


def test_an_adapter_of_zeros_does_nothing_and_another_does_and_merges(subject: Subject, tmp_path: Path) -> None:
    voice = subject.load()
    course = subject.course(voice)
    assert course.effect(subject.turns[:1]) == 0
    torch.manual_seed(1)
    course.set_weights({name: torch.randn(weight.shape) * 0.2 for name, weight in course.weights().items()})
    assert course.effect(subject.turns[:1]) > 0
    course.model.eval()
    with torch.no_grad():
        expected = course.evaluate(course.exam([subject.turns[:1]])).total.item()
    for name in ("a", "b"):
        voice.save_adapter(tmp_path / name)
    kinds = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b")]
    assert kinds[0] == kinds[1]
    tuned = subject.load(tmp_path / "a")
    merged = tuned.courses(LORA, subject.own)[0]
    with torch.no_grad():
        assert merged.evaluate(merged.exam([subject.turns[:1]])).total.item() == pytest.approx(expected, rel=1e-3)


def test_a_training_that_was_killed_goes_on_to_the_same_weights(subject: Subject, tmp_path: Path) -> None:
    clips = [Utterance(f"c{n}", "ann", 1.0, turn) for n, turn in enumerate(subject.turns)]
    params = dataclasses.replace(PARAMS, epochs=2, batch=2, eval_every=1, max_steps=3)

    def trained(scratch: Path) -> dict[str, Any]:
        runs = learn(subject.load(), clips[1:], clips[:1], params, subject.own, scratch)
        return {name: weight for run in runs for name, weight in run.state.best.items()}

    expected, save, saved = trained(tmp_path / "whole"), Training.save, []

    def killed(self: Training) -> None:
        save(self)
        saved.append(self.state.step)
        if len(saved) == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "killed")
    resumed = trained(tmp_path / "killed")
    assert resumed.keys() == expected.keys()
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)


@pytest.mark.parametrize("how", [Speaking(0.8, 0, 2), Speaking(0.8, 8, 2, 0.9)])
def test_a_sentence_is_the_same_in_any_company_and_streamed(subject: Subject, how: Speaking) -> None:
    voice = subject.load()
    context = (subject.turns[0],)
    asked = [
        Request("the ferry", context, 1, 0.6, "en", ANN), Request("again", (), 2, 0.3, "en", ANN),
        Request("green train", context, 3, 0.4, "en", ANN),
    ]  # fmt: skip
    together, backwards = list(voice.speak(asked, how)), list(voice.speak(asked[::-1], how))[::-1]
    assert max(len(spoken.sound) for spoken in together) > 0.2 * voice.sample_rate
    for request, one, other in zip(asked, together, backwards, strict=True):
        (alone,) = voice.speak([request], how)
        assert (one.sound == other.sound).all()
        assert (one.sound == alone.sound).all()
        assert one.ended == other.ended == alone.ended
        pieces = list(voice.stream(request, how))
        streamed = np.concatenate([np.zeros(0, np.float32), *pieces])
        assert streamed.shape == one.sound.shape
        if len(streamed):
            assert np.abs(streamed - one.sound).max() < 1e-5 * max(1, np.abs(one.sound).max())


def test_another_front_end_is_another_base(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    before = families.fingerprint(subject.params)
    assert families.fingerprint(subject.params) == before
    family = families.family(subject.params.family)
    monkeypatch.setattr(families, "family", lambda name: family._replace(front_end="phones 2"))
    assert families.fingerprint(subject.params) != before
