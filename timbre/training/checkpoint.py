"""What a course keeps in its scratch folder: the state to go on from after a kill, and weights on the way.

kept = Checkpoints(scratch, points, steps, every)
kept.save(state, weights, optimisers)      # state.pt, and point-<step>.pt at some of the steps
kept.wait()
content = kept.read()                      # as saved; None where there is none, or a damaged one

Files are written in a thread, and the state at most every `SECONDS`: a training that goes on from an older state takes
the same steps again and gives the same bytes. Points are part of the result, so none of them is left out.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timbre.core.safe_text import warn
from timbre.training import distributed
from timbre.training.schedule import point_steps

SECONDS = 30.0  # between states: the work that a kill may cost, and an evaluation more
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

    def __init__(self, folder: Path, points: int, steps: int, every: int) -> None:
        """Of `steps`, with an evaluation `every` so many, `points` adapters are wanted."""
        self.folder, self.count = folder, points
        evaluations = math.ceil(steps / every)
        self.spacing = every * math.ceil(evaluations / (SNAPSHOTS * points))  # steps
        self.writer = ThreadPoolExecutor(1, "checkpoint")
        self.writing: Future[None] | None = None
        self.saved = -math.inf  # seconds of the clock: the first state is kept at once

    def save(
        self, state: TrainingState, weights: Callable[[], dict[str, Any]], optimisers: Sequence[Any],
        *, at_once: bool = False,
    ) -> None:  # fmt: skip
        """What is due at an evaluation; the last state of a run is kept `at_once`."""
        contents: dict[str, Any] = {}
        if self.count > 1 and state.step % self.spacing == 0:
            contents[f"point-{state.step}"] = weights()  # before the state, which counts it as kept
        if at_once or time.monotonic() - self.saved >= SECONDS:
            self.saved = time.monotonic()
            states = [_copy(optimiser.state_dict()) for optimiser in optimisers]
            own = {name: list(value) if isinstance(value, list) else value for name, value in vars(state).items()}
            contents["state"] = {"state": own, "weights": weights(), "optimisers": states}
        if contents:
            self.wait()
            self.writing = self.writer.submit(self._write, contents)

    def wait(self) -> None:
        """Until all is written; what went wrong comes out here."""
        if self.writing:
            self.writing.result()

    def _write(self, contents: Mapping[str, Any]) -> None:
        import torch

        self.folder.mkdir(parents=True, exist_ok=True)
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


def _copy(value: Any) -> Any:
    """With tensors of its own, in the machine's memory: the next step changes those of the optimiser."""
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value.detach().to("cpu", copy=True) if hasattr(value, "detach") else value


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
