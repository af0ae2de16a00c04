"""SwiGLU and rotary positions of a Llama layer that learns: a kernel of Triton each, there and back.

    hidden = gated(gate, up)                            # silu(gate) * up
    query, key = turned(query, key, cosine, sine)       # both in one go

Sums are in float32, rounded once to what comes in. For the way back nothing is kept but `gate` and `up`, which the
products made, and the angles: turning back is turning by the opposite angle. torch.compile would make the same of the
written-out functions, and compile them anew for shapes, precisions and evaluation: half a minute in each process, where
these take a second. Triton comes with torch for a GPU, so this is imported where there is one. Without one, Triton's
interpreter runs the kernels (TRITON_INTERPRET=1), which is how they are tested.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")  # a product and a sum at once, as CUDA itself; Triton asks
BLOCK = 1024  # numbers that a program computes


@triton.jit  # type: ignore[untyped-decorator]
def _gate(hidden, gate, up, count, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    g = tl.load(gate + at, inside, 0.0).to(tl.float32)
    u = tl.load(up + at, inside, 0.0).to(tl.float32)
    tl.store(hidden + at, g / (1 + tl.exp(-g)) * u, inside)


@triton.jit  # type: ignore[untyped-decorator]
def _gate_back(of_gate, of_up, of_hidden, gate, up, count, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """of_…: the loss' gradients."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    slope = tl.load(of_hidden + at, inside, 0.0).to(tl.float32)
    g = tl.load(gate + at, inside, 0.0).to(tl.float32)
    u = tl.load(up + at, inside, 0.0).to(tl.float32)
    share = 1 / (1 + tl.exp(-g))
    tl.store(of_gate + at, slope * u * share * (1 + g * (1 - share)), inside)
    tl.store(of_up + at, slope * g * share, inside)


@triton.jit  # type: ignore[untyped-decorator]
def _turn_heads(turned, x, position, heads, half, cosine, sine, HEADS: tl.constexpr, HALF: tl.constexpr):  # type: ignore[no-untyped-def]
    """A position's heads; the two halves of a head are the two parts of its complex numbers."""
    head, place = tl.arange(0, HEADS)[:, None], tl.arange(0, HALF)[None, :]
    inside = (head < heads) & (place < half)
    at = (position * heads + head) * (2 * half) + place
    first = tl.load(x + at, inside, 0.0).to(tl.float32)
    second = tl.load(x + at + half, inside, 0.0).to(tl.float32)
    tl.store(turned + at, first * cosine - second * sine, inside)
    tl.store(turned + at + half, second * cosine + first * sine, inside)


@triton.jit  # type: ignore[untyped-decorator]
def _turn(  # type: ignore[no-untyped-def]
    turned_query, turned_key, query, key, cosine, sine, length, query_heads, key_heads, half, direction,
    QUERY_HEADS: tl.constexpr, KEY_HEADS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """All heads of a position, by the angles of its place in the row."""
    position = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, HALF)[None, :]
    at = position % length * (2 * half) + place
    c = tl.load(cosine + at, place < half, 0.0).to(tl.float32)
    s = tl.load(sine + at, place < half, 0.0).to(tl.float32) * direction
    _turn_heads(turned_query, query, position, query_heads, half, c, s, QUERY_HEADS, HALF)
    _turn_heads(turned_key, key, position, key_heads, half, c, s, KEY_HEADS, HALF)


class Gated(torch.autograd.Function):  # type: ignore[misc]  # torch is not typed here
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        gate, up = gate.contiguous(), up.contiguous()
        ctx.save_for_backward(gate, up)
        hidden = torch.empty_like(gate)
        with torch.cuda.device_of(gate):
            _gate[_blocks(gate)](hidden, gate, up, gate.numel(), BLOCK)
        return hidden

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, of_hidden: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        of_gate, of_up = torch.empty_like(gate), torch.empty_like(up)
        with torch.cuda.device_of(gate):
            _gate_back[_blocks(gate)](of_gate, of_up, of_hidden.contiguous(), gate, up, gate.numel(), BLOCK)
        return of_gate, of_up


class TurnedPair(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(cosine, sine)
        return _both_turned(query, key, cosine, sine, 1.0)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, of_query: Tensor, of_key: Tensor) -> tuple[Tensor, Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        return *_both_turned(of_query, of_key, cosine, sine, -1.0), None, None


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, of one shape."""
    hidden: Tensor = Gated.apply(gate, up)
    return hidden


def turned(query: Tensor, key: Tensor, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
    """query and key (B, T, heads, width) by angles (1, T, width) that are the same in both halves."""
    both: tuple[Tensor, Tensor] = TurnedPair.apply(query, key, cosine, sine)
    return both


def _blocks(x: Tensor) -> tuple[int]:
    return (triton.cdiv(x.numel(), BLOCK),)


def _both_turned(query: Tensor, key: Tensor, cosine: Tensor, sine: Tensor, direction: float) -> tuple[Tensor, Tensor]:
    query, key, cosine, sine = (x.contiguous() for x in (query, key, cosine, sine))
    (batch, length, heads, width), groups = query.shape, key.shape[2]
    turned_query, turned_key = torch.empty_like(query), torch.empty_like(key)
    with torch.cuda.device_of(query):
        _turn[(batch * length,)](
            turned_query, turned_key, query, key, cosine, sine, length, heads, groups, width // 2, direction,
            *map(triton.next_power_of_2, (heads, groups, width // 2)),
        )  # fmt: skip
    return turned_query, turned_key
