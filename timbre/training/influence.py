"""What each clip does to the voice on held-out sentences, from gradients at a few moments of the training.

    moments = read_moments(Path("models/adapter"), Path("models/points"))
    found = influences(course, moments, clips, held)          # an Influence per clip

A small step that lowers the loss on a clip also changes the loss on the held-out sentences, by the inner product of the
two gradients (TracIn, Pruthi et al. 2020). Where the product is low or negative, the clip teaches something that the
held-out sentences do not confirm. It is computed for the adapter as training began and as it was kept on the way,
without dropout and with nothing drawn by lot. A course with several objectives is asked for its last, a voice with
several courses for its first: the one that learns the words.

Two gradients lie in memory at a time, the mean over the held-out sentences and that of one clip, whatever their number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from timbre.core.content import file_sha256
from timbre.core.errors import ModelError
from timbre.core.records import ADAPTER_WEIGHTS as WEIGHTS
from timbre.families import Course, Objective, Turn
from timbre.training.batches import Utterance

Gradient = list[Any]  # a tensor per weight; None where the loss does not depend on it


class Moment(NamedTuple):
    """Weights at a step of a training."""

    step: int
    file: Path | None  # None: as the course begins


@dataclass(frozen=True)
class Influence:
    """Of one clip; a number per moment."""

    clip: str  # id
    losses: list[float]  # its own
    gains: list[float]  # by how much a small step along its gradient lowers the held-out loss, per unit of the step
    alignments: list[float]  # the same as a cosine, -1 to 1
    norms: list[float]  # of its gradient


def read_moments(adapter: Path, points: Path) -> list[Moment]:
    """The beginning, the adapters on the way, and the adapter; what is the same as one before counts once."""
    if not (adapter / WEIGHTS).is_file():
        raise ModelError(f"{adapter}/{WEIGHTS} is missing; `dvc repro train` makes it")
    best = int(json.loads((adapter / "training.json").read_bytes())["best_step"])
    files = {int(folder.name): folder / WEIGHTS for folder in sorted(points.glob("[0-9]*"))} | {best: adapter / WEIGHTS}
    different = {file_sha256(files[step]): Moment(step, files[step]) for step in sorted(files, reverse=True)}
    return [Moment(0, None), *reversed(different.values())]


def influences(
    course: Course,
    moments: Sequence[Moment],
    clips: Sequence[Utterance],
    held: Sequence[Utterance],
    *,
    precision: AbstractContextManager[Any] | None = None,
    told: Callable[[Iterable[Utterance], int], Iterable[Utterance]] = lambda clips, step: clips,
) -> list[Influence]:
    """`told` passes the clips on, and shows how far it is; `precision` is torch's autocast."""
    objective, begun = course.objectives[-1], course.weights()
    rows: list[list[tuple[float, float, float, float]]] = [[] for _ in clips]
    for moment in moments:
        course.set_weights(_weights(moment.file) if moment.file else begun)
        course.model.eval()
        with precision or nullcontext():
            goal = _mean(course, objective, [clip.turn for clip in held])
            size = _norm(goal)
            for row, clip in zip(rows, told(clips, moment.step), strict=True):
                loss, own = gradient(course, objective, clip.turn)
                gain, length = _product(own, goal), _norm(own)
                row.append((loss, gain, gain / (size * length) if size * length else 0.0, length))
    course.set_weights(begun)
    return [
        Influence(clip.id, *([_digits(value) for value in column] for column in zip(*row, strict=True)))
        for clip, row in zip(clips, rows, strict=True)
    ]


def _weights(file: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    values: dict[str, Any] = load_file(file)
    return values


def gradient(course: Course, objective: Objective, turn: Turn) -> tuple[float, Gradient]:
    """The loss on what is said in one clip, and how it changes with each weight."""
    import torch

    loss = objective.losses(course.exam([[turn]])).total
    parts = torch.autograd.grad(loss, list(objective.weights), allow_unused=True)
    return float(loss.detach()), [None if part is None else part.float() for part in parts]


def _mean(course: Course, objective: Objective, turns: Sequence[Turn]) -> Gradient:
    total: Gradient = [None for _ in objective.weights]
    for turn in turns:
        _, own = gradient(course, objective, turn)
        total = [_sum(one, other) for one, other in zip(total, own, strict=True)]
    return [None if part is None else part / len(turns) for part in total]


def _sum(one: Any, other: Any) -> Any:
    return other if one is None else one if other is None else one + other


def _product(one: Gradient, other: Gradient) -> float:
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return sum(float((a * b).sum()) for a, b in pairs)


def _norm(parts: Gradient) -> float:
    return math.sqrt(_product(parts, parts))


def _digits(value: float) -> float:
    """Six that count: the rest is noise of the machine."""
    return float(f"{value:.6g}")
