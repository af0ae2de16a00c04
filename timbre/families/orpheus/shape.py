"""How large an Orpheus is, by its config.json. A frame is a token here: seven to a coarse frame of SNAC's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timbre.families.shape import NO_DECODER, CodecShape, Shape, llama

ORPHEUS_3B: dict[str, Any] = {
    "num_hidden_layers": 28, "hidden_size": 3072, "num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 8192, "vocab_size": 156_940,
}  # fmt: skip
SLOTS = 7  # tokens to a coarse frame
RATE = SLOTS * 24_000 / 2048  # tokens a second of the public SNAC


def snac_encoding(rate: float, channels: int, strides: tuple[int, ...]) -> float:
    """Operations for a second of sound."""
    products = rate * channels * 7
    for stride in strides:
        products += rate * 3 * (7 * channels + channels**2)  # three units: depthwise, then across the channels
        rate /= stride
        products += rate * 2 * channels**2 * 2 * stride
        channels *= 2
    return 2 * products


CODEC = CodecShape(19.84e6, snac_encoding(24_000, 48, (2, 4, 8, 8)))  # of the public SNAC


def shape(config: Mapping[str, Any]) -> Shape:
    """With the public codec: a config.json says nothing of another. The head shares the embeddings' weights."""
    backbone = llama({"head_dim": config["hidden_size"] // config["num_attention_heads"], **config})
    codes = 4096  # that a slot chooses among
    embedded = backbone.width * (config["vocab_size"] - codes)
    return Shape(backbone, NO_DECODER, 1, codes, embedded, RATE, CODEC)
