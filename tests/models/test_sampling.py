"""One draw from logits: the distribution that was asked for, to its ends."""

from __future__ import annotations

import pytest
import torch

from timbre.families import Speaking


@pytest.mark.parametrize("top_k", [0, 3])
def test_sampling_draws_from_the_distribution_of_the_logits(top_k: int) -> None:
    from timbre.families.sampling import pick

    logits = torch.tensor([0.0, 1.0, 2.0, -1.0, -9.0, 1.5])
    draws = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    drawn = pick(logits.expand(len(draws), -1), draws[:, None], Speaking(0.7, top_k, 1))
    kept = logits if not top_k else logits.masked_fill(logits < 1.0, -torch.inf)
    expected = torch.softmax(kept / 0.7, 0)
    assert (torch.bincount(drawn, minlength=6) / len(draws) - expected).abs().max() < 2e-5


def test_the_ends_of_the_draws_are_codes_that_may_be_drawn() -> None:
    from timbre.families.sampling import pick

    logits = torch.full((2, 9), -torch.inf)
    logits[:, 2:5] = 1.0
    draws = torch.tensor([[0.0], [1 - 2**-53]], dtype=torch.float64)
    assert pick(logits, draws, Speaking(0.7, 0, 1)).tolist() == [2, 4]
    assert pick(logits, draws, Speaking(0.7, 3, 1)).tolist() == [2, 4]
