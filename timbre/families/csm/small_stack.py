"""A small voice's backbone with few calls; see `timbre.families.csm.small_layers`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from timbre.families.csm.small_layers import SmallLayers
from timbre.families.llama import Layer, Stack, Where
from timbre.families.lora_rows import BusyRows


class SmallStack(Stack):
    """Prompts are read as a `Stack` reads them, into the same caches."""

    def __init__(self, model: Any, layers: list[Layer], rows: int, length: int, busy: BusyRows) -> None:
        super().__init__(model, layers, rows, length)
        self.small, self.busy = SmallLayers(model, layers, rows), busy
        self.last = model.norm.weight.detach() * model.config.hidden_size**0.5
        said = self.small.said
        self.turned = torch.zeros_like(said)
        halves = (..., slice(None, self.width // 2)), (..., slice(self.width // 2, None))
        ours, theirs = self.turned[:, : self.heads + self.groups], said[:, : self.heads + self.groups]
        self.halves = [(ours[mine], theirs[other], mine) for mine, other in (halves, halves[::-1])]
        grouped = self.turned[:, : self.heads].view(rows, self.groups, -1, self.width)
        self.query, self.written = grouped, self.turned[:, self.heads :].view(rows, 1, 2, self.groups, self.width)
        # Values do not turn.
        plain = torch.ones(length, self.groups, self.width)
        self.cosines = torch.cat((self.cosine.expand(-1, self.heads + self.groups, -1), plain), 1)

    def following(self, x: Tensor, where: Where) -> Tensor:
        state = None
        for voice in self.busy.voices:
            own = self._following(x, where, voice.name, voice.rows)
            state = own if state is None or voice.mask is None else torch.where(voice.mask, own, state)
        assert state is not None
        return state

    def _following(self, x: Tensor, where: Where, name: str | None, rows: Tensor | None) -> Tensor:
        """With a voice; only `rows` are remembered if given."""
        small, places = self.small, where.places[:, 0]
        cosines, sines = self.cosines[places], where.sine[:, 0].split(self.width // 2, -1)
        at = (where.rows, where.places) if rows is None else (where.rows[rows], where.places[rows])
        written = self.written if rows is None else None
        small.x.copy_(x[:, 0])
        for layer, cache in zip(small.voice(name).layers, self.look(where.length), strict=True):
            small.ask(layer)
            torch.mul(small.said, cosines, out=self.turned)
            for (mine, other, _), sine in zip(self.halves, sines, strict=True):
                mine.addcmul_(other, sine)
            cache.written.index_put_(at, self.written[rows] if written is None else written)
            attended = F.scaled_dot_product_attention(self.query, cache.keys, cache.values, attn_mask=where.mask)
            small.think(layer, attended.reshape(self.small.rows, -1))
        return small.normed() * self.last
