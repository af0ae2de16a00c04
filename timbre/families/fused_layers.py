"""The parts of a Llama-like model that are computed in fewer passes, or kernels, while a voice learns.

transformers writes them out: an RMS norm is six kernels on a GPU, turning queries and keys is ten and 14 more on the
way back, SwiGLU two and three. torch has an RMS norm of one; the others are ours (`fused_kernels`), and are tried on
the GPU before they are used. A CPU has `fewer_passes` of the first two: a step of the demo takes 5 % less.
Projections are called as they are, so an adapter's layers learn as they did.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from timbre.core.safe_text import warn
from timbre.families import fewer_passes

Norm = Callable[[Tensor, Tensor, float], Tensor]  # x, weight, epsilon
ROUNDING = {torch.float32: 1e-5}  # how far a trial may be from what is written out …
HALF_ROUNDING = 3e-2  # … in half precision, where that rounds several times


def fuse(model: Any) -> None:
    """As suits the device that the model is on."""
    if model.norm.weight.device.type == "cuda":
        fuse_on_gpu(model)
    else:
        fuse_norms(model, fewer_passes.normed)
        fuse_layers(model, "", fewer_passes)


def fuse_on_gpu(model: Any) -> None:
    fuse_norms(model, normed_at_once)
    config, weight = model.config, model.norm.weight
    shape = (config.num_attention_heads, config.num_key_value_heads, model.layers[0].self_attn.head_dim)
    if kernels := tried(weight.device, weight.dtype, shape):
        fuse_layers(model, config.hidden_act, kernels)


def fuse_norms(model: Any, normed: Norm) -> None:
    for module in model.modules():
        if hasattr(module, "variance_epsilon"):
            module.forward = partial(_rms_norm, module, normed)


def fuse_layers(stack: Any, activation: str, kernels: ModuleType) -> None:
    """Rotary positions, and SwiGLU where that is what the layers compute."""
    for layer in stack.layers:
        layer.self_attn.forward = partial(_attend, layer.self_attn, kernels)
        if activation == "silu":
            layer.mlp.forward = partial(_think, layer.mlp, kernels)


def _rms_norm(by: Any, normed: Norm, x: Tensor) -> Tensor:
    return normed(x, by.weight, by.variance_epsilon)


def normed_at_once(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """torch's own, on a GPU one kernel in place of six."""
    return torch.rms_norm(x, weight.shape, weight.to(x.dtype), eps)


def _attend(
    by: Any, kernels: ModuleType, hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor],
    attention_mask: Any = None, past_key_values: Any = None, **rest: Any,
) -> Any:  # fmt: skip
    """Over whole sequences from their first position on; hidden_states (B, T, hidden). Others go transformers' way."""
    if attention_mask is not None or past_key_values is not None or len(position_embeddings[0]) > 1:
        return type(by).forward(by, hidden_states, position_embeddings, attention_mask, past_key_values, **rest)
    shape = (*hidden_states.shape[:-1], -1, by.head_dim)
    query, key, value = (project(hidden_states).view(shape) for project in (by.q_proj, by.k_proj, by.v_proj))
    query, key = kernels.turned(query, key, *position_embeddings)
    attended = F.scaled_dot_product_attention(
        query.transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        dropout_p=by.attention_dropout if by.training else 0.0,
        is_causal=True,
        scale=by.scaling,
        enable_gqa=by.num_key_value_groups > 1,
    )
    return by.o_proj(attended.transpose(1, 2).flatten(2)), None


def _think(by: Any, kernels: ModuleType, x: Tensor) -> Tensor:
    hidden: Tensor = by.down_proj(kernels.gated(by.gate_proj(x), by.up_proj(x)))
    return hidden


@functools.cache
def tried(device: torch.device, dtype: torch.dtype, shape: tuple[int, int, int]) -> ModuleType | None:
    """The kernels, where they compute what is written out, at heads, heads of keys and width; else a warning."""
    try:
        from timbre.families import fused_kernels

        with torch.inference_mode(False), torch.enable_grad():
            _try(fused_kernels, device, dtype, *shape)
    except Exception as error:  # of a compiler, a driver or a package
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        _warn(reason)
        return None
    return fused_kernels


@functools.cache
def _warn(reason: str) -> None:
    """Once, though a voice has several stacks of layers."""
    warn(
        f"Triton's kernels do not work here ({reason}): the training goes on without them, a little slower; "
        "a torch for CUDA brings the Triton that it needs"
    )


def _try(kernels: ModuleType, device: torch.device, dtype: torch.dtype, heads: int, groups: int, width: int) -> None:
    random = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random).to(device, dtype).requires_grad_()

    angle = torch.rand(1, 16, width // 2, generator=random).mul(6).to(device).repeat(1, 1, 2)
    angles = [angle.cos().to(dtype), angle.sin().to(dtype)]
    both = [drawn(2, 16, heads, width), drawn(2, 16, groups, width)]
    trials = (
        ("rotary positions", both, partial(kernels.turned, *both, *angles), partial(turned, *both, *angles)),
        ("SwiGLU", pair := [drawn(64, 64), drawn(64, 64)], lambda: [kernels.gated(*pair)], lambda: [gated(*pair)]),
    )
    off = ROUNDING.get(dtype, HALF_ROUNDING)
    for name, inputs, fused, plain in trials:
        for mine, right in zip(_with_gradients(fused(), inputs), _with_gradients(plain(), inputs), strict=True):
            if not torch.allclose(mine, right, rtol=off, atol=off):
                raise ArithmeticError(f"{name} came out wrong")


def _with_gradients(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    slopes = [torch.linspace(-1, 1, x.numel(), device=x.device).view(x.shape).to(x.dtype) for x in outputs]
    return [*outputs, *torch.autograd.grad(outputs, inputs, slopes)]


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """As transformers writes it out."""
    return F.silu(gate) * up


def turned(query: Tensor, key: Tensor, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
    """Likewise; query and key (B, T, heads, width), angles (1, T, width)."""
    cosine, sine = cosine[:, :, None], sine[:, :, None]

    def one(x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        return x * cosine + torch.cat((-x[..., half:], x[..., :half]), -1) * sine

    return one(query), one(key)
