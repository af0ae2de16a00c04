"""How large an XTTS is, by its config.json; what makes and hears sound has sizes that only its files tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timbre.families.protocol import config_file
from timbre.families.shape import NO_DECODER, CodecShape, DecoderShape, Shape
from timbre.families.tensor_sizes import Sizes, matrices

XTTS_V2: dict[str, Any] = {
    "model_args": {
        "gpt_layers": 30, "gpt_n_model_channels": 1024, "gpt_n_heads": 16, "gpt_max_audio_tokens": 605,
        "gpt_max_text_tokens": 402, "gpt_num_audio_tokens": 1026, "gpt_number_text_tokens": 6681,
        "gpt_code_stride_len": 1024,
    }
}  # fmt: skip
SOUND_RATE = 22_050  # Hz
CODEC_WEIGHTS, CODEC_OPERATIONS = 17.83e6, 1.1e9  # of the codec's encoder; operations for a second of sound
SPEAKER_WEIGHTS, SPEAKER_OPERATIONS = 8.03e6, 3.5e9  # of the speaker encoder; about
VOCODER_WEIGHTS = 51.57e6
VOCODER, SPEAKER = "hifigan_decoder.waveform_decoder.", "hifigan_decoder.speaker_encoder."  # in model.pth
FRAME_RATE, RATES = 24_000 / 256, (8, 8, 2, 2)  # Hz of the vocoder's frames; how much each level makes of one
RESIDUALS = 6 * (3 + 7 + 11)  # convolutions of a level's blocks, times their kernels


def read_config(folder: Path) -> Mapping[str, Any] | None:
    """A base's, with the sizes that its files tell."""
    config = config_file(folder)
    sizes = matrices(folder / "model.pth", "model")
    sizes = {name.removeprefix("xtts."): size for name, size in sizes.items()}  # of upstream's trainer
    first = sizes.get(f"{VOCODER}conv_pre.weight", ())
    if config is None or len(first) != 3:
        return config
    found = {
        "vocoder_width": first[0], "latents": first[1], "vocoder": _count(sizes, VOCODER),
        "speaker": _count(sizes, SPEAKER), "codec": _count(matrices(folder / "dvae.pth", "model"), "encoder."),
    }  # fmt: skip
    return {**config, **{name: number for name, number in found.items() if number}}


def _count(sizes: Sizes, prefix: str) -> int:
    return sum(math.prod(size) for name, size in sizes.items() if name.startswith(prefix))


def shape(config: Mapping[str, Any]) -> Shape:
    args = config["model_args"]
    width, codes = int(args["gpt_n_model_channels"]), int(args["gpt_num_audio_tokens"])
    text = int(args.get("gpt_number_text_tokens") or XTTS_V2["model_args"]["gpt_number_text_tokens"])
    # GPT-2's MLP has two matrices of four times the width, where a Llama's has three: as many weights
    layers = DecoderShape(int(args["gpt_layers"]), width, width, width, 8 * width // 3)
    places = int(args["gpt_max_text_tokens"]) + 2 + int(args["gpt_max_audio_tokens"]) + 3
    encoder = 6 * 4 * width**2 + 2 * (4 * 512 * width + 8 * width**2)  # conditioning encoder and perceiver
    embedded = width * (2 * text + codes + places) + encoder
    codec = config.get("codec", CODEC_WEIGHTS)
    speaker, vocoder = config.get("speaker", SPEAKER_WEIGHTS), config.get("vocoder", VOCODER_WEIGHTS)
    hearing = CODEC_OPERATIONS * codec / CODEC_WEIGHTS + SPEAKER_OPERATIONS * speaker / SPEAKER_WEIGHTS
    hearing += 2 * encoder * SOUND_RATE / 256
    speaking = vocoding(config.get("latents", width), config.get("vocoder_width", 512))
    stride = int(args.get("gpt_code_stride_len", 1024))
    sound = CodecShape(codec + speaker + vocoder, hearing, speaking)
    return Shape(layers, NO_DECODER, 1, codes, embedded, SOUND_RATE / stride, sound)


def vocoding(latents: int, width: int) -> float:
    """Operations of the vocoder for a second of sound."""
    rate, products = FRAME_RATE, FRAME_RATE * latents * width * 7
    for factor in RATES:
        products += rate * width * (width // 2) * 2 * factor
        rate, width = rate * factor, width // 2
        products += rate * RESIDUALS * width**2
    return 2 * (products + rate * width * 7)
