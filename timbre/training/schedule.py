"""What a training is asked for: the section `train` of params.yaml, and what follows from it alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Params:
    rank: int
    alpha: float
    rslora: bool
    dropout: float
    learning_rate: float
    warmup: int  # steps
    epochs: int
    max_steps: int | None
    batch: int  # clips
    accumulation: int  # batches
    weight_decay: float
    max_grad_norm: float
    context_share: float
    context_seconds: float
    eval_every: int  # steps
    patience: int  # evaluations
    points: int  # of training that one can hear
    optimiser: Literal["adamw", "adamw_8bit"]
    precision: Literal["auto", "fp32", "bf16"]
    gradient_checkpointing: bool
    processes: int | Literal["auto"]
    shard: bool
    seed: int

    def __post_init__(self) -> None:
        wrong = [
            f"{name}: {getattr(self, name)} is not {least} or more"
            for name, least in {
                "rank": 1, "warmup": 0, "epochs": 1, "batch": 1, "accumulation": 1, "eval_every": 1, "patience": 0,
                "points": 1, "seed": 0, "weight_decay": 0, "context_seconds": 0,
            }.items()
            if getattr(self, name) < least
        ]  # fmt: skip
        wrong += [
            f"{name}: {getattr(self, name)} is not above 0"
            for name in ("alpha", "learning_rate", "max_grad_norm")
            if not getattr(self, name) > 0
        ]
        wrong += [
            f"{name}: {getattr(self, name)} is not between 0 and 1"
            for name in ("dropout", "context_share")
            if not 0 <= getattr(self, name) <= 1
        ]
        if self.processes != "auto" and self.processes < 1:
            wrong.append(f"processes: {self.processes} is not 1 or more, nor auto")
        if self.max_steps is not None and self.max_steps < 1:
            wrong.append(f"max_steps: {self.max_steps} is not 1 or more, nor null")
        if wrong:
            raise ValueError("\n".join(wrong))


def asked(params: Params) -> dict[str, Any]:
    """What a run is of: its state goes on with any number of processes, so that one can do with fewer after all."""
    return {name: value for name, value in asdict(params).items() if name not in ("processes", "shard")}


def learning_rate(step: int, steps: int, params: Params) -> float:
    """Of step 1 … steps: a straight way up over the warm-up, then half a cosine down to a twentieth."""
    if step <= params.warmup:
        return params.learning_rate * step / params.warmup
    done = (step - params.warmup) / max(1, steps - params.warmup)
    return params.learning_rate * (0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2)


def point_steps(kept: Sequence[int], best: int, points: int) -> list[int]:
    """Of the steps that were kept, those nearest to equal parts of the way to the best one, which is the last point."""
    before = [step for step in kept if step < best]
    wanted = [best * part / points for part in range(1, points)]
    return sorted({min(before, key=lambda step: (abs(step - place), step)) for place in wanted}) if before else []
