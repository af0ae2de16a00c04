"""Rows of a batch: which of them a process computes, and rows of several lengths as one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from timbre.families.protocol import Part


def own_rows(count: int, part: Part) -> list[int]:
    """The rows of a process; where there are more processes than rows, the first is computed along, for nothing."""
    return list(range(count)[part.number :: part.of]) or [0]


def padded(rows: Sequence[list[int]], value: int = 0) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows], dtype=torch.int64)
