"""The section `csm` of params.yaml: what only CSM's training asks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Params:
    depth_share: float

    def __post_init__(self) -> None:
        if not 0 <= self.depth_share <= 1:
            raise ValueError(f"depth_share: {self.depth_share} is not between 0 and 1")
