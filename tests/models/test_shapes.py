"""Random voices to measure on: of true shape, and speaking exactly as long as they are let."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.shapes import csm
from benchmarks.speaking import texts, versions, weights_of_a_frame
from timbre.families import Request, Speaking
from timbre.families.csm.model import Csm


@pytest.fixture(scope="module")
def voice() -> Csm:
    return csm("tiny")


def test_a_tiny_voice_has_the_widths_of_the_embedded_one(voice: Csm) -> None:
    written = json.loads(Path("models/tiny/csm/config.json").read_text())
    assert {name: voice.base.config.to_dict()[name] for name in ("hidden_size", "vocab_size", "num_codebooks")} == {
        name: written[name] for name in ("hidden_size", "vocab_size", "num_codebooks")
    }
    assert (voice.sample_rate, voice.frame_rate) == (16_000, 25)


def test_no_weight_is_left_empty_and_what_is_tied_stays_tied(voice: Csm) -> None:
    weights = dict(voice.base.named_parameters())
    assert not [name for name, one in weights.items() if one.is_meta or (name.endswith("weight") and not one.any())]
    heard = voice.base.backbone_model.embed_tokens.embed_audio_tokens.weight
    assert heard.data_ptr() == voice.base.depth_decoder.model.embed_tokens.weight.data_ptr()


def test_it_speaks_until_the_cap_and_not_always_the_same(voice: Csm) -> None:
    requests = [Request(text, (), seed, 0.4) for seed, text in enumerate(texts(3))]
    made = list(voice.speak_codes(requests, Speaking(0.9, 50, 3)))
    assert [(len(spoken.codes), spoken.ended) for spoken in made] == [(10, False)] * 3
    assert len({tuple(frame) for spoken in made for frame in spoken.codes.tolist()}) == 30
    assert len(voice.decode(made[0].codes)) == 10 * 640


def test_half_precision_leaves_the_codec_in_single() -> None:
    base = csm("tiny", dtype=torch.bfloat16).base
    assert base.lm_head.weight.dtype == torch.bfloat16
    assert {weight.dtype for weight in base.codec_model.parameters()} == {torch.float32}


def test_the_weights_that_a_frame_reads_are_those_of_the_layers(voice: Csm) -> None:
    def linear(module: torch.nn.Module) -> int:
        return sum(part.weight.numel() for part in module.modules() if isinstance(part, torch.nn.Linear))

    base = voice.base
    others = (base.config.num_codebooks - 1) * linear(
        base.depth_decoder
    ) + base.depth_decoder.codebooks_head.weight.numel()
    assert weights_of_a_frame(base.config) == linear(base.backbone_model) + linear(base.lm_head) + others


def test_precisions_share_what_none_of_them_changes() -> None:
    fp32, int8 = versions("tiny", "cpu", ["fp32", "int8"])
    assert int8.voice.base.embed_text_tokens.weight is fp32.voice.base.embed_text_tokens.weight
    assert fp32.voice.base.lm_head.weight.dtype == torch.float32, "shrinking the copy leaves the original alone"
