"""How Orpheus speaks a frame: seven tokens, each among the codes of its slot, so that the pattern is always valid.

Only a frame's first token may be the end of speech. A head of one slot has 4,096 rows of the 156,940.
"""

from __future__ import annotations

from typing import Any

import torch

from timbre.families.frame_loop import FrameDecoder, Frames
from timbre.families.int8 import Int8Linear
from timbre.families.llama import Layer, Product, Stack, product
from timbre.families.orpheus.shape import SLOTS
from timbre.families.orpheus.tokens import TokenIds
from timbre.families.protocol import Speaking
from timbre.families.sampling import penalised, pick


class OrpheusWeights:
    """A voice's weights as the loop wants them; decoders of one voice share them."""

    def __init__(self, model: Any, ids: TokenIds, int8: bool) -> None:
        self.layers = [Layer(layer) for layer in model.model.layers]
        weight = model.lm_head.weight.detach()
        self.heads: list[Product] = []
        for slot in range(SLOTS):
            rows = weight[slot_ids(ids, slot, weight.device)]
            self.heads.append(Int8Linear(rows) if int8 else product(rows))


def slot_ids(ids: TokenIds, slot: int, device: torch.device) -> torch.Tensor:
    """The tokens of a slot's codes; in the first after them the end of speech."""
    codes = torch.arange(ids.codes, device=device) + ids.audio + slot * ids.codes
    end = torch.tensor([ids.end_of_speech], device=device)
    return codes if slot else torch.cat([codes, end])


class OrpheusDecoder(FrameDecoder):
    span = SLOTS

    def __init__(
        self, model: Any, ids: TokenIds, how: Speaking, positions: int, weights: OrpheusWeights,
        graphs: bool | None = None,
    ) -> None:  # fmt: skip
        self.ids, self.how, self.heads, self.weights = ids, how, weights.heads, weights
        self.embed = model.model.embed_tokens
        backbone = Stack(model.model, weights.layers, how.slots, positions)
        super().__init__(backbone, model.config.hidden_size, how.slots, positions, SLOTS, graphs)
        self.spoken = torch.zeros(how.slots, SLOTS, ids.codes + 1, dtype=torch.bool, device=self.device)

    @property
    def kept(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [*super().kept, (self.spoken, self.spoken.clone())]

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def frame(self, length: int) -> None:
        draws = self.draws[self.backbone.rows[:, 0], self.number]
        self.spoken &= (self.number > 0)[:, None, None]  # another sentence has said nothing yet
        for slot, head in enumerate(self.heads):
            logits = head(self.state)
            spoken = self.spoken[:, slot, : logits.shape[-1]]
            code = pick(penalised(logits.float(), spoken, self.how.repetition_penalty), draws[:, slot, None], self.how)
            if self.how.repetition_penalty != 1:
                self.spoken[:, slot].scatter_(1, code[:, None], (code != self.ids.codes)[:, None])
            self.codes[:, slot] = code
            token = code.clamp(max=self.ids.codes - 1) + self.ids.audio + slot * self.ids.codes
            where = self.backbone.at(self.place[:, None], length)
            self.state.copy_(self.backbone.step(self.embed(token[:, None]), where)[:, 0])
            self.place += self.busy
        self.number += self.busy

    def is_end(self, frame: Frames) -> bool:
        return bool(frame[0] == self.ids.codes)
