"""The half of a Mimi that makes sound of codes; see `timbre.families.csm.speaking_parts`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from timbre.families.csm.file_weights import Angles, FileWeights, Unfamiliar, attention, module, sizes


class SpokenBook(nn.Module):  # type: ignore[misc]
    def __init__(self, weights: FileWeights, name: str, codes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("cluster_usage", weights.take(f"{name}.cluster_usage", codes))
        self.register_buffer("embed_sum", weights.take(f"{name}.embed_sum", codes, width))

    @property
    def embed(self) -> Tensor:
        """Each code's mean; of what was met too rarely, nearly the sum."""
        return torch.as_tensor(self.embed_sum / self.cluster_usage.clamp(min=1e-5)[:, None])


def codec_sizes(content: Mapping[str, Any]) -> Any:
    """Of a Mimi that speaks piece by piece."""
    config = sizes(content)
    causal = config.use_causal_conv and config.pad_mode == "constant" and config.trim_right_ratio == 1
    rate = content.get("_frame_rate") or content.get("frame_rate")
    other = config.use_conv_shortcut or config.attention_bias or config.audio_channels != 1 or rate
    if content["model_type"] != "mimi" or other or not causal or config.hidden_act != "gelu":
        raise Unfamiliar("codec_config")
    config.frame_size = 2 * math.prod(config.upsampling_ratios)  # samples
    config.frame_rate = config.sampling_rate / config.frame_size
    return config


class SpeakingCodec(nn.Module):  # type: ignore[misc]
    """The half of a Mimi that makes sound of codes, under the names of its file."""

    def __init__(self, weights: FileWeights, config: Any) -> None:
        super().__init__()
        self.config = config
        rate = math.ceil(config.sampling_rate / math.prod(config.upsampling_ratios))
        stride, hidden = int(rate / config.frame_rate), config.hidden_size
        upsample, groups = "codec_model.upsample", config.upsample_groups
        self.upsample = weights.upwards(upsample, hidden, hidden, stride, groups=groups, bias=False)
        name = "codec_model.decoder_transformer"
        layers = [codec_layer(weights, f"{name}.layers.{number}", config) for number in range(config.num_hidden_layers)]
        self.decoder_transformer = module(layers=nn.ModuleList(layers), rotary_emb=Angles(config))
        self.decoder = module(layers=nn.ModuleList(convolutions(weights, "codec_model.decoder.layers", config)))
        self.quantizer = quantizer(weights, "codec_model.quantizer", config)

    @property
    def device(self) -> torch.device:
        return torch.device(self.upsample.conv.weight.device)


def codec_layer(weights: FileWeights, name: str, config: Any) -> nn.Module:
    hidden, inner = config.hidden_size, config.intermediate_size
    norms = {}
    for each in ("input_layernorm", "post_attention_layernorm"):
        norms[each] = norm = nn.LayerNorm(hidden, config.norm_eps)
        for part in ("weight", "bias"):
            setattr(norm, part, weights.parameter(f"{name}.{each}.{part}", hidden))
    scales = {
        each: module(scale=weights.parameter(f"{name}.{each}.scale", hidden))
        for each in ("self_attn_layer_scale", "mlp_layer_scale")
    }
    mlp = module(
        fc1=weights.linear(f"{name}.mlp.fc1", hidden, inner),
        fc2=weights.linear(f"{name}.mlp.fc2", inner, hidden),
        activation_fn=nn.GELU(),
    )
    heads = attention(weights, f"{name}.self_attn", config, config.head_dim)
    return module(self_attn=heads, mlp=mlp, **norms, **scales)


def convolutions(weights: FileWeights, name: str, config: Any) -> list[nn.Module]:
    """From the transformer's states up to samples: each step doubles nothing but the rate, and halves the channels."""
    channels = config.num_filters * 2 ** len(config.upsampling_ratios)
    layers = [weights.convolution(f"{name}.0", config.hidden_size, channels, config.kernel_size)]
    for ratio in config.upsampling_ratios:
        layers.append(nn.ELU())
        layers.append(weights.upwards(f"{name}.{len(layers)}", channels, channels // 2, ratio))
        channels //= 2
        for number in range(config.num_residual_layers):
            dilation = config.dilation_growth_rate**number
            layers.append(residual(weights, f"{name}.{len(layers)}.block", channels, dilation, config))
    layers.append(nn.ELU())
    layers.append(weights.convolution(f"{name}.{len(layers)}", channels, 1, config.last_kernel_size))
    return layers


def residual(weights: FileWeights, name: str, channels: int, dilation: int, config: Any) -> nn.Module:
    inner = channels // config.compress
    first = weights.convolution(f"{name}.1", channels, inner, config.residual_kernel_size, dilation=dilation)
    second = weights.convolution(f"{name}.3", inner, channels, 1)
    return module(block=nn.ModuleList([nn.ELU(), first, nn.ELU(), second]), shortcut=nn.Identity())


def quantizer(weights: FileWeights, name: str, config: Any) -> Any:
    semantic, width = config.num_semantic_quantizers, config.vector_quantization_hidden_dimension

    def books(kind: str, count: int) -> Any:
        own = f"{name}.{kind}_residual_vector_quantizer"
        shape = config.codebook_size, config.codebook_dim
        each = [SpokenBook(weights, f"{own}.layers.{number}.codebook", *shape) for number in range(count)]
        out = None
        if width != config.hidden_size:
            out = module(weight=weights.parameter(f"{own}.output_proj.weight", config.hidden_size, width, 1))
        return module(layers=nn.ModuleList(module(codebook=book) for book in each), output_proj=out)

    return module(
        num_semantic_quantizers=semantic,
        semantic_residual_vector_quantizer=books("semantic", semantic),
        acoustic_residual_vector_quantizer=books("acoustic", config.num_quantizers - semantic),
    )
