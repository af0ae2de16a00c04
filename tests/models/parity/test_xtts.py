"""XTTS beside upstream's own numbers, on a small model whose weights follow from a rule (README.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.parity.fixture import Fixture
from timbre.families.checkpoints import fit, under
from timbre.families.code_decoder import CodeDecoder, CodeDrawing, SaidCode
from timbre.families.xtts.config import settings_of
from timbre.families.xtts.gpt import GptSpeaker, SpeechGpt, XttsBatch, learnt_codes
from timbre.families.xtts.load import XttsModel, model_of

HERE = Path("model.pth"), Path("dvae.pth")


@pytest.fixture(scope="module")
def theirs() -> Fixture:
    return Fixture("xtts")


@pytest.fixture(scope="module")
def model(theirs: Fixture) -> XttsModel:
    return model_of(theirs.state("state_model"), theirs.state("state_dvae"), settings(theirs), *HERE)


def settings(theirs: Fixture) -> Any:
    return settings_of(theirs.json("config"), Path("config.json"))


@pytest.fixture(scope="module")
def reference(theirs: Fixture) -> Tensor:
    return theirs.sound(*theirs.json("sounds")["reference"])[None]


@torch.no_grad()
def test_a_reference_is_heard_as_upstream_hears_it(theirs: Fixture, model: XttsModel, reference: Tensor) -> None:
    theirs.close("cond_mel", model.reference_mel(reference)[0])
    theirs.close("cond_latents", model.latents(reference, 6)[0])
    theirs.close("cond_latents_chunked", model.latents(reference, 2)[0])
    voice = theirs.sound(*theirs.json("sounds")["voice"])
    theirs.close("d_vector", model.speaker(voice[None])[0])


def training_sounds(theirs: Fixture) -> tuple[Tensor, Tensor]:
    """The two recordings, and the parts of them that condition, both padded with silence."""
    waves = torch.zeros(2, int(theirs.array("in_train_wave_lengths").max()))
    parts = torch.zeros(2, 66_150)
    spans = theirs.array("in_train_cond_spans").tolist()
    for row, (recording, (start, end)) in enumerate(zip(theirs.json("sounds")["train"], spans, strict=True)):
        samples = theirs.sound(*recording)
        waves[row, : len(samples)] = samples
        parts[row, : end - start] = samples[start:end]
    return waves, parts


@torch.no_grad()
def test_training_codes_are_upstream_s(theirs: Fixture, model: XttsModel) -> None:
    mel = model.codec_mel(training_sounds(theirs)[0])
    theirs.close("dvae_mel_every4", mel[..., ::4])
    assert model.codec(mel).tolist() == theirs.array("out_dvae_codes").tolist()


def batch(theirs: Fixture, model: XttsModel) -> XttsBatch:
    mel = model.reference_mel(training_sounds(theirs)[1])
    theirs.close("train_cond_mel_every8", mel[..., ::8])
    stride = model.gpt.args.gpt_code_stride_len
    lengths = (theirs.array("in_train_wave_lengths") + stride - 1) // stride
    codes, text = theirs.array("out_dvae_codes")[:, : int(lengths.max())], theirs.array("in_train_text")
    return XttsBatch(
        model.gpt.latents(mel), text, theirs.array("in_train_text_lengths"), codes, lengths,
        learnt_codes(lengths.tolist(), [None, None]), torch.ones(2),
    )  # fmt: skip


def test_logits_and_losses_are_upstream_s(theirs: Fixture, model: XttsModel) -> None:
    made = batch(theirs, model)
    text, codes = model.gpt.labelled(made)
    theirs.close("text_logits_every4", text.logits[..., ::4], text.targets >= 0)
    theirs.close("mel_logits_every16", codes.logits[..., ::16], codes.targets >= 0)
    losses = torch.stack((text.loss(), codes.loss()))
    theirs.close("losses_eval", torch.cat((losses, (losses[0] / 100 + losses[1])[None])))


def test_the_training_step_is_upstream_s(theirs: Fixture, model: XttsModel) -> None:
    """Upstream keeps the loss from the last row's reference only, at a quarter of its place's rate."""
    made = batch(theirs, model)
    start, end = theirs.array("in_train_cond_spans").tolist()[-1]
    made = made._replace(learnt=learnt_codes(made.code_lengths.tolist(), [None, (start // 256, end // 256)]))
    text, codes = (labelled.loss() for labelled in model.gpt.labelled(made))
    total = text / 100 + codes
    theirs.close("losses_train", torch.stack((text, codes, total)))
    model.zero_grad()
    total.backward()
    theirs.gradients("grad_names", "grad_norms", model.gpt, {"gpt.gpt.": "gpt@", "gpt.": "", "gpt@": "gpt."})


@torch.no_grad()
@pytest.mark.parametrize(("name", "penalty"), [("plain", 1.0), ("penalised", 5.0)])
def test_greedy_codes_and_their_latents_are_upstream_s(
    theirs: Fixture, model: XttsModel, reference: Tensor, name: str, penalty: float
) -> None:
    spoken = speak(model.gpt, model.latents(reference, 6), theirs.array("in_text_ids"), penalty)
    theirs.same(f"codes_{name}", [said.code for said in spoken])
    theirs.close(f"latents_{name}", torch.stack([said.state for said in spoken]))


@torch.no_grad()
def test_speech_ends_where_upstream_s_does(theirs: Fixture, model: XttsModel, reference: Tensor) -> None:
    """64 codes only: they are right if the penalty counts the start and upstream's placeholder."""
    content = theirs.json("config")
    content["model_args"] |= theirs.json("config_small")
    gpt = SpeechGpt(settings_of(content, Path("config.json")).model_args, 300)
    fit(gpt, under(theirs.state("state_small"), "gpt."), "the small gpt")
    gpt.eval()
    spoken = speak(gpt, model.latents(reference, 6), theirs.array("in_small_text_ids"), 5.0)
    assert spoken[-1].ended
    theirs.same("codes_small", [said.code for said in spoken])
    theirs.close("latents_small", torch.stack([said.state for said in spoken]))


def speak(gpt: SpeechGpt, latents: Tensor, text: Tensor, penalty: float) -> list[SaidCode]:
    speaker = GptSpeaker(gpt)
    decoder = CodeDecoder(speaker, CodeDrawing(0.0, penalty=penalty), 2, gpt.mel_head.weight)
    return list(decoder.speak([speaker.sentence(latents, text, 48, 0)]))


@torch.no_grad()
def test_the_wave_is_upstream_s(theirs: Fixture, model: XttsModel) -> None:
    latents, vector = theirs.array("out_latents_penalised")[None], theirs.array("out_d_vector")[None]
    wave = model.vocoder(latents, vector)[0]
    theirs.close("wave_every8", wave[::8])
    theirs.close("wave_stretch", wave[20_000:22_000])
