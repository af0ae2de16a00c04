"""A run in MLflow, as other commands show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """A version's run in MLflow."""

    name: str
    href: str
