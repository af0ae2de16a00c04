"""Weights in 8 bits, to speak: a step's time is that of reading them, and here they are a quarter, on a GPU a half.

    join(layer.self_attn, "q_proj", "k_proj", "v_proj")    # of one input, so one product
    replace(decoder)                                       # every other linear layer becomes an Int8Linear

A weight is whole numbers of -127 … 127 with a scale for each output. On a CPU what it is multiplied with is brought to
whole numbers likewise, each row by its own largest value, so that a row comes out the same in any company: sums of
whole numbers are exact in whatever order. Norms, embeddings and attention stay in single precision. The kernels are
those of oneDNN that torch compiles quantised models to, on Linux and Windows. On a GPU (`Int8Weights`) weights alone
are in 8 bits, and everything else in 16. Nothing can be learnt through either.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbre.core.errors import ModelError

LARGEST = 127  # of a weight; of an input too, where the processor adds up without overflow
TINY = 1e-30  # instead of the largest value of a row of zeros
FEW = 2  # rows of x that read each weight anew on a GPU; more are multiplied by a copy of the weights in 16 bits


class Int8Layer(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Made of weight (out, in) and bias (out)."""

    shape: torch.Size


class Int8Linear(Int8Layer):
    """On a CPU: x (…, in) in single precision → (…, out)."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """weight (out, in), bias (out)"""
        super().__init__()
        weight = weight.detach().float().contiguous()  # packing heeds no strides
        scale = weight.abs().amax(1).clamp_(min=TINY) / LARGEST
        # Plain attributes: a packed weight cannot be moved or saved as parameters and buffers are.
        self.packed = torch.ops.onednn.qlinear_prepack((weight / scale[:, None]).round_().to(torch.int8), None)
        self.levels = levels()
        self.scale = scale / self.levels
        self.zeros = torch.zeros(len(weight), dtype=torch.int32)
        self.middle = torch.tensor(self.levels + 1.5)  # inputs are unsigned; the half, as the fraction will be cut off
        self.shape = weight.shape
        self.bias = None if bias is None else bias.detach().float().clone()

    def forward(self, x: Tensor) -> Tensor:
        largest = torch.linalg.vector_norm(x, torch.inf, -1, keepdim=True).clamp_(min=TINY)
        whole = torch.addcdiv(self.middle, x, largest, value=self.levels).to(torch.uint8)
        product = _multiply(whole, self.levels + 1, self.packed, self.scale, self.zeros)
        return product.mul_(largest) if self.bias is None else torch.addcmul(self.bias, product, largest)


class Int8Weights(Int8Layer):
    """On a GPU: x (…, in) in the model's precision → (…, out). Buffers, which go where the model goes.

    For a row or two, the compiler makes one kernel of the whole, which reads each weight as it lies here. More rows,
    and a step that is not compiled, take a layer's weights in 16 bits for the time of the product.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        weight = weight.detach().float()
        # As 16 bits hold it, for the model is brought to them: by less than half a step, so that none is cut off.
        scale = (weight.abs().amax(1).clamp_(min=TINY) / LARGEST).bfloat16()
        whole = (weight / scale.float()[:, None]).round_().clamp_(-LARGEST, LARGEST)
        self.shape = weight.shape
        self.register_buffer("whole", whole.to(torch.int8))
        self.register_buffer("scale", scale.to(torch.float32))
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling() and x.numel() <= FEW * x.shape[-1]:
            product = (x[..., None, :] * self.whole).sum(-1)
        else:
            product = F.linear(x, self.whole.to(x.dtype))
        product = product * self.scale
        return product if self.bias is None else product + self.bias


class Int8Part(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Some outputs of a layer that was joined from several of one input."""

    def __init__(self, whole: Int8Layer, outputs: slice) -> None:
        super().__init__()
        self.whole, self.outputs = whole, outputs

    def forward(self, x: Tensor) -> Tensor:
        product: Tensor = self.whole(x)[..., self.outputs]
        return product


def joint(layers: Sequence[nn.Module]) -> Int8Layer | None:
    """The layer that these are the parts of, all of them in their order."""
    parts = [layer for layer in layers if isinstance(layer, Int8Part)]
    if len(parts) < len(layers) or len({id(part.whole) for part in parts}) > 1:
        return None
    whole: Int8Layer = parts[0].whole
    starts, ends = [part.outputs.start for part in parts], [part.outputs.stop for part in parts]
    return whole if [*starts, whole.shape[0]] == [0, *ends] else None


def join(module: nn.Module, *names: str, kind: type[Int8Layer] = Int8Linear) -> None:
    """One product instead of several: the call costs more than a small layer's weights."""
    weights = [getattr(module, name).weight for name in names]
    whole, start = kind(torch.cat(weights)), 0
    for name, weight in zip(names, weights, strict=True):
        setattr(module, name, Int8Part(whole, slice(start, start + len(weight))))
        start += len(weight)


def replace(module: nn.Module, kind: type[Int8Layer] = Int8Linear) -> None:
    """Every linear layer inside, one by one: the old weights are let go at once."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, kind(child.weight, child.bias))
        elif type(child).__name__ == "Conv1D":  # GPT-2's linear layer, whose weight lies the other way
            setattr(module, name, kind(child.weight.T, child.bias))
        elif not isinstance(child, Int8Part):
            replace(child, kind)


def kind_for(device: torch.device) -> type[Int8Layer]:
    return Int8Weights if device.type == "cuda" else Int8Linear


@functools.cache
def levels() -> int:
    """Whole numbers on each side of an input's zero: half as many where the processor's sums of products overflow,
    as those before VNNI do. An error where torch cannot do it at all."""
    try:
        weight = torch.full((16, 64), LARGEST, dtype=torch.int8)
        packed = torch.ops.onednn.qlinear_prepack(weight, None)
        highest = torch.full((1, 64), 2 * LARGEST + 1, dtype=torch.uint8)
        total = _multiply(highest, LARGEST + 1, packed, torch.ones(16), torch.zeros(16, dtype=torch.int32))
    except (AttributeError, RuntimeError, NotImplementedError) as error:
        raise ModelError(
            "precision int8 needs a torch with oneDNN's kernels for it, which this one lacks; use fp32 or bf16"
        ) from error
    return LARGEST if bool((total == 64 * LARGEST * LARGEST).all()) else LARGEST // 2


def _multiply(x: Tensor, zero: int, packed: Any, scale: Tensor, zeros: Tensor) -> Tensor:
    """x (…, in), unsigned, where `zero` stands for 0 → (…, out) in single precision."""
    product: Tensor = torch.ops.onednn.qlinear_pointwise(
        x, 1.0, zero, packed, scale, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return product
