"""One code drawn from logits, on the device and without asking the host, so that CUDA can capture it in a graph."""

from __future__ import annotations

import torch
from torch import Tensor

from timbre.families.protocol import Speaking


def pick(logits: Tensor, draw: Tensor, how: Speaking) -> Tensor:
    """A code for each row of logits (B, codes): where the sum of probabilities passes `draw` (B, 1), 0 ≤ draw < 1."""
    if how.temperature == 0:
        return logits.argmax(-1)
    logits = logits.float() / how.temperature
    if 0 < how.top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(how.top_k).values[:, -1:], -torch.inf)
    # In double precision, sums never fall and the draw stays below the whole, so no code of probability 0 is met.
    passed = torch.softmax(logits, -1).cumsum(-1, dtype=torch.float64)
    return torch.searchsorted(passed, draw * passed[:, -1:], right=True)[:, 0]
