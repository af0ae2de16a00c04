"""The parts of a CSM that speak, read from a folder without transformers.

    parts = speaking_parts.read(Path("models/tiny/csm"))    # None: take the model that transformers makes

To speak, Timbre asks a model for its weights and sizes alone: the decode loop and the streaming codec are its own. So
modules of torch under the names that the file has are enough, and transformers' classes, which cost more than a third
of the time until a voice's first sound, are imported only to learn and to hear. Whatever is not as it is known here,
another kind of angles or a weight too few, is left to transformers, which loads it or says what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from timbre.families.csm.file_weights import Angles, FileWeights, Unfamiliar, attention, module, sizes
from timbre.families.csm.speaking_codec import SpeakingCodec, codec_sizes

FILE = "model.safetensors"


def read(base: Path) -> Any:
    """A module with the attributes of CsmForConditionalGeneration that speaking needs; None where it must be that."""
    return _read(base, SpeakingParts)


def read_codec(base: Path) -> Any:
    """Its codec alone."""
    return _read(base, codec_alone)


def _read(base: Path, make: Callable[[FileWeights, Mapping[str, Any]], Any]) -> Any:
    try:
        content = json.loads((base / "config.json").read_bytes())
        if content["model_type"] != "csm":
            return None
        with safe_open(base / FILE, "pt") as file, torch.random.fork_rng(devices=[]):
            return make(FileWeights(file), content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError):
        return None


def codec_alone(weights: FileWeights, content: Mapping[str, Any]) -> SpeakingCodec:
    config = codec_sizes(content["codec_config"])
    if config.num_quantizers != content["num_codebooks"]:
        raise Unfamiliar("num_codebooks")
    return SpeakingCodec(weights, config)


class FrameEmbedding(nn.Module):  # type: ignore[misc]
    """Codes (…, codebooks) → the sum of their embeddings."""

    def __init__(self, each: nn.Embedding, codebooks: int, codes: int) -> None:
        super().__init__()
        self.embed_audio_tokens = each
        self.register_buffer("audio_tokens_offsets", torch.arange(codebooks) * codes, persistent=False)

    def forward(self, codes: Tensor) -> Tensor:
        return torch.as_tensor(self.embed_audio_tokens(codes + self.audio_tokens_offsets).sum(2))


class SpeakingParts(nn.Module):  # type: ignore[misc]
    """See `read`."""

    def __init__(self, weights: FileWeights, content: Mapping[str, Any]) -> None:
        super().__init__()
        if content["attention_bias"] or content["mlp_bias"] or not content["tie_codebooks_embeddings"]:
            raise Unfamiliar("biases, or embeddings that are not shared")
        depth, codec = sizes(content["depth_decoder_config"]), codec_sizes(content["codec_config"])
        self.config = config = sizes(content, depth_decoder_config=depth, codec_config=codec)
        for part in (config, depth, codec):
            Angles(part)  # of another kind they are better met before gigabytes of weights are read
        count = config.num_codebooks * config.vocab_size
        if depth.backbone_hidden_size != config.hidden_size or depth.num_codebooks != config.num_codebooks:
            raise Unfamiliar("depth_decoder_config")
        self.lm_head = weights.linear("lm_head", config.hidden_size, config.vocab_size)
        self.embed_text_tokens = weights.embedding("embed_text_tokens", config.text_vocab_size, config.hidden_size)
        shared = weights.embedding("depth_decoder.model.embed_tokens", count, config.hidden_size)
        weights.left.discard("backbone_model.embed_tokens.embed_audio_tokens.weight")
        self.backbone_model = decoder(weights, "backbone_model", config)
        self.backbone_model.embed_tokens = FrameEmbedding(shared, config.num_codebooks, config.vocab_size)
        deep = decoder(weights, "depth_decoder.model", depth)
        deep.embed_tokens = shared
        projector = "depth_decoder.model.inputs_embeds_projector"
        deep.inputs_embeds_projector = weights.linear(projector, config.hidden_size, depth.hidden_size)
        heads = "depth_decoder.codebooks_head"
        shape = config.num_codebooks - 1, depth.hidden_size, depth.vocab_size
        head = module(weight=weights.parameter(f"{heads}.weight", *shape))
        self.depth_decoder = module(model=deep, codebooks_head=head, config=depth)
        self.codec_model = SpeakingCodec(weights, codec)
        self.unread = weights.unread

    @property
    def device(self) -> torch.device:
        return torch.device(self.lm_head.weight.device if isinstance(self.lm_head, nn.Linear) else "cpu")


def decoder(weights: FileWeights, name: str, config: Any) -> Any:
    """The layers of a Llama."""
    if config.hidden_act != "silu" or config.attention_bias or config.mlp_bias:
        raise Unfamiliar(f"{name}: activation or biases")
    layers = [decoder_layer(weights, f"{name}.layers.{number}", config) for number in range(config.num_hidden_layers)]
    norm = weights.norm(f"{name}.norm", config.hidden_size, config.rms_norm_eps)
    return module(config=config, layers=nn.ModuleList(layers), norm=norm, rotary_emb=Angles(config))


def decoder_layer(weights: FileWeights, name: str, config: Any) -> nn.Module:
    hidden, inner, width = config.hidden_size, config.intermediate_size, config.head_dim
    mlp = module(
        gate_proj=weights.linear(f"{name}.mlp.gate_proj", hidden, inner),
        up_proj=weights.linear(f"{name}.mlp.up_proj", hidden, inner),
        down_proj=weights.linear(f"{name}.mlp.down_proj", inner, hidden),
        act_fn=nn.SiLU(),
    )
    return module(
        self_attn=attention(weights, f"{name}.self_attn", config, width),
        mlp=mlp,
        input_layernorm=weights.norm(f"{name}.input_layernorm", hidden, config.rms_norm_eps),
        post_attention_layernorm=weights.norm(f"{name}.post_attention_layernorm", hidden, config.rms_norm_eps),
    )
