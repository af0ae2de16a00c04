"""What training.json says of a training that a person ended early, and the sentence about it that people read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENDED_EARLY = "ended_early"  # true, in training.json; else the key is not there
PLANNED = "planned_steps"  # beside it: the steps that it would have gone to
GO_ON = "`dvc repro -f train` goes on from there"


def early_ending(training: Mapping[str, Any]) -> str:
    """Empty of a training that went to its end; of one that nobody trusts to be well formed, no more than it says."""
    if not training.get(ENDED_EARLY):
        return ""
    return f"a person ended it early, at step {training.get('steps', '?')} of {training.get(PLANNED, '?')}"
