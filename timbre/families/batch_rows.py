"""Rows of a batch: which of them a process computes, and rows of several lengths as one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from timbre.families.protocol import Part

SHAPES = {"cuda": 64}  # places, of a row or of frames that a decoder learns


def own_rows(count: int, part: Part) -> list[int]:
    """The rows of a process; where there are more processes than rows, the first is computed along, for nothing."""
    return list(range(count)[part.number :: part.of]) or [0]


def rounded(count: int, device: torch.device) -> int:
    """On a GPU, up to a multiple of 64: it plans attention anew for each new shape, which costs as much as several
    steps, and rounded up there are few. On a processor the count itself, since it plans nothing."""
    step = SHAPES.get(device.type, 1)
    return -(-count // step) * step


def padded(rows: Sequence[list[int]], value: int = 0) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows], dtype=torch.int64)
