"""What CSM learns from: transformers' own two losses, computed where there is something to learn and nowhere else.

`CsmForConditionalGeneration.forward` makes logits for every position, looks on the host where labels are (a GPU is
waited for each time), and copies the heads of all codebooks. Here the places of the labels come with the batch, padding
is on the right, where nothing that counts attends to it, and one product makes the logits of all codebooks.

Where the depth decoder errs is told by groups of codebooks, the coarse ones apart from the fine. The first codebook,
the backbone's, says what is spoken; each further one corrects what those before left over. So the groups grow: 1-3,
4-7, 8-15 and so on, as far as the model has codebooks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

PIECES = (
    8  # in which an evaluation, on all frames, goes through the depth decoder: as many in each of several processes
)


class Batch(NamedTuple):
    ids: Tensor  # (B, S)
    codes: Tensor  # (B, S, codebooks), padded on the right
    sound: Tensor  # (B, S)
    said: Tensor  # (frames) that the backbone learns, as places among all B * S
    deep: Tensor  # (frames) that the depth decoder learns
    shares: Tensor  # (2) of the whole batch's labels for backbone and depth decoder, those that are in this part


class Stack(torch.nn.Module):  # type: ignore[misc]
    """A decoder's layers over whole sequences from their first position on: causal, and no mask to make or to read."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.layers, self.norm, self.rotary_emb = decoder.layers, decoder.norm, decoder.rotary_emb

    def forward(self, hidden: Tensor) -> Tensor:  # (B, S, width)
        places = torch.arange(hidden.shape[1], device=hidden.device)[None]
        turned = self.rotary_emb(hidden, position_ids=places)
        for layer in self.layers:
            hidden = layer(hidden, position_ids=places, position_embeddings=turned, use_cache=False)
        return torch.as_tensor(self.norm(hidden))


def label_losses(base: Any, backbone: Stack, depth: Stack, batch: Batch) -> tuple[Tensor, Tensor]:
    """In nats: of each frame (said), and of each of its further codebooks (codebooks - 1, deep)."""
    codes = batch.codes.flatten(0, 1)
    hidden = backbone(_embedded(base, batch)).flatten(0, 1)  # (B * S, width)
    first = F.cross_entropy(base.lm_head(hidden[batch.said - 1]).float(), codes[batch.said, 0], reduction="none")
    pieces = [batch.deep] if torch.is_grad_enabled() else _pieces(batch.deep)
    others = torch.cat([_others(base, depth, hidden[piece - 1], codes[piece]) for piece in pieces], 1)
    return first, others[:, : len(batch.deep)]


def _pieces(deep: Tensor) -> list[Tensor]:
    """None of them empty: where there are fewer frames, the first is computed along, for nothing."""
    return list(deep.tensor_split(PIECES)) if len(deep) >= PIECES else [deep, *[deep[:1]] * (PIECES - 1)]


def _others(base: Any, depth: Stack, hidden: Tensor, codes: Tensor) -> Tensor:
    """hidden (frames, width), codes (frames, codebooks)"""
    decoder, head = base.depth_decoder.model, base.depth_decoder.codebooks_head.weight  # (codebooks - 1, width, size)
    offsets = torch.arange(len(head), device=codes.device) * decoder.vocab_size
    heard = decoder.embed_tokens(codes[:, :-1] + offsets)
    steps = torch.cat([hidden[:, None].to(heard.dtype), heard], 1)  # (frames, codebooks, width)
    found = depth(decoder.inputs_embeds_projector(steps))[:, 1:].transpose(0, 1)
    logits = torch.bmm(found, head).float()  # (codebooks - 1, frames, size)
    labels = codes[:, 1:].T
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)


def _embedded(base: Any, batch: Batch) -> Tensor:
    """A frame's codes are summed where they are looked up: all of them side by side would be gigabytes."""
    audio = base.backbone_model.embed_tokens
    codes = (batch.codes + audio.audio_tokens_offsets).flatten(0, 1)
    heard = F.embedding_bag(codes, audio.embed_audio_tokens.weight, mode="sum").view(*batch.ids.shape, -1)
    return torch.where(batch.sound[..., None], heard, base.embed_text_tokens(batch.ids))


def groups(codebooks: int) -> dict[str, slice]:
    """Of 8 codebooks: 1-3 and 4-7; the slices are of the depth decoder's own codebooks, which begin at 1."""
    found = {}
    first, end = 1, 4
    while first < codebooks:
        last = min(end, codebooks) - 1
        found[f"{first}-{last}" if last > first else f"{first}"] = slice(first - 1, last)
        first, end = end, 2 * end
    return found


def group_losses(others: Tensor) -> dict[str, Tensor]:
    """Means of the losses (codebooks - 1, frames) of each group, for people to read: nothing is learnt from them."""
    return {name: others.detach()[part].mean() for name, part in groups(len(others) + 1).items()}
