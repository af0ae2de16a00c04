"""GPT-SoVITS v2 and v2Pro beside upstream's own numbers, on small models whose weights follow from a rule."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from tests.models.parity.fixture import Fixture
from timbre.families.checkpoints import fit, renamed, without
from timbre.families.code_decoder import CodeDecoder, CodeDrawing
from timbre.families.sovits.discriminators import (
    PERIODS,
    Discriminators,
    adversarial_loss,
    discriminator_loss,
    feature_loss,
)
from timbre.families.sovits.load import NORMS, SovitsFile, discriminators_of, stage1_of, stage2_of
from timbre.families.sovits.speaker_vector import CLASSIFIER, SpeakerNet
from timbre.families.sovits.spectrogram import HOP, Spectrograms, below
from timbre.families.sovits.stage1 import Stage1, Stage1Batch, Stage1Speaker
from timbre.families.sovits.stage2 import SPEAKER, Learnt, Stage2, Stage2Batch, mel_distance, prior_divergence


@pytest.fixture(scope="module")
def first() -> Fixture:
    return Fixture("sovits_v2")


@pytest.fixture(scope="module")
def stage1(first: Fixture) -> Stage1:
    return stage1_of(SovitsFile(first.state("state_stage1"), first.json("config_stage1"), Path("s1.ckpt")))


def test_stage_1_learns_as_upstream_does_row_by_row(first: Fixture, stage1: Stage1) -> None:
    batch = Stage1Batch(*(first.array(f"in_{name}") for name in ("phones", "phone_lengths", "codes", "code_lengths")))
    batch = batch._replace(bert=first.array("in_bert"))
    logits = stage1.logits(batch)[..., ::16]
    first.close("logits_every16", logits, below(batch.code_lengths + 1, logits.shape[1]))
    losses = stage1.losses(batch)
    first.close("losses", losses)
    losses.sum().backward()
    first.gradients("grad_names_stage1", "grad_norms_stage1", stage1, {"model.": "", "in_proj_": "in_proj."})


def spoken(model: Stage1, phones: Tensor, prompt: Tensor, penalty: float, bert: Tensor | None = None) -> list[int]:
    speaker = Stage1Speaker(model)
    decoder = CodeDecoder(speaker, CodeDrawing(0.0, penalty=penalty), 2, model.bert_proj.weight)
    said = list(decoder.speak([speaker.sentence(phones, prompt, 61, 0, bert)]))
    return [code for _, code, _, _, ended in said if not ended]


@pytest.mark.parametrize(
    ("name", "penalty", "prompted"), [("plain", 1.0, True), ("penalised", 1.35, True), ("unprompted", 1.35, False)]
)
def test_greedy_codes_are_upstream_s(first: Fixture, stage1: Stage1, name: str, penalty: float, prompted: bool) -> None:
    prompt = first.array("in_speech_prompt")[: None if prompted else 0]
    bert = first.array("in_speech_bert")[None]
    first.same(f"speech_{name}", spoken(stage1, first.array("in_speech_phones"), prompt, penalty, bert))


def test_speech_ends_where_upstream_s_does(first: Fixture) -> None:
    config = first.json("config_stage1_stopping")
    model = stage1_of(SovitsFile(first.state("state_stage1_stopping"), config, Path("s1.ckpt")))
    first.same("stopping", spoken(model, first.array("in_stopping_phones"), first.array("in_stopping_prompt"), 1.35))


class Voiced(NamedTuple):
    """A fixture of stage 2, its model and its batch."""

    theirs: Fixture
    model: Stage2
    batch: Stage2Batch
    made: Learnt


SPECTROGRAMS = Spectrograms()


@pytest.fixture(scope="module", params=["sovits_v2", "sovits_v2pro"])
def voiced(request: pytest.FixtureRequest) -> Voiced:
    theirs = Fixture(request.param)
    model = stage2_of(SovitsFile(theirs.state("state_stage2"), theirs.json("config_stage2"), Path("s2G.pth")))
    frames = theirs.array("in_frames")
    magnitudes = torch.zeros(2, 1025, int(frames.max()))
    for row, recording in enumerate(theirs.json("sounds")):
        spectrum = SPECTROGRAMS.magnitudes(theirs.sound(*recording)[None])[0]
        magnitudes[row, :, : spectrum.shape[1]] = spectrum
    codes = model.codes(theirs.array("in_hubert"))
    batch = Stage2Batch(
        codes, magnitudes, frames, theirs.array("in_text"), theirs.array("in_text_lengths"),
        theirs.array("in_posterior_noise"), theirs.array("in_starts").tolist(),
        theirs.array("in_speaker") if model.pro else None,
    )  # fmt: skip
    return Voiced(theirs, model, batch, model.learn(batch))


def test_sound_is_heard_as_upstream_hears_it(voiced: Voiced) -> None:
    theirs, model, batch, _ = voiced
    theirs.close("spec_every8", batch.magnitudes[:, ::8, ::4])
    real = theirs.array("out_codes") >= 0
    assert batch.codes[real].tolist() == theirs.array("out_codes")[real].tolist()
    mask = below(batch.frames, batch.magnitudes.shape[2])[:, None]
    theirs.close("style", model.ref_enc(batch.magnitudes, mask)[..., 0])
    if model.pro:
        voice, narrow = model.voice(batch.magnitudes, mask, batch.speaker)
        theirs.close("voice", voice[..., 0])
        theirs.close("voice512", narrow[..., 0])


def test_what_stage_2_learns_from_is_upstream_s(voiced: Voiced) -> None:
    theirs, _, _, made = voiced
    for name in ("z", "z_p", "m_p", "logs_p", "m_q", "logs_q"):
        theirs.close(name, getattr(made, name))
    theirs.close("wave_every8", made.sound[:, ::8])
    theirs.close("wave_stretch", made.sound[0, 8_000:10_000])
    theirs.close("generated_mel", SPECTROGRAMS.log_mel(SPECTROGRAMS.magnitudes(made.sound)))


def test_stage_2_s_losses_and_gradients_are_upstream_s(voiced: Voiced) -> None:
    theirs, model, batch, made = voiced
    losses = 45 * mel_distance(SPECTROGRAMS, made, batch), prior_divergence(made, batch.frames)
    theirs.close("losses_stage2", torch.stack(losses))
    (losses[0] + losses[1]).backward(retain_graph=True)
    names = {".weight_g": ".parametrizations.weight.original0", ".weight_v": ".parametrizations.weight.original1"}
    theirs.gradients("grad_names_stage2", "grad_norms_stage2", model, names)
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == theirs.json(
        "without_gradient_stage2"
    )


def recorded_segments(theirs: Fixture, batch: Stage2Batch, like: Tensor) -> Tensor:
    segments = torch.zeros_like(like)
    for row, (recording, start) in enumerate(zip(theirs.json("sounds"), batch.starts, strict=True)):
        segments[row] = theirs.sound(*recording)[start * HOP : start * HOP + like.shape[1]]
    return segments[:, None]


@torch.no_grad()
def test_the_discriminators_are_upstream_s(voiced: Voiced) -> None:
    theirs, model, batch, made = voiced
    if not model.pro:  # v2 has five of v2Pro's seven, with the same weights: their names will do
        ours = {name: list(tensor.shape) for name, tensor in Discriminators(PERIODS["v2"]).state_dict().items()}
        listed = {name: torch.zeros(shape) for name, shape, _ in theirs.json("state_discriminator")}
        assert ours == {name: list(tensor.shape) for name, tensor in renamed(listed, NORMS).items()}
        return
    judges = discriminators_of(SovitsFile(theirs.state("state_discriminator"), {}, Path("s2D.pth")), "v2Pro")
    recorded, generated = judges(recorded_segments(theirs, batch, made.sound)), judges(made.sound[:, None])
    scores = [torch.cat((r[-1].flatten(1), g[-1].flatten(1)))[:, ::7] for r, g in zip(recorded, generated, strict=True)]
    theirs.close("scores_every7", torch.cat(scores, 1))
    losses = discriminator_loss(recorded, generated), feature_loss(recorded, generated), adversarial_loss(generated)
    theirs.close("losses_adversarial", torch.stack(losses))


@torch.no_grad()
def test_speech_is_upstream_s(voiced: Voiced) -> None:
    theirs, model, batch, _ = voiced
    reference = batch.magnitudes[:1, :, : int(theirs.array("in_speech_reference_frames"))]
    voice = model.voice(
        reference,
        torch.ones_like(reference[:, :1], dtype=torch.bool),
        None if batch.speaker is None else batch.speaker[:1],
    )
    noise = 0.5 * theirs.array("in_speech_noise")[None]
    sound = model.speak(theirs.array("in_speech_codes")[None], theirs.array("in_speech_text")[None], voice, noise)[0]
    theirs.close("speech_every8", sound[::8])
    theirs.close("speech_stretch", sound[20_000:22_000])


@torch.no_grad()
def test_the_speaker_s_vector_is_upstream_s() -> None:
    theirs = Fixture("sovits_speaker")
    model = SpeakerNet(8)
    fit(model, without(theirs.state("state_speaker_small"), [CLASSIFIER]), "speaker")
    model.eval()
    sound = theirs.sound(*theirs.json("sounds")[0])[None]
    # The logarithm of near silence magnifies rounding: upstream's own numbers move by 4e-5 in double precision.
    theirs.close("bank_every4", model.filter_bank(sound)[0, ::4], tolerance=1e-4)
    theirs.close("vector", model(sound)[0])


def test_the_released_speaker_network_has_our_names_and_shapes() -> None:
    listed = {name: shape for name, shape, _ in Fixture("sovits_speaker").json("state_speaker")}
    with torch.device("meta"):
        model = SpeakerNet(64)
    ours = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    assert ours == without(listed, [CLASSIFIER])
    assert {name for name in listed if name.startswith(CLASSIFIER)} == {"seg_1.weight", "seg_1.bias"}
    assert model.width == SPEAKER
