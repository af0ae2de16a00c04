"""A small voice's layers with as few calls as possible: a position of each row, for the slots of a server on a CPU.

Of eight small rows the sums are a tenth of the time, the calls are the rest. So norms and the scale of attention lie in
the weights, products add to what is there, and all buffers keep their places. Rows that speak with several voices are
computed once for each of these, and each row takes its own; so what comes out for a row does not depend on who speaks
beside it. The last digits are not those of `timbre.families.llama`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from timbre.families.llama import Layer
from timbre.families.lora_rows import MergedProduct


class SmallLayer(NamedTuple):
    """One layer's weights (in, out), those of the norm before them within."""

    qkv: Tensor
    output: Tensor
    gates: Tensor
    down: Tensor


class SmallVoice(NamedTuple):
    """What a voice, or the base alone, speaks with."""

    layers: list[SmallLayer]
    heads: Sequence[Tensor] = ()  # (hidden, codes) of each codebook that is said here
    tables: Sequence[Tensor] = ()  # of each codebook that is heard here (codes, hidden + query, key and value)


class SmallLayers:
    """The layers of a Llama-like `model` for one position of each of `rows`, in buffers of their own."""

    @staticmethod
    def fits(model: Any, layers: Sequence[Layer]) -> bool:
        """Of layers in single precision on a CPU that are so small that each voice has merged weights."""
        weight = model.norm.weight
        products = [product for layer in layers for product in (layer.qkv, layer.output, layer.gates, layer.down)]
        return (
            weight.device.type == "cpu"
            and weight.dtype == torch.float32
            and all(isinstance(product, MergedProduct) for product in products)
            and model.config.hidden_act == "silu"
        )

    def __init__(self, model: Any, layers: Sequence[Layer], rows: int) -> None:
        config = model.config
        self.model, self.products, self.rows = model, layers, rows
        self.hidden, self.width = int(config.hidden_size), int(config.head_dim)
        self.heads, self.groups = int(config.num_attention_heads), int(config.num_key_value_heads)
        self.turning = self.heads + self.groups  # heads that a position turns
        self.outputs = (self.heads + 2 * self.groups) * self.width  # of query, key and value together
        self.voices: dict[str | None, SmallVoice] = {}
        like = model.norm.weight.detach()
        self.both = like.new_zeros(rows, self.hidden + self.outputs)
        self.x, self.qkv = self.both.split((self.hidden, self.outputs), 1)
        self.said = self.qkv.unflatten(1, (-1, self.width))  # (rows, heads and twice the groups, width)
        self.normal, self.size = like.new_zeros(rows, self.hidden), like.new_zeros(rows, 1)
        self.least = like.new_tensor((self.hidden * model.norm.variance_epsilon) ** 0.5)
        self.gated = like.new_zeros(rows, 2 * config.intermediate_size)
        self.gate, self.up = self.gated.chunk(2, 1)
        self.active = like.new_zeros(rows, config.intermediate_size)

    def voice(self, name: str | None) -> SmallVoice:
        if name not in self.voices:
            self.learn(name)
        return self.voices[name]

    def learn(self, name: str | None) -> None:
        """A voice that rows may take from now on; its layers have learnt it."""
        self.voices[name] = SmallVoice(self.merged(name))

    def forget(self, name: str) -> None:
        self.voices.pop(name, None)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def merged(self, name: str | None) -> list[SmallLayer]:
        return [self._layer(*each, name) for each in zip(self.products, self.model.layers, strict=True)]

    def _layer(self, products: Layer, layer: Any, name: str | None) -> SmallLayer:
        qkv, output, gates, down = (
            product.base if name is None else product.merged[name]
            for product in (products.qkv, products.output, products.gates, products.down)
            if isinstance(product, MergedProduct)
        )
        return SmallLayer(
            self.folded(layer.input_layernorm) * qkv, output, self.folded(layer.post_attention_layernorm) * gates, down
        )

    def folded(self, norm: Any) -> Tensor:
        """What x, divided by its own size, is multiplied with (hidden, 1)."""
        return torch.as_tensor(norm.weight.detach()[:, None] * self.hidden**0.5)

    def normed(self) -> Tensor:
        torch.linalg.vector_norm(self.x, dim=-1, keepdim=True, out=self.size)
        return torch.div(self.x, self.size.hypot_(self.least), out=self.normal)

    def ask(self, layer: SmallLayer) -> None:
        """Query, key and value of x, before they turn."""
        torch.mm(self.normed(), layer.qkv, out=self.qkv)

    def think(self, layer: SmallLayer, attended: Tensor) -> None:
        """x goes on by what was heard (rows, heads * width)."""
        self.x.addmm_(attended, layer.output)
        torch.mm(self.normed(), layer.gates, out=self.gated)
        torch.mul(F.silu(self.gate), self.up, out=self.active)
        self.x.addmm_(self.active, layer.down)
