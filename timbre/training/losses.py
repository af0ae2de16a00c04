"""Losses as numbers by name: from tensors on a device to rows of the history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from timbre.families import Losses
from timbre.training import distributed


class StepLosses(NamedTuple):
    """What a step gave, not yet fetched from the device."""

    step: int
    losses: list[dict[str, Any]]  # of each batch's part; tensors, where the model is
    norms: dict[str, Any]  # of the gradients


def named(losses: Losses, name: str = "loss") -> dict[str, Any]:
    parts = {name: losses.total} | {f"loss/{part}": loss for part, loss in losses.parts.items()}
    return {part: loss.detach() for part, loss in parts.items()}


def fetched(rows: Sequence[dict[str, Any]], *, parts: bool = False) -> list[dict[str, float]]:
    """Numbers of tensors, with one look at the device for all of them; with `parts`, added up over the processes."""
    import torch

    if not rows:
        return []
    table = torch.stack([torch.stack([value.float() for value in row.values()]) for row in rows])
    if parts:
        distributed.add_up([table])
    return [dict(zip(row, numbers, strict=True)) for row, numbers in zip(rows, table.tolist(), strict=True)]


def mean(rows: Sequence[dict[str, float]], weights: Sequence[float] | None = None) -> dict[str, float]:
    return {name: float(np.average([row[name] for row in rows], weights=weights)) for name in rows[0]}
