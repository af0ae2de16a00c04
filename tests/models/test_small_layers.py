"""The layers that a server's slots speak with where a voice is small: beside those that any decoder has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny_models import random_csm, write_random_adapter
from timbre import families
from timbre.core.sections import VoiceParams
from timbre.families import Request, Speaking
from timbre.families.csm import small_depth
from timbre.families.csm.decode import Decoder, Depth, Weights
from timbre.families.csm.slots import CsmSlots
from timbre.families.csm.small_depth import SmallDepth
from timbre.families.csm.small_stack import SmallStack
from timbre.families.frame_loop import Sentence, decode, whole
from timbre.families.llama import Stack
from timbre.families.lora_rows import RowAdapters
from timbre.families.sampling import RowSampling
from timbre.families.slots import Drawing


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return families.load(VoiceParams("csm", str(random_csm(tmp_path_factory.mktemp("csm") / "base")), None))


def small_decoder(model: Any, rows: int) -> Decoder:
    """As slots make one, of rows that speak with the base alone."""
    adapters = RowAdapters(rows, 4, model.backbone_model.norm.weight)
    sampling = RowSampling(rows, torch.device("cpu"))
    return Decoder(model, Speaking(1.0, 0, rows), weights=Weights(model, adapters), sampling=sampling)


def grouped_csm(codec: Any) -> Any:
    """Heads that share keys, positions that are stretched, and norms that are not all ones, as a trained model has."""
    from transformers import CsmConfig, CsmForConditionalGeneration

    torch.manual_seed(1)
    rope: dict[str, Any] = {
        "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 32.0, "low_freq_factor": 0.125,
        "high_freq_factor": 0.5, "original_max_position_embeddings": 16,
    }  # fmt: skip
    shape: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
    }
    shape |= {"num_key_value_heads": 2, "num_codebooks": 4, "vocab_size": 67, "rope_parameters": rope}
    depth = shape | {"backbone_hidden_size": 32, "max_position_embeddings": 5}
    ends = {"pad_token_id": 0, "bos_token_id": 1, "audio_token_id": 3, "audio_eos_token_id": 4}
    config = CsmConfig(
        **shape, **ends, text_vocab_size=50, codebook_pad_token_id=66, depth_decoder_config=depth, codec_config=codec
    )
    model = CsmForConditionalGeneration(config).eval().requires_grad_(False)
    for name, weight in model.named_parameters():
        if "norm" in name and not name.startswith("codec"):
            weight.normal_(1, 0.3)
    return model


def test_states_and_logits_are_those_of_any_decoder(base: Any) -> None:
    model, prompt = grouped_csm(base.base.config.codec_config), torch.randn(20, 32)
    decoders = small_decoder(model, 3), Decoder(model, Speaking(1.0, 0, 3))
    assert isinstance(decoders[0].backbone, SmallStack)
    assert isinstance(decoders[0].depth, SmallDepth)
    assert type(decoders[1].backbone) is Stack
    assert isinstance(decoders[1].depth, Depth)
    seen: list[list[torch.Tensor]] = [[], []]
    for decoder, tensors in zip(decoders, seen, strict=True):
        pick = decoder.depth.pick
        decoder.depth.pick = lambda logits, draw, pick=pick, tensors=tensors: (  # type: ignore[misc]
            tensors.append(logits.clone()) or pick(logits, draw)
        )
        for row in range(3):
            text = prompt[: 9 + row]
            decoder.admit(row, Sentence("", lambda: prompt[:0], lambda text=text: text, 6, row), {})  # type: ignore[misc]
        for _ in range(6):
            decoder.frames(64)
            tensors.append(decoder.state.clone())
    assert len(seen[0]) == 6 * (3 + 1)
    for mine, theirs in zip(*seen, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_takes_are_those_of_any_decoder(base: Any) -> None:
    model, prompt = grouped_csm(base.base.config.codec_config), torch.randn(2, 20, 32)
    sentences = [Sentence("", lambda: prompt[0, :0], lambda i=i: prompt[i], 12, i) for i in (0, 1)]  # type: ignore[misc]
    mine, theirs = (
        [spoken.codes.tolist() for spoken in whole(decode(decoder, sentences), 4)]
        for decoder in (small_decoder(model, 2), Decoder(model, Speaking(1.0, 0, 2)))
    )
    assert mine == theirs
    assert mine[0] != mine[1]


def test_a_name_that_comes_again_is_the_new_voice(base: Any, tmp_path: Path) -> None:
    folder = Path(base.base.config._name_or_path)
    first, second = (write_random_adapter(folder, tmp_path / str(seed), seed) for seed in (1, 2))

    def said(slots: CsmSlots) -> list[list[int]]:
        slots.admit(0, Request("the ferry", (), 0, 0.4), Drawing(0.0), "champion")
        while True:
            for piece in slots.step():
                if piece.over:
                    assert piece.codes
                    return [frame.tolist() for frame in piece.codes["codes"]]

    slots = CsmSlots(base, 2, {"champion": first})
    before = said(slots)
    slots.forget("champion")
    slots.load("champion", second)
    after = said(slots)
    assert after == said(CsmSlots(base, 2, {"champion": second}))
    assert after != before


def test_a_voice_whose_tables_would_be_large_has_none(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_depth, "LARGEST_TABLE", 1000)
    decoder = CsmSlots(base, 2, {}).decoder
    assert isinstance(decoder.depth, Depth)
    assert isinstance(decoder.backbone, SmallStack)
