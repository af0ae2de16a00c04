"""How many threads a model gets on a CPU: by its size and the machine, never by how many workers there are.

With other threads, sums come in another order, and their last digits differ; so would what is made of them.
"""

from __future__ import annotations

import os
from typing import Any

SMALL = 30e6  # parameters, below which a second thread costs more than it brings; on a busy machine, many times more
MOST = 8  # threads, beyond which they bring a larger model little; another worker brings more


def cores() -> int:
    """That this process may use: in a container or under `taskset`, fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(parameters: float) -> int:
    return 1 if parameters < SMALL else min(MOST, cores())


def settle(model: Any) -> None:
    """Give a torch module its threads; whatever ran before in this process may have asked for others."""
    import torch

    torch.set_num_threads(threads(sum(weight.numel() for weight in model.parameters())))
