"""What a course keeps in its scratch folder: the state to go on from after a kill, and weights on the way.

kept = Checkpoints(scratch, params, steps)
kept.save(state, weights, optimisers)      # state.pt, and point-<step>.pt at some of the steps
content = kept.read()                      # as saved; None where there is none, or a damaged one
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timbre.core.safe_text import warn
from timbre.core.sections import TrainParams
from timbre.training import distributed
from timbre.training.schedule import point_steps

SNAPSHOTS = 4  # weights kept on the way per point that is wanted: the best step is known at the end only


@dataclass
class TrainingState:
    """All that a run needs to go on, beside the weights and the optimisers."""

    step: int = 0
    best_step: int = 0
    best_loss: float = math.inf
    best: dict[str, object] = field(default_factory=dict)  # its weights
    history: list[dict[str, float]] = field(default_factory=list)
    speed: list[dict[str, float]] = field(default_factory=list)  # of each step, on this machine
    points: dict[int, dict[str, Any]] = field(default_factory=dict)  # weights at steps before the best, in the end


class Checkpoints:
    """Of several processes the first writes and reads."""

    def __init__(self, folder: Path, params: TrainParams, steps: int) -> None:
        self.folder, self.count = folder, params.points
        evaluations = math.ceil(steps / params.eval_every)
        self.spacing = params.eval_every * math.ceil(evaluations / (SNAPSHOTS * params.points))  # steps

    def save(self, state: TrainingState, weights: dict[str, Any], optimisers: Sequence[Any]) -> None:
        import torch

        self.folder.mkdir(parents=True, exist_ok=True)
        states = [optimiser.state_dict() for optimiser in optimisers]
        contents = {"state": {"state": vars(state), "weights": weights, "optimisers": states}}
        if self.count > 1 and state.step % self.spacing == 0:
            contents = {f"point-{state.step}": weights} | contents  # before the state, which counts it as kept
        for name, content in contents.items():
            torch.save(content, self.folder / f"{name}.pt.tmp")
            os.replace(self.folder / f"{name}.pt.tmp", self.folder / f"{name}.pt")

    def read(self) -> dict[str, Any] | None:
        """The same in every process: another machine may not have the file."""
        path = self.folder / "state.pt"
        content = read_state(path) if distributed.first() and path.exists() else None
        return distributed.told(content)

    def points(self, best_step: int) -> dict[int, dict[str, Any]]:
        """Weights by step, at about equal parts of the way to the best."""
        import torch

        if not distributed.first():
            return {}
        files = {int(path.stem.partition("-")[2]): path for path in self.folder.glob("point-*.pt")}
        steps = point_steps(sorted(files), best_step, self.count)
        return {step: torch.load(files[step], map_location="cpu", weights_only=True) for step in steps}


def read_state(path: Path) -> dict[str, Any] | None:
    """None, and a warning, where the file is damaged: then the training begins again."""
    import torch

    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(content, dict) and {"weights", "optimisers", "state"} <= set(content):
            TrainingState(**content["state"])
            return content
        reason = "it is none of ours"
    except Exception as error:  # torch lets through whatever its readers of zip and pickle raise on damaged bytes
        reason = str(error).strip().splitlines()[0][:80] if str(error).strip() else type(error).__name__
    warn(f"train: {path} is damaged ({reason}); the training begins again")
    return None
