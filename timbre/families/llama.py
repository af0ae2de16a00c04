"""A transformer's layers bare, over key-value caches laid out once: each row of a step at its own place.

Nothing here waits for the host or makes a tensor whose shape depends on values, so CUDA can capture a step and replay
it; and a row's sums do not depend on what the other rows hold.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbre.families.compiling import Compiled
from timbre.families.fused_layers import fuse
from timbre.families.int8 import Int8Part, joint
from timbre.families.lora_rows import RowProduct

Product = Callable[[Tensor], Tensor]
PACKED = 1 << 20  # numbers in a weight from which on oneDNN's own layout pays, on a CPU: 1.5 times as fast for one row,
# 2.5 times for eight, which then cost hardly more than one; a call costs 10 µs more than MKL's. In bf16 likewise


class Where(NamedTuple):
    """The positions of a step: where they lie in the cache, by what angles they turn, what they hear."""

    rows: Tensor  # (B, 1)
    places: Tensor  # (B, T)
    cosine: Tensor  # (B, T, 1, width)
    sine: Tensor  # likewise, negative in the first half
    mask: Tensor | None  # (B, 1, T * heads that share keys, length), added to the scores; None hears all
    length: int  # of the cache that is looked at
    start: int | None = None  # the first place, where it is the same in all rows


class CacheViews(NamedTuple):
    """One layer's cache."""

    keys: Tensor  # (rows, groups, length, width) as far as it is looked at
    values: Tensor  # likewise
    written: Tensor  # (rows, places, 2, groups, width): both, as they are written


class Layer:
    """One layer's weights, as a step uses them."""

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.before, self.after = normed(layer.input_layernorm), normed(layer.post_attention_layernorm)
        self.qkv = joined(attention.q_proj, attention.k_proj, attention.v_proj)
        self.output = joined(attention.o_proj)
        self.gates, self.activation, self.down = joined(mlp.gate_proj, mlp.up_proj), mlp.act_fn, joined(mlp.down_proj)

    def row(self, number: int) -> Layer:
        """The layer for one row alone: of products that differ from row to row, that row's."""
        part = copy.copy(self)
        part.qkv, part.output, part.gates, part.down = (
            product.row(number) if isinstance(product, RowProduct) else product
            for product in (self.qkv, self.output, self.gates, self.down)
        )
        return part

    def think(self, x: Tensor) -> Tensor:
        gate, up = self.gates(self.after(x)).chunk(2, -1)
        return x + self.down(self.activation(gate) * up)


def views(both: Tensor, length: int) -> CacheViews:
    """Of a layer's cache (2, rows, groups, places, width)."""
    keys, values = both.narrow(3, 0, length).unbind(0)
    return CacheViews(keys, values, both.permute(1, 3, 0, 2, 4))


