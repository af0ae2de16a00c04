"""Where CSM's depth decoder errs: its loss by groups of codebooks, the coarse ones apart from the fine.

The first codebook, the backbone's, says what is spoken; each further one corrects what those before left over. So the
groups grow: 1-3, 4-7, 8-15 and so on, as far as the model has codebooks.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def groups(codebooks: int) -> dict[str, slice]:
    """Of 8 codebooks: 1-3 and 4-7; the slices are of the depth decoder's own codebooks, which begin at 1."""
    found = {}
    first, end = 1, 4
    while first < codebooks:
        last = min(end, codebooks) - 1
        found[f"{first}-{last}" if last > first else f"{first}"] = slice(first - 1, last)
        first, end = end, 2 * end
    return found


def group_losses(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """logits (frames, codebooks - 1, vocabulary), labels (frames, codebooks - 1) → means in nats, for people to read:
    nothing is learnt from them."""
    with torch.no_grad():
        each = F.cross_entropy(logits.detach().float().flatten(0, 1), labels.flatten(), reduction="none")
        each = each.view(labels.shape)
        return {name: each[:, part].mean() for name, part in groups(labels.shape[1] + 1).items()}
