"""The precision that a voice computes in, where the machine decides."""

from __future__ import annotations

import torch

from timbre.families.protocol import Precision


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    half = precision == "bf16" or (precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported())
    return torch.bfloat16 if half else torch.float32
