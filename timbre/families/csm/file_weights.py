"""Modules of torch that hold a file's weights under its names, for what speaks without transformers' classes.

See `timbre.families.csm.speaking_parts`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

BUFFERS = ("cluster_usage", "embed_sum", "initialized")  # of a book of codes: weights that nothing learns


class Unfamiliar(ValueError):
    """Something that transformers knows and this module does not."""


class FileWeights:
    """The weights of a file by their names, in single precision."""

    def __init__(self, file: Any) -> None:
        self.file, self.left = file, set(file.keys())

    def take(self, name: str, *shape: int) -> Tensor:
        value = self.file.get_tensor(name)
        if value.shape != shape:
            raise Unfamiliar(name)
        self.left.discard(name)
        return torch.as_tensor(value.to(torch.float32, copy=True))

    def parameter(self, name: str, *shape: int) -> nn.Parameter:
        return nn.Parameter(self.take(name, *shape), requires_grad=False)

    def linear(self, name: str, inputs: int, outputs: int) -> nn.Linear:
        layer = nn.Linear(1, 1, bias=False)  # nothing is drawn by lot that is replaced at once
        layer.in_features, layer.out_features = inputs, outputs
        layer.weight = self.parameter(f"{name}.weight", outputs, inputs)
        return layer

    def embedding(self, name: str, count: int, width: int) -> nn.Embedding:
        return nn.Embedding.from_pretrained(self.take(f"{name}.weight", count, width))

    def convolution(
        self, name: str, inputs: int, outputs: int, kernel: int, *, dilation: int = 1, bias: bool = True
    ) -> nn.Module:
        conv = nn.Conv1d(1, 1, kernel, dilation=dilation, bias=bias)
        return self._filled(conv, name, (outputs, inputs, kernel), inputs, outputs)

    def upwards(
        self, name: str, inputs: int, outputs: int, stride: int, *, groups: int = 1, bias: bool = True
    ) -> nn.Module:
        conv = nn.ConvTranspose1d(groups, groups, 2 * stride, stride, groups=groups, bias=bias)
        return self._filled(conv, name, (inputs, outputs // groups, 2 * stride), inputs, outputs)

    def _filled(self, conv: Any, name: str, shape: Sequence[int], inputs: int, outputs: int) -> nn.Module:
        conv.in_channels, conv.out_channels = inputs, outputs
        conv.weight = self.parameter(f"{name}.conv.weight", *shape)
        if conv.bias is not None:
            conv.bias = self.parameter(f"{name}.conv.bias", outputs)
        return module(conv=conv)

    def norm(self, name: str, width: int, epsilon: float) -> nn.Module:
        return module(weight=self.parameter(f"{name}.weight", width), variance_epsilon=epsilon)

    @property
    def unread(self) -> int:
        """Numbers in the parameters that nobody took."""
        names = [name for name in self.left if not name.endswith(BUFFERS)]
        return sum(math.prod(self.file.get_slice(name).get_shape()) for name in names)


def module(**parts: Any) -> Any:
    """A module that holds modules, parameters and plain values, and has no way of its own to use them."""
    made = nn.Module()
    for name, part in parts.items():
        setattr(made, name, part)
    return made


def sizes(content: Mapping[str, Any], **more: Any) -> Any:
    """What a configuration says, by attributes."""
    return SimpleNamespace(**(dict(content) | more))


class Angles(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """By how much each position turns: called as transformers' rotary embeddings are."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        rope = config.rope_parameters
        if rope.keys() != {"rope_theta", "rope_type"} or rope["rope_type"] != "default":
            raise Unfamiliar("rope_parameters")
        even = torch.arange(0, config.head_dim, 2, dtype=torch.float)
        self.register_buffer("inv_freq", 1.0 / rope["rope_theta"] ** (even / config.head_dim), persistent=False)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        turned = position_ids[..., None].float() * self.inv_freq.to(x.device, torch.float)
        both = torch.cat((turned, turned), -1)
        return both.cos().to(x.dtype), both.sin().to(x.dtype)


def attention(weights: FileWeights, name: str, config: Any, width: int) -> Any:
    hidden, asked, kept = config.hidden_size, config.num_attention_heads * width, config.num_key_value_heads * width
    return module(
        head_dim=width,
        q_proj=weights.linear(f"{name}.q_proj", hidden, asked),
        k_proj=weights.linear(f"{name}.k_proj", hidden, kept),
        v_proj=weights.linear(f"{name}.v_proj", hidden, kept),
        o_proj=weights.linear(f"{name}.o_proj", asked, hidden),
    )
