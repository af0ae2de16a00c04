"""A small WavLM with an x-vector head, such as models/tiny/speaker, read from its folder without transformers.

    encoder = small_wavlm.load(Path("models/tiny/speaker"))      # None of one that transformers is to load
    encoder.vector(samples)                                      # as transformers' WavLMForXVector, to the last digit

transformers takes longer to import than the tiny encoder to hear a hundred clips. This knows one layout: convolutions
with a norm each, a plain encoder, its last layer alone; and a CPU. Of anything else in the folder, it says None.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional

from timbre.core.running import threads

SAMPLE_RATE = 16_000  # Hz
LARGEST = 60e6  # bytes of a file that is read here
LAYOUT = {
    "architectures": ["WavLMForXVector"], "model_type": "wavlm", "dtype": "float32", "conv_bias": True,
    "feat_extract_norm": "layer", "feat_extract_activation": "gelu", "hidden_act": "gelu", "add_adapter": False,
    "do_stable_layer_norm": False, "use_weighted_layer_sum": False,
}  # fmt: skip
SOUND = {
    "feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": True, "feature_size": 1,
    "return_attention_mask": False, "sampling_rate": SAMPLE_RATE,
}  # fmt: skip
BETWEEN = 1e-5  # epsilon of the norms between convolutions, which no configuration sets
POSITIONAL = "wavlm.encoder.pos_conv_embed.conv"


def load(folder: Path) -> SmallWavLM | None:
    config, sound = (_settings(folder / name) for name in ("config.json", "preprocessor_config.json"))
    if not _holds(config, LAYOUT) or not _holds(sound, SOUND) or torch.cuda.is_available():
        return None
    try:
        encoder = SmallWavLM(config, EncoderWeights(_values(folder / "model.safetensors")))
        encoder.vector(np.zeros(SAMPLE_RATE, np.float32))
    except (OSError, SafetensorError, KeyError, RuntimeError, TypeError, ValueError):
        return None  # a file or a weight is missing, damaged or of another shape: transformers says so
    return encoder


def _values(path: Path) -> dict[str, Tensor]:
    if path.stat().st_size > LARGEST:
        raise ValueError(path)
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name).to(torch.float32) for name in file.keys()}  # noqa: SIM118


def _settings(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def _holds(settings: dict[str, Any], asked: dict[str, Any]) -> bool:
    return all(settings.get(name) == value for name, value in asked.items())


@dataclass(frozen=True)
class EncoderWeights:
    values: dict[str, Tensor]

    def linear(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, self.values[f"{name}.weight"], self.values[f"{name}.bias"])

    def norm(self, name: str, x: Tensor, epsilon: float) -> Tensor:
        weight, bias = self.values[f"{name}.weight"], self.values[f"{name}.bias"]
        return functional.layer_norm(x, weight.shape, weight, bias, epsilon)


class SmallWavLM:
    def __init__(self, config: dict[str, Any], weights: EncoderWeights) -> None:
        self.config, self.weights, values = config, weights, weights.values
        self.threads = threads(sum(value.numel() for value in values.values()))
        size, direction = (values[f"{POSITIONAL}.parametrizations.weight.original{n}"] for n in (0, 1))
        self.positional = torch._weight_norm(direction, size, 2)
        self.pooled = [self._pooling(number, width) for number, width in enumerate(config["tdnn_kernel"])]

    def _pooling(self, number: int, width: int) -> Tensor:
        """A layer's weight (outputs, inputs, width), which the file has as a matrix."""
        return self.weights.values[f"tdnn.{number}.kernel.weight"].unflatten(1, (width, -1)).transpose(1, 2)

    def vector(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Of sound at 16 kHz."""
        torch.set_num_threads(self.threads)
        level = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        with torch.inference_mode():
            x = self.weights.linear("projector", self._encoded(self._features(torch.from_numpy(level)[None, None])))
            for number, (weight, dilation) in enumerate(zip(self.pooled, self.config["tdnn_dilation"], strict=True)):
                bias = self.weights.values[f"tdnn.{number}.kernel.bias"]
                x = functional.conv1d(x.transpose(1, 2), weight, bias, dilation=dilation).transpose(1, 2).relu()
            pooled = torch.cat((x.mean(dim=1), x.std(dim=1)), -1)
            return np.asarray(self.weights.linear("feature_extractor", pooled)[0].numpy())

    def _features(self, x: Tensor) -> Tensor:
        """(1, 1, samples) → (1, positions, channels)."""
        weights, values, epsilon = self.weights, self.weights.values, self.config["layer_norm_eps"]
        for number, stride in enumerate(self.config["conv_stride"]):
            name = f"wavlm.feature_extractor.conv_layers.{number}"
            x = functional.conv1d(x, values[f"{name}.conv.weight"], values[f"{name}.conv.bias"], stride)
            x = functional.gelu(weights.norm(f"{name}.layer_norm", x.transpose(1, 2), BETWEEN).transpose(1, 2))
        x = weights.norm("wavlm.feature_projection.layer_norm", x.transpose(1, 2), epsilon)
        return weights.linear("wavlm.feature_projection.projection", x)

    def _encoded(self, x: Tensor) -> Tensor:
        weights, bias = self.weights, self.weights.values[f"{POSITIONAL}.bias"]
        epsilon, groups = self.config["layer_norm_eps"], self.config["num_conv_pos_embedding_groups"]
        width = self.positional.shape[-1]
        near = functional.conv1d(x.transpose(1, 2), self.positional, bias, padding=width // 2, groups=groups)
        x = x + functional.gelu(near[:, :, : x.shape[1]]).transpose(1, 2)
        x = weights.norm("wavlm.encoder.layer_norm", x, epsilon)
        distances = self._distances(x.shape[1])
        for number in range(self.config["num_hidden_layers"]):
            name = f"wavlm.encoder.layers.{number}"
            x = weights.norm(f"{name}.layer_norm", x + self._attended(f"{name}.attention", x, distances), epsilon)
            inner = functional.gelu(weights.linear(f"{name}.feed_forward.intermediate_dense", x))
            x = x + weights.linear(f"{name}.feed_forward.output_dense", inner)
            x = weights.norm(f"{name}.final_layer_norm", x, epsilon)
        return x

    def _attended(self, name: str, x: Tensor, distances: Tensor) -> Tensor:
        """How much a distance counts depends on who looks: each position opens or closes it."""
        weights, values, heads = self.weights, self.weights.values, self.config["num_attention_heads"]
        opened = weights.linear(f"{name}.gru_rel_pos_linear", x.unflatten(2, (heads, -1)).transpose(1, 2))
        first, second = opened.unflatten(3, (2, 4)).sum(-1).sigmoid().chunk(2, dim=-1)
        gate = first * (second * values[f"{name}.gru_rel_pos_const"] - 1.0) + 2.0
        query, key, value, out = (f"{name}.{part}_proj" for part in ("q", "k", "v", "out"))
        turned = x.transpose(0, 1)
        heard, _ = functional.multi_head_attention_forward(
            turned, turned, turned, x.shape[2], heads, None,
            torch.cat([values[f"{part}.bias"] for part in (query, key, value)]), None, None, False, 0.0,
            values[f"{out}.weight"], values[f"{out}.bias"], training=False, need_weights=True,
            attn_mask=gate[0] * distances, use_separate_proj_weight=True, q_proj_weight=values[f"{query}.weight"],
            k_proj_weight=values[f"{key}.weight"], v_proj_weight=values[f"{value}.weight"],
        )  # fmt: skip
        return heard.transpose(0, 1)

    def _distances(self, positions: int) -> Tensor:
        """(heads, positions, positions): what the first layer learnt of each distance, of which there are few."""
        table = self.weights.values["wavlm.encoder.layers.0.attention.rel_attn_embed.weight"]
        apart = torch.arange(1 - positions, positions)
        counted = table[self._bucket(apart)].T.unfold(1, positions, 1)
        return counted.flip(1)

    def _bucket(self, apart: Tensor) -> Tensor:
        """Near distances have one each, far ones share them by their logarithm; half of all are of what comes later."""
        half = self.config["num_buckets"] // 2
        near, size = half // 2, apart.abs()
        share = torch.log(size.float() / near) / math.log(self.config["max_bucket_distance"] / near)
        far = (near + share * (half - near)).to(torch.long).clamp(max=half - 1)
        return (apart > 0) * half + torch.where(size < near, size, far)