class Stack:
    """The layers of a Llama-like `model` with room for `rows` sequences of at most `length` positions."""

    def __init__(self, model: Any, layers: list[Layer], rows: int, length: int) -> None:
        config, like = model.config, model.norm.weight
        self.layers, self.norm = layers, normed(model.norm)
        self.heads, self.groups, self.width = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        shape = (len(self.layers), 2, rows, self.groups, length, self.width)
        self.cache = torch.zeros(shape, dtype=like.dtype, device=like.device)
        self.looks: dict[int, list[CacheViews]] = {}  # by the length that is looked at
        self.compiled: Compiled | None = None
        self.every = torch.arange(length, device=like.device)
        self.rows = torch.arange(rows, device=like.device)[:, None]
        cosine, sine = model.rotary_emb(like[None, None], self.every[None])
        self.cosine, self.sine = cosine[0, :, None], sine[0, :, None]  # (length, 1, width)
        self.sine[..., : self.width // 2].neg_()

    @property
    def keys(self) -> Tensor:
        return self.cache[:, 0]

    @property
    def values(self) -> Tensor:
        return self.cache[:, 1]

    def row(self, number: int) -> Stack:
        """The same layers over one row's part of the caches."""
        part = copy.copy(self)
        part.layers = [layer.row(number) for layer in self.layers]
        part.cache, part.looks = self.cache[:, :, number : number + 1], {}
        part.compiled = None  # a prompt is read once, and each is as long as it likes
        return part

    def compile(self) -> None:
        """From now on each layer's step is one compiled function, the same for all layers."""
        self.compiled = Compiled(self._unlaid)

    def look(self, length: int) -> list[CacheViews]:
        """The caches of all layers; views, made once for each length."""
        if length not in self.looks:
            self.looks[length] = [views(both, length) for both in self.cache]
        return self.looks[length]

    def at(self, places: Tensor, length: int) -> Where:
        """Each position (B, T) hears what lies in its row up to itself; `length` is beyond all of them."""
        deaf = self.every[:length] > places[..., None]  # (B, T, length)
        mask = torch.zeros_like(deaf, dtype=self.keys.dtype).masked_fill_(deaf, -torch.inf)
        if places.shape[1] > 1:
            mask = mask.repeat_interleave(self.heads // self.groups, 1)
        return Where(self.rows[: len(places)], places, self.cosine[places], self.sine[places], mask[:, None], length)

    def step(self, x: Tensor, where: Where) -> Tensor:
        """x (B, T, hidden) → the last layer's states, the caches written."""
        batch, count, _ = x.shape
        x = x[:, 0] if count == 1 else x  # products of fewer dimensions cost less to call
        if self.compiled:
            for layer, both in zip(self.layers, self.cache, strict=True):
                x = self.compiled(layer, both, x, where)
        else:
            for layer, cache in zip(self.layers, self.look(where.length), strict=True):
                x = self._through(layer, cache, x, where)
        return self.norm(x).view(batch, count, -1)

    def _through(self, layer: Layer, cache: CacheViews, x: Tensor, where: Where) -> Tensor:
        qkv = layer.qkv(layer.before(x)).view(*where.places.shape, -1, self.width)
        x = x + layer.output(self._attend(qkv, cache, where).view(*x.shape[:-1], -1))
        return layer.think(x)

    def _unlaid(self, layer: Layer, both: Tensor, x: Tensor, where: Where) -> Tensor:
        """The compiler wants a cache whole, and looks at it itself: views that come from outside it would copy."""
        return self._through(layer, views(both, where.length), x, where)

    def following(self, x: Tensor, where: Where) -> Tensor:
        """A position of every row, x (rows, 1, hidden) → the states (rows, hidden)."""
        return self.step(x, where)[:, 0]

    def read(self, x: Tensor, start: int) -> Tensor:
        """Positions x (T, hidden) of a stack of one row, after `start` others → the last one's state (hidden)."""
        end = start + len(x)
        return self.step(x[None], self.at(self.every[None, start:end], end))[0, -1]

    def _attend(self, qkv: Tensor, cache: CacheViews, where: Where) -> Tensor:
        """qkv (B, T, heads and twice the groups, width); its first part is turned on the spot."""
        batch, count, _, width = qkv.shape
        turned = qkv.narrow(2, 0, self.heads + self.groups)
        halves = turned.roll(width // 2, -1)
        turned.mul_(where.cosine).addcmul_(halves, where.sine)
        said = qkv.narrow(2, self.heads, 2 * self.groups).view(batch, count, 2, self.groups, width)
        if where.start is None:
            cache.written.index_put_((where.rows, where.places), said)
        else:
            cache.written.narrow(1, where.start, count).copy_(said)
        # Heads that share keys stand beneath each other as if they were positions, so that no key is copied.
        query = qkv.narrow(2, 0, self.heads).reshape(batch, count, self.groups, -1, width).transpose(1, 2)
        attended = F.scaled_dot_product_attention(
            query.reshape(batch, self.groups, -1, width), cache.keys, cache.values, attn_mask=where.mask
        )
        return attended.reshape(batch, self.groups, count, -1).transpose(1, 2).reshape(batch, count, -1)


class CausalLayers(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """The same layers over whole sequences from their first position on, to learn: no mask to make or to read."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.layers, self.norm, self.rotary_emb = model.layers, model.norm, model.rotary_emb
        fuse(model)

    def forward(self, hidden: Tensor) -> Tensor:  # (B, S, width)
        places = torch.arange(hidden.shape[1], device=hidden.device)[None]
        turned = self.rotary_emb(hidden, position_ids=places)
        for layer in self.layers:
            hidden = layer(hidden, position_ids=places, position_embeddings=turned, use_cache=False)
        return torch.as_tensor(self.norm(hidden))


def normed(by: Any) -> Product:
    weight, eps = by.weight.detach(), by.variance_epsilon
    whole = partial(torch.rms_norm, normalized_shape=weight.shape, weight=weight, eps=eps)
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return whole
    # For a few rows the calls are what costs, and torch's own makes twice as many.
    mean, least = weight.new_full((len(weight), 1), 1 / len(weight)), weight.new_tensor([eps])
    return lambda x: (x * torch.addmm(least, x * x, mean).rsqrt_()).mul_(weight) if x.ndim == 2 else whole(x)


def joined(*layers: nn.Module) -> Product:
    """Linear layers of one input as one, their weights laid out for it (a copy); others are called as they are."""
    if whole := joint(layers):
        return whole
    weight = joined_weight(*layers)
    if weight is None:
        return layers[0] if len(layers) == 1 else lambda x: torch.cat([layer(x) for layer in layers], -1)
    return product(weight)


def joined_weight(*layers: nn.Module) -> Tensor | None:
    """(out, in) of linear layers as one; None where they are something else."""
    if not all(type(layer) is nn.Linear and layer.bias is None for layer in layers):
        return None
    weights = [layer.weight.detach() for layer in layers]
    return weights[0] if len(weights) == 1 else torch.cat(weights)


def shape_of(layer: Any) -> tuple[int, int]:
    """Outputs and inputs of a linear layer, in 8 bits or not."""
    if isinstance(layer, Int8Part):
        return layer.outputs.stop - layer.outputs.start, int(layer.whole.shape[1])
    outputs, inputs = layer.weight.shape if isinstance(layer, nn.Linear) else layer.shape
    return int(outputs), int(inputs)


def product(weight: Tensor) -> Product:
    """x (…, in) times weight (out, in), in the layout that is the fastest for few rows."""
    if weight.device.type != "cpu":
        return partial(F.linear, weight=weight)
    if weight.numel() >= PACKED and is_packable(weight.dtype):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 8)
        return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")
    return partial(torch.matmul, other=weight.t().contiguous())


def is_packable(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))
