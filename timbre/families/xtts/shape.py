"""How large an XTTS is, by its config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timbre.families.shape import NO_DECODER, CodecShape, DecoderShape, Shape

XTTS_V2: dict[str, Any] = {
    "model_args": {
        "gpt_layers": 30, "gpt_n_model_channels": 1024, "gpt_n_heads": 16, "gpt_max_audio_tokens": 605,
        "gpt_max_text_tokens": 402, "gpt_num_audio_tokens": 1026, "gpt_number_text_tokens": 6681,
        "gpt_code_stride_len": 1024,
    }
}  # fmt: skip
SOUND_RATE = 22_050  # Hz
CODEC_WEIGHTS = 77.43e6  # codec 17.83, speaker encoder 8.03, vocoder 51.57 million
CODEC_OPERATIONS = 1.1e9  # of the codec's encoder for a second of sound
SPEAKER_OPERATIONS = 3.5e9  # of the speaker encoder, about


def shape(config: Mapping[str, Any]) -> Shape:
    args = config["model_args"]
    width, codes = int(args["gpt_n_model_channels"]), int(args["gpt_num_audio_tokens"])
    text = int(args.get("gpt_number_text_tokens") or XTTS_V2["model_args"]["gpt_number_text_tokens"])
    # GPT-2's MLP has two matrices of four times the width, where a Llama's has three: as many weights
    layers = DecoderShape(int(args["gpt_layers"]), width, width, width, 8 * width // 3)
    places = int(args["gpt_max_text_tokens"]) + 2 + int(args["gpt_max_audio_tokens"]) + 3
    encoder = 6 * 4 * width**2 + 2 * (4 * 512 * width + 8 * width**2)  # conditioning encoder and perceiver
    embedded = width * (2 * text + codes + places) + encoder
    hearing = CODEC_OPERATIONS + SPEAKER_OPERATIONS + 2 * encoder * SOUND_RATE / 256
    stride = int(args.get("gpt_code_stride_len", 1024))
    return Shape(layers, NO_DECODER, 1, codes, embedded, SOUND_RATE / stride, CodecShape(CODEC_WEIGHTS, hearing))
