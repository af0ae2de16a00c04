"""Runs in MLflow, as other commands show them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrackedRun:
    """The MLflow run of a version of the voice."""

    id: str
    name: str
    href: str = ""  # its page, where a server has one


@dataclass(frozen=True)
class StoredVersion:
    """What the store says of a version's run."""

    run: TrackedRun
    tags: dict[str, str]
    candidate: bool  # whether the model registry's `candidate` is this run's adapter
