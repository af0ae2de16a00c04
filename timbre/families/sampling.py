"""One code drawn from logits, on the device and without asking the host, so that CUDA can capture it in a graph."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

TINY = 1e-4  # instead of a temperature of 0, where the likeliest code is taken anyway


class Limits(Protocol):
    @property
    def temperature(self) -> float:
        """0 takes the likeliest code."""

    @property
    def top_k(self) -> int:
        """Only the k likeliest; 0 is all."""

    @property
    def top_p(self) -> float:
        """Only the likeliest that together have this probability; 1 is all."""


def pick(logits: Tensor, draw: Tensor, how: Limits) -> Tensor:
    """A code for each row of logits (B, codes): where the sum of probabilities passes `draw` (B, 1), 0 ≤ draw < 1."""
    if how.temperature == 0:
        return logits.argmax(-1)
    logits = logits.float() / how.temperature
    if 0 < how.top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(how.top_k).values[:, -1:], -torch.inf)
    if how.top_p < 1:
        logits = logits.masked_fill(logits < least_likely(logits, how.top_p), -torch.inf)
    # In double precision, sums never fall and the draw stays below the whole, so no code of probability 0 is met.
    passed = torch.softmax(logits, -1).cumsum(-1, dtype=torch.float64)
    return torch.searchsorted(passed, draw * passed[:, -1:], right=True)[:, 0]


def least_likely(logits: Tensor, top_p: float) -> Tensor:
    """The smallest logit of each row (B, 1) among the likeliest that together reach the probability."""
    ordered = logits.sort(-1, descending=True).values
    probabilities = torch.softmax(ordered, -1)
    within = (probabilities.cumsum(-1) - probabilities < top_p).sum(-1, keepdim=True).clamp(min=1)
    return ordered.gather(-1, within - 1)


def penalised(logits: Tensor, spoken: Tensor, penalty: float) -> Tensor:
    """Codes that were said before (B, codes) are less likely: positive logits are divided, negative multiplied."""
    if penalty == 1:
        return logits
    less = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(spoken, less, logits)


class RowSampling:
    """How each row of a running decoder draws: tensors that keep their places, so that a graph reads the new values."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self.temperature = torch.ones(rows, 1, device=device)  # 0 takes the likeliest
        self.divisor = torch.ones(rows, 1, device=device)
        self.top_k = torch.zeros(rows, 1, dtype=torch.int64, device=device)  # 0 is all
        self.top_p = torch.ones(rows, 1, device=device)  # 1 is all
        every = {*range(rows)} if device.type == "cuda" else set[int]()  # a graph does all that any row may ask for
        self.limited, self.greedy = every, set(every)  # rows that need the order of the codes, or the likeliest

    def set(self, row: int, how: Limits, top_p: float = 1.0) -> None:
        self.temperature[row], self.top_k[row], self.top_p[row] = how.temperature, how.top_k, top_p
        self.divisor[row] = max(how.temperature, TINY)
        if self.top_k.device.type != "cuda":
            (self.limited.add if how.top_k > 0 or top_p < 1 else self.limited.discard)(row)
            (self.greedy.add if how.temperature == 0 else self.greedy.discard)(row)

    def pick(self, logits: Tensor, draw: Tensor) -> Tensor:
        """As `pick`, each row in its own way: logits (rows, codes), draw (rows, 1) → (rows)."""
        scaled = logits.float() / self.divisor
        if self.limited:
            scaled = scaled.masked_fill(scaled < self._least(scaled), -torch.inf)
        passed = torch.softmax(scaled, -1).cumsum(-1, dtype=torch.float64)
        drawn = torch.searchsorted(passed, draw * passed[:, -1:], right=True)[:, 0]
        return torch.where(self.temperature[:, 0] > 0, drawn, logits.argmax(-1)) if self.greedy else drawn

    def _least(self, scaled: Tensor) -> Tensor:
        """The smallest logit of each row (rows, 1) that may be drawn."""
        size = scaled.shape[-1]
        ordered = scaled.sort(-1, descending=True).values
        least = ordered.gather(-1, torch.where(self.top_k > 0, self.top_k, size).clamp(max=size) - 1)
        # The smallest set of the likeliest whose probabilities reach top_p: before its last member they do not.
        probabilities = torch.softmax(ordered, -1)
        before = probabilities.cumsum(-1) - probabilities
        nucleus = ((before < self.top_p) | (self.top_p >= 1)).sum(-1, keepdim=True).clamp(min=1)
        return torch.maximum(least, ordered.gather(-1, nucleus - 1))
