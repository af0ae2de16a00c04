"""How large a GPT-SoVITS is. Its folder has no config.json: the checkpoints hold their sizes, which never differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timbre.families.shape import NO_DECODER, CodecShape, DecoderShape, Shape, WaveShape

V2: dict[str, Any] = {"layers": 24, "width": 512, "phones": 732, "codes": 1025, "bert": 1024}
STAGE2_WEIGHTS, HUBERT_WEIGHTS = 51.3e6, 94.4e6
HUBERT_OPERATIONS = 2 * 50 * 85e6 + 7e9  # for a second of sound: its transformer at 50 Hz, and its convolutions
# Stage 2 and its discriminators at their released sizes, counted by torch: both objectives of a step, for a clip
STAGE2 = WaveShape(weights=98.1e6, segment=396e9, second=9.2e9, kept=0.96e9)


def shape(config: Mapping[str, Any]) -> Shape:
    width, codes = config["width"], config["codes"]
    # two matrices of four times the width, where a Llama's MLP has three: as many weights
    layers = DecoderShape(config["layers"], width, width, width, 8 * width // 3)
    embedded = width * (config["phones"] + codes + config["bert"])
    codec = CodecShape(STAGE2_WEIGHTS + HUBERT_WEIGHTS, HUBERT_OPERATIONS)
    return Shape(layers, NO_DECODER, 1, codes, embedded, 25.0, codec, STAGE2)
