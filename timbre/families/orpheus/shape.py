"""How large an Orpheus is, by its config.json. A frame is a token here: seven to a coarse frame of SNAC's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timbre.families.protocol import config_file
from timbre.families.shape import NO_DECODER, CodecShape, Shape, llama

ORPHEUS_3B: dict[str, Any] = {
    "num_hidden_layers": 28, "hidden_size": 3072, "num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 8192, "vocab_size": 156_940,
}  # fmt: skip
SLOTS = 7  # tokens to a coarse frame
SNAC_24KHZ: dict[str, Any] = {
    "sampling_rate": 24_000, "encoder_dim": 48, "encoder_rates": [2, 4, 8, 8], "decoder_dim": 1024,
    "decoder_rates": [8, 8, 4, 2], "vq_strides": [4, 2, 1], "codebook_size": 4096, "codebook_dim": 8,
    "depthwise": True,
}  # fmt: skip


def read_config(folder: Path) -> Mapping[str, Any] | None:
    """A base's, and that of the codec in it."""
    config, codec = config_file(folder), config_file(folder / "snac")
    return {**config, "snac": codec} if config and codec else config


def snac(codec: Mapping[str, Any]) -> CodecShape:
    """Its weights, and operations for a second of sound either way."""
    weights, encoding, channels = 0.0, 0.0, int(codec["encoder_dim"])
    rate = float(codec["sampling_rate"])

    def wide_convolution(channels: int) -> int:
        return channels * 7 * (1 if codec["depthwise"] else channels)

    def unit(channels: int) -> int:
        """Weights of one of a block's three residual units."""
        return wide_convolution(channels) + channels**2

    encoding += rate * channels * 7
    for stride in codec["encoder_rates"]:
        encoding += rate * 3 * unit(channels)
        rate /= stride
        encoding += rate * channels * 2 * channels * 2 * stride
        weights += 3 * unit(channels) + channels * 2 * channels * 2 * stride
        channels *= 2
    searched = codec["codebook_size"] * codec["codebook_dim"]  # for each code
    weights += wide_convolution(channels) + searched * len(codec["vq_strides"])
    encoding += rate * (wide_convolution(channels) + searched * sum(1 / stride for stride in codec["vq_strides"]))
    wide = int(codec["decoder_dim"])
    first = channels * wide if codec["depthwise"] else channels * 7 * wide
    decoding, weights = rate * first, weights + first
    for stride in codec["decoder_rates"]:
        decoding += rate * wide * (wide // 2) * 2 * stride
        rate *= stride
        weights += wide * (wide // 2) * 2 * stride
        wide //= 2
        decoding += rate * (3 * unit(wide) + (wide**2 if codec.get("noise", True) else 0))
        weights += 3 * unit(wide)
    decoding += rate * wide * 7
    return CodecShape(weights, 2 * encoding, 2 * decoding)


def shape(config: Mapping[str, Any]) -> Shape:
    """With the public codec where none lies in the base's folder. The head shares the embeddings' weights."""
    codec = config.get("snac", SNAC_24KHZ)
    backbone = llama({"head_dim": config["hidden_size"] // config["num_attention_heads"], **config})
    codes = int(codec["codebook_size"])  # that a slot chooses among
    embedded = backbone.width * (config["vocab_size"] - codes)
    coarse = codec["sampling_rate"] / math.prod(codec["encoder_rates"]) / codec["vq_strides"][0]  # frames a second
    return Shape(backbone, NO_DECODER, 1, codes, embedded, SLOTS * coarse, snac(codec))
