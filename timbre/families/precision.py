"""The number format and the device that a model computes with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from timbre.core.errors import ModelError
from timbre.families import int8
from timbre.families.int8 import Int8Layer, Int8Linear
from timbre.families.protocol import Precision


def device_for(precision: Precision, *, int8_on_gpu: bool = False) -> torch.device:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if precision == "int8" and device.type == "cuda" and not int8_on_gpu:
        raise ModelError("precision: int8 of this family is for processors, and here is a GPU: choose auto or bf16")
    return device


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    """On a GPU int8 is of the weights alone; the rest is as in auto."""
    by_device = precision in ("auto", "int8") and device.type == "cuda"
    half = precision == "bf16" or (by_device and torch.cuda.is_bf16_supported())
    return torch.bfloat16 if half else torch.float32


@contextmanager
def all_digits() -> Iterator[None]:
    """Sums with all digits of float32. A GPU leaves many of them out of convolutions (TF32), and a sound between two
    codes would get the one or the other by the machine."""
    parts = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [part.allow_tf32 for part in parts]
    try:
        for part in parts:
            part.allow_tf32 = False
        yield
    finally:
        for part, allowed in zip(parts, before, strict=True):
            part.allow_tf32 = allowed


def cast(model: Any, dtype: torch.dtype) -> None:
    """All but the angles of its positions, as transformers loads a model in 16 bits: rounded, positions drift."""
    angles = [(module, name, buffer.clone()) for module, name, buffer in rotary(model)]
    model.to(dtype)
    for module, name, buffer in angles:
        setattr(module, name, buffer)


def rotary(model: Any) -> Iterator[tuple[Any, str, Tensor]]:
    """Module, name and buffer of the angles by which positions turn."""
    for module in model.modules():
        for name in ("inv_freq", "original_inv_freq"):
            if isinstance(buffer := getattr(module, name, None), Tensor):
                yield module, name, buffer


def shrink_decoder(decoder: Any, kind: type[Int8Layer] = Int8Linear) -> None:
    """The Llama layers of a decoder in 8 bits; embeddings and norms stay as they are."""
    for layer in decoder.layers:
        int8.join(layer.self_attn, "q_proj", "k_proj", "v_proj", kind=kind)
        int8.join(layer.mlp, "gate_proj", "up_proj", kind=kind)
    int8.replace(decoder, kind)
