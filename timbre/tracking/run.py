"""A run in MLflow, as other commands show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrackedRun:
    """The MLflow run of a version of the voice."""

    id: str
    name: str
    href: str = ""  # its page, where a server has one
