"""What a training is asked for: the section `train` of params.yaml, and what follows from it alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from timbre.core.sections import TrainParams

LEAST_EVALUATIONS = 3  # without a better one, before a training may end


def asked(params: TrainParams) -> dict[str, Any]:
    """What a run is of: its state goes on with any number of processes, so that one can do with fewer after all."""
    left_out = {"processes", "shard", "warm_start", *(["speakers"] if params.speakers == "recorded" else [])}
    return {name: value for name, value in asdict(params).items() if name not in left_out}


def learning_rate(step: int, steps: int, params: TrainParams) -> float:
    """Of step 1 … steps: a straight way up over the warm-up, then half a cosine down to a twentieth."""
    if step <= params.warmup:
        return params.learning_rate * step / params.warmup
    done = (step - params.warmup) / max(1, steps - params.warmup)
    return params.learning_rate * (0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2)


def evaluation_steps(least: int, exam: float, step: float, share: float) -> int:
    """Steps between evaluations: so many that these take at most `share` of what the steps cost, and `least` or more.

    It follows from the clips alone and not from a clock, so a run that was killed evaluates at the same steps.
    """
    return max(least, math.ceil(exam / (share * step)))


def is_patient(params: TrainParams, epochs: float, evaluations: int) -> bool:
    """Whether it goes on after so many epochs and evaluations without a better one; a small dataset has few
    evaluations in an epoch, a large one many."""
    return not params.patience or epochs < params.patience or evaluations < LEAST_EVALUATIONS


def point_steps(kept: Sequence[int], best: int, points: int) -> list[int]:
    """Of the steps that were kept, those nearest to equal parts of the way to the best one, which is the last point."""
    before = [step for step in kept if step < best]
    wanted = [best * part / points for part in range(1, points)]
    return sorted({min(before, key=lambda step: (abs(step - place), step)) for place in wanted}) if before else []
