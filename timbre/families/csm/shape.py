"""How large a CSM is, by its config.json; a test holds the counts to those of torch on a random model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from timbre.families.shape import CodecShape, Shape, llama

CSM_1B: dict[str, Any] = {
    "num_hidden_layers": 16, "hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64,
    "intermediate_size": 8192, "num_codebooks": 32, "vocab_size": 2051, "text_vocab_size": 128_256,
    "depth_decoder_config": {
        "num_hidden_layers": 4, "hidden_size": 1024, "num_attention_heads": 8, "num_key_value_heads": 2,
        "head_dim": 128, "intermediate_size": 8192,
    }, "codec_config": {
        "sampling_rate": 24_000, "upsampling_ratios": [8, 6, 5, 4], "num_filters": 64, "hidden_size": 512,
        "num_hidden_layers": 8, "intermediate_size": 2048, "codebook_dim": 256, "codebook_size": 2048,
    },
}  # fmt: skip


def shape(config: Mapping[str, Any]) -> Shape:
    codec, backbone = config["codec_config"], llama(config)
    frame = 2 * math.prod(codec["upsampling_ratios"])  # samples
    codebooks, codes = config["num_codebooks"], config["vocab_size"]
    return Shape(
        backbone, llama(config["depth_decoder_config"]), codebooks, codes,
        backbone.width * (config["text_vocab_size"] + codes * codebooks), codec["sampling_rate"] / frame,
        CodecShape(mimi_weights(codec), *[mimi_encoding(codec)] * 2),  # both ways are alike
    )  # fmt: skip


def mimi_encoding(codec: Mapping[str, Any]) -> float:
    """Operations for a second of sound."""
    channels, hidden = int(codec["num_filters"]), int(codec["hidden_size"])
    rate = float(codec["sampling_rate"])
    products = rate * channels * 7
    for ratio in reversed(codec["upsampling_ratios"]):
        products += rate * channels * channels // 2 * 4  # a block of two convolutions, 3 and 1 wide
        rate /= ratio
        products += rate * channels * 2 * channels * 2 * ratio
        channels *= 2
    products += rate * channels * hidden * 3
    products += rate * codec["num_hidden_layers"] * (4 * hidden**2 + 2 * hidden * codec["intermediate_size"])
    products += rate / 2 * hidden**2 * 4  # to the frame rate
    return float(2 * products)


def mimi_weights(codec: Mapping[str, Any]) -> float:
    """Both ways; the transformers and the last convolutions have nearly all of them."""
    hidden = int(codec["hidden_size"])
    layer = 4 * hidden**2 + 2 * hidden * int(codec["intermediate_size"])
    channels = int(codec["num_filters"]) * 2 ** len(codec["upsampling_ratios"])
    ratio = int(max(codec["upsampling_ratios"]))
    return float(
        2 * (int(codec["num_hidden_layers"]) * layer + channels**2 * ratio + 3 * channels * hidden + 4 * hidden**2)
    )
