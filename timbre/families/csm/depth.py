"""CSM's depth decoder: from the backbone's state and a frame's first code its other codes, one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from timbre.families.compiling import Compiled
from timbre.families.llama import Product, Stack

if TYPE_CHECKING:
    from timbre.families.csm.decode import Weights

Pick = Callable[[Tensor, Tensor], Tensor]  # logits (rows, codes), draws (rows, 1) → codes (rows)


class Depth:
    """Its cache begins anew for each frame: a place for the backbone's state, then one for each code."""

    def __init__(self, model: Any, weights: Weights, size: int, pick: Pick, rows: int) -> None:
        depth, codebooks = model.depth_decoder, model.config.num_codebooks
        self.vocabulary, self.size, self.pick = depth.config.vocab_size, size, pick
        self.embed, self.project, self.heads = depth.model.embed_tokens, weights.project, weights.heads
        self.stack = Stack(depth.model, weights.depth, rows, codebooks)
        places = self.stack.every.expand(rows, -1)
        self.places = [self.stack.at(places[:, :2], 2)._replace(start=0)]
        for i in range(2, codebooks):
            self.places.append(self.stack.at(places[:, i : i + 1], i + 1)._replace(mask=None, start=i))

    def frame(self, state: Tensor, first: Tensor, draws: Tensor) -> Tensor:
        """state (B, hidden), first (B), draws (B, codebooks) → (B, codebooks)."""
        codes = [first]
        x = torch.stack((state, self.embed(first)), 1)
        for codebook, (head, where) in enumerate(zip(self.heads, self.places, strict=True), 1):
            logits = head(self.stack.step(self.project(x), where)[:, -1])[:, : self.size]
            codes.append(self.pick(logits, draws[:, codebook, None]))
            x = self.embed(codes[-1] + codebook * self.vocabulary)[:, None]
        return torch.stack(codes, 1)


class CompiledDepth(Depth):
    """The same codes by two compiled functions: a layer's step, and what lies between two steps of all layers.

    What differs from step to step is in tensors, so that both serve all steps: each looks at the whole cache, and a
    mask hides what is not said yet. Each such tensor has memory of its own: the compiler copies those that begin in
    the middle of another's.
    """

    def __init__(self, model: Any, weights: Weights, size: int, pick: Pick, rows: int) -> None:
        super().__init__(model, weights, size, pick, rows)
        self.stack.compile()
        codebooks = model.config.num_codebooks
        places = [where.places.contiguous() for where in self.places]
        self.places = [self.stack.at(each, codebooks) for each in places]
        self.numbers = [torch.tensor([codebook], device=places[0].device) for codebook in range(1, codebooks)]
        self.say = Compiled(self._say)

    def frame(self, state: Tensor, first: Tensor, draws: Tensor) -> Tensor:
        codes = [first]
        x = self.project(torch.stack((state, self.embed(first)), 1))
        for number, head, where in zip(self.numbers, self.heads, self.places, strict=True):
            code, x = self.say(self.stack.step(x, where), head, draws, number)
            codes.append(code)
        return torch.stack(codes, 1)

    def _say(self, states: Tensor, head: Product, draws: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        """The code (B) that the last of `states` (B, T, hidden) says, and what goes into the next step."""
        code = self.pick(head(states[:, -1])[:, : self.size], draws.index_select(1, number))
        return code, self.project(self.embed(code + number * self.vocabulary)[:, None])
