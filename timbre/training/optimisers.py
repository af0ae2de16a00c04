"""One optimiser per objective of a course: AdamW, on a GPU also in 8 bits, and the step that it takes."""

from __future__ import annotations

from typing import Any

from timbre.core.errors import ModelError
from timbre.core.sections import TrainParams
from timbre.families import Objective
from timbre.training import distributed


def optimiser_for(objective: Objective, params: TrainParams) -> Any:
    import torch

    settings = {"lr": params.learning_rate, "betas": objective.betas, "weight_decay": params.weight_decay}
    groups = _groups(objective)
    if params.optimiser == "adamw":
        return torch.optim.AdamW(groups, **settings)
    if not torch.cuda.is_available():
        raise ModelError("train.optimiser: adamw_8bit needs a CUDA device, and there is none; set adamw")
    try:
        import bitsandbytes
    except ImportError as error:
        raise ModelError("train.optimiser: adamw_8bit needs the package bitsandbytes; add it or set adamw") from error
    return bitsandbytes.optim.AdamW8bit(groups, **settings)


def _groups(objective: Objective) -> list[dict[str, Any]]:
    """The weights by the part of the learning rate that they get."""
    share, slower = objective.slower
    slow = {id(weight) for weight in slower}
    pairs = ((1.0, [weight for weight in objective.weights if id(weight) not in slow]), (share, list(slower)))
    return [{"params": weights, "share": part} for part, weights in pairs if weights]


def take_step(objective: Objective, optimiser: Any, learning_rate: float, max_norm: float) -> Any:
    """Along the gradients of all processes, clipped to `max_norm`; returns their norm before that."""
    import torch

    distributed.add_up([weight.grad for weight in objective.weights])
    norm = torch.nn.utils.clip_grad_norm_(objective.weights, max_norm)
    for group in optimiser.param_groups:
        group["lr"] = group["share"] * learning_rate
    optimiser.step()
    optimiser.zero_grad()
    return norm
