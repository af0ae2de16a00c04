"""Runs in MLflow, as other commands show them."""

from __future__ import annotations

from dataclasses import dataclass

STEPS_TAG = "timbre.steps"  # of a training while it runs: that it will take at most


@dataclass(frozen=True)
class TrackedRun:
    """The MLflow run of a version of the voice."""

    id: str
    name: str
    href: str = ""  # its page, where a server has one


@dataclass(frozen=True)
class LiveTraining:
    """The newest training that told of itself while it ran."""

    id: str
    name: str
    running: bool
    tags: dict[str, str]
    losses: dict[str, dict[int, float]]  # by step: `train_loss`, `eval_loss`, and the best so far


@dataclass(frozen=True)
class StoredVersion:
    """What the store says of a version's run."""

    run: TrackedRun
    tags: dict[str, str]
    candidate: bool  # whether the model registry's `candidate` is this run's adapter
