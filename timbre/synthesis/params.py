"""The section `generate` of params.yaml: what is spoken for evaluation, and how every sentence is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from timbre.core.sections import GenerateParams

OTHER = ("seeds", "true_prompts", "batch", "heard_before")  # of how many sentences, and of several together
NEUTRAL = {"top_p": 1, "repetition_penalty": 1}  # values that change nothing are in no key: older samples stay


def of_a_sound(params: GenerateParams) -> dict[str, Any]:
    """The parameters that decide how one sentence sounds."""
    values = {name: value for name, value in asdict(params).items() if name not in OTHER}
    return {name: value for name, value in values.items() if NEUTRAL.get(name) != value}
