"""Random voices of true shape, made in seconds and without a network: speed does not depend on what the weights say.

    voice = csm("csm-1b", device="cuda", dtype=torch.bfloat16)

`tiny` has the widths of models/tiny/csm, `csm-1b` those of sesame/csm-1b with Mimi as its codec (24 kHz, 12.5 frames
per second, 32 codebooks of 2048), `small` a few hundred MB between them, with csm-1b's codebooks. The codec is always
in single precision, as `timbre.families.csm.load` leaves it. A frame of such a voice never is the end, so the caps of
the requests alone decide how long it speaks.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from timbre.families.csm.load import read_config, tie
from timbre.families.csm.model import Csm

Size = Literal["tiny", "small", "csm-1b"]
SIZES: tuple[Size, ...] = ("tiny", "small", "csm-1b")
TINY = Path(__file__).parent.parent / "models/tiny/csm"
SPREAD = 0.02  # of weights, as transformers initialises them
PERIOD = 4_000_037  # weights until they repeat; a prime, so that no two rows of a matrix are the same

SMALL: dict[str, Any] = {
    "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 6, "num_attention_heads": 8,
    "num_key_value_heads": 2, "text_vocab_size": 16_000, "bos_token_id": 1, "pad_token_id": 2, "audio_token_id": 3,
    "audio_eos_token_id": 4, "depth_decoder_config": {
        "backbone_hidden_size": 512, "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 1,
    }, "codec_config": {
        "model_type": "mimi", "num_filters": 16, "hidden_size": 128, "intermediate_size": 512, "upsample_groups": 128,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4, "codebook_dim": 64,
        "vector_quantization_hidden_dimension": 64,
    },
}  # fmt: skip


class Tokenizer:
    """Four characters a token, as a text of English takes with a large vocabulary."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        pieces = [text[i : i + 4] for i in range(0, len(text), 4)]
        ends = [0] * add_special_tokens
        return {"input_ids": [*ends, *(zlib.crc32(piece.encode()) % self.size for piece in pieces), *ends]}


def csm(size: Size, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Csm:
    """The defaults of transformers are csm-1b's widths."""
    from accelerate import init_empty_weights
    from transformers import CsmConfig, CsmForConditionalGeneration, MimiModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    config = {
        "tiny": lambda: read_config(str(TINY), {}),
        "small": lambda: CsmConfig(**SMALL),
        "csm-1b": lambda: CsmConfig(codec_config={"model_type": "mimi"}, rope_parameters=ROPE),
    }[size]()
    with init_empty_weights(include_buffers=False):
        model = CsmForConditionalGeneration(config)
    model.tie_weights()
    torch.manual_seed(0)
    model.codec_model = MimiModel(config.codec_config)  # small enough to be initialised as it should be
    for name, buffer in model.codec_model.named_buffers():
        if name.endswith("embed_sum"):  # a fresh codebook is all zeros, and every sound the same code
            buffer.normal_()
    fill(model, torch.device(device), dtype)
    tie(model)
    return Csm(model.to(device).eval(), Tokenizer(config.text_vocab_size))


ROPE = {
    "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 32.0, "low_freq_factor": 0.125, "high_freq_factor": 0.5,
    "original_max_position_embeddings": 1024,
}  # fmt: skip


def fill(model: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Weights for all parameters that are empty; those that are tied stay tied."""
    noise = torch.randn(PERIOD, generator=torch.Generator().manual_seed(0)).mul_(SPREAD).to(device, dtype)
    made: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, empty in module.named_parameters(recurse=False):
            if empty.is_meta:
                if id(empty) not in made:
                    made[id(empty)] = torch.nn.Parameter(weights(empty.shape, noise, len(made)))
                setattr(module, name, made[id(empty)])


def weights(shape: torch.Size, noise: Tensor, number: int) -> Tensor:
    """Ones for a norm; else noise over and over, each tensor from another place."""
    if len(shape) == 1:
        return torch.ones(shape, dtype=noise.dtype, device=noise.device)
    made = torch.empty(shape, dtype=noise.dtype, device=noise.device)
    flat, start = made.view(-1), -(104_729 * number % PERIOD)
    for begin in range(start, len(flat), PERIOD):
        first, end = max(begin, 0), min(begin + PERIOD, len(flat))
        flat[first:end] = noise[first - begin : end - begin]
    return made
