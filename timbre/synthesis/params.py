"""The section `generate` of params.yaml: what is spoken for evaluation, and how every sentence is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Params:
    seeds: list[int]
    true_prompts: int
    temperature: float
    top_k: int
    cap_seconds: float
    cap_seconds_per_character: float
    batch: int  # samples
    precision: Literal["auto", "fp32", "bf16", "int8"]

    def __post_init__(self) -> None:
        none_below = {"true_prompts": 0, "temperature": 0, "top_k": 0, "cap_seconds_per_character": 0, "batch": 1}
        wrong = [
            f"{name}: {getattr(self, name)} is not {least} or more"
            for name, least in none_below.items()
            if getattr(self, name) < least
        ]
        if not self.cap_seconds > 0:
            wrong.append(f"cap_seconds: {self.cap_seconds} is not above 0")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            wrong.append(f"seeds: {self.seeds} is not a list of different numbers, 0 or more")
        if wrong:
            raise ValueError("\n".join(wrong))


def of_a_sound(params: Params) -> dict[str, Any]:
    """The parameters that decide how one sentence sounds; the others say how many sentences there are."""
    return {name: value for name, value in asdict(params).items() if name not in ("seeds", "true_prompts", "batch")}
