"""RMS norms and rotary positions of a Llama-like model that learns on a CPU, with fewer passes over the activations.

    y = normed(x, weight, eps)                          # x / √(mean of x² + eps) * weight
    query, key = turned(query, key, cosine, sine)

Written out, as transformers does, autograd keeps and passes over each step of the sums. Here the way back is written
too: from what came in and a number for each position, or by the opposite angle. The last digits differ.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Normed(torch.autograd.Function):  # type: ignore[misc]  # torch is not typed here
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        x, weight, scale = ctx.saved_tensors
        slope = slope * weight
        along = torch.linalg.vecdot(slope, x)[..., None].mul_(scale.pow(3)).div_(x.shape[-1])
        return slope.mul_(scale).addcmul_(x, along, value=-1), None, None


class Turned(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        ctx.save_for_backward(cosine, sine)
        return _turned(x, cosine, sine)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        return _turned(slope, cosine, -sine), None, None


def normed(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """In single precision, as transformers computes it."""
    if weight.requires_grad and torch.is_grad_enabled():  # it is learnt, which is left to autograd
        return torch.rms_norm(x, weight.shape, weight.to(x.dtype), eps)
    y: Tensor = Normed.apply(x.float(), weight.float(), eps)
    return y.to(x.dtype)


def turned(query: Tensor, key: Tensor, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
    """query and key (B, T, heads, width) by angles (1, T, width) that are the same in both halves."""
    cosine, sine = (angle[:, :, None].to(query.dtype, copy=True) for angle in (cosine, sine))
    sine[..., : sine.shape[-1] // 2].neg_()
    return Turned.apply(query, cosine, sine), Turned.apply(key, cosine, sine)


def _turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """sine: negative in the first half."""
    return x.roll(x.shape[-1] // 2, -1).mul_(sine).addcmul_(x, cosine)
