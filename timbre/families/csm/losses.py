"""What CSM learns from: transformers' own two losses, computed where there is something to learn and nowhere else.

`CsmForConditionalGeneration.forward` makes logits for every position, looks on the host where labels are (a GPU is
waited for each time), and copies the heads of all codebooks. Here the places of the labels come with the batch, padding
is on the right, where nothing that counts attends to it, and one product makes the logits of all codebooks.

The losses are also shown by groups of codebooks, the coarse ones apart from the fine. The first codebook, the
backbone's, says what is spoken; each further one corrects what those before left over. So the groups grow: 1, 2-4, 5-8,
9-16 and so on, as far as the model has codebooks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from timbre.families.batch_rows import rounded
from timbre.families.llama import CausalLayers
from timbre.families.protocol import Losses

# In which an evaluation, on all frames, goes through the depth decoder: as many in each of several processes.
PIECES = 8


class CsmBatch(NamedTuple):
    ids: Tensor  # (B, S)
    codes: Tensor  # (B, S, codebooks), padded on the right
    sound: Tensor  # (B, S)
    said: Tensor  # (frames) that the backbone learns, as places among all B * S
    deep: Tensor  # (frames) that the depth decoder learns
    shares: Tensor  # (2) of the whole batch's labels for backbone and depth decoder, those that are in this part


def label_losses(base: Any, backbone: CausalLayers, depth: CausalLayers, batch: CsmBatch) -> tuple[Tensor, Tensor]:
    """In nats: of each frame (said), and of each of its further codebooks (codebooks - 1, deep)."""
    codes = batch.codes.flatten(0, 1)
    hidden = backbone(_embedded(base, batch)).flatten(0, 1)  # (B * S, width)
    first = F.cross_entropy(base.lm_head(hidden[batch.said - 1]).float(), codes[batch.said, 0], reduction="none")
    pieces = [_filled(batch.deep)] if torch.is_grad_enabled() else _pieces(batch.deep)
    others = torch.cat([_others(base, depth, hidden[piece - 1], codes[piece]) for piece in pieces], 1)
    return first, others[:, : len(batch.deep)]


def _filled(deep: Tensor) -> Tensor:
    """Up to a rounded number of frames, by repeating the first; their losses are left out again."""
    missing = rounded(len(deep), deep.device) - len(deep)
    return torch.cat([deep, deep[:1].expand(missing)]) if missing else deep


def _pieces(deep: Tensor) -> list[Tensor]:
    """None of them empty: where there are fewer frames, the first is computed along, for nothing."""
    return list(deep.tensor_split(PIECES)) if len(deep) >= PIECES else [deep, *[deep[:1]] * (PIECES - 1)]


def _others(base: Any, depth: CausalLayers, hidden: Tensor, codes: Tensor) -> Tensor:
    """hidden (frames, width), codes (frames, codebooks)"""
    decoder, head = base.depth_decoder.model, base.depth_decoder.codebooks_head.weight  # (codebooks - 1, width, size)
    offsets = torch.arange(len(head), device=codes.device) * decoder.vocab_size
    embedded = decoder.embed_tokens(codes[:, :-1] + offsets)
    steps = torch.cat([hidden[:, None].to(embedded.dtype), embedded], 1)  # (frames, codebooks, width)
    predicted = depth(decoder.inputs_embeds_projector(steps))[:, 1:].transpose(0, 1)
    logits = torch.bmm(predicted, head).float()  # (codebooks - 1, frames, size)
    labels = codes[:, 1:].T
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)


def _embedded(base: Any, batch: CsmBatch) -> Tensor:
    """A frame's codes are summed where they are looked up: all of them side by side would be gigabytes."""
    audio = base.backbone_model.embed_tokens
    codes = (batch.codes + audio.audio_tokens_offsets).flatten(0, 1)
    audio_embedding = F.embedding_bag(codes, audio.embed_audio_tokens.weight, mode="sum").view(*batch.ids.shape, -1)
    return torch.where(batch.sound[..., None], audio_embedding, base.embed_text_tokens(batch.ids))


def named_losses(first: Tensor, others: Tensor, shares: Tensor) -> Losses:
    """Of the losses of each frame (said) and of each of its further codebooks (codebooks - 1, deep): two means, so that
    the many codes of the depth decoder do not outvote the first; of a part of a batch, weighed by its share."""
    backbone, depth = first.mean() * shares[0], others.mean() * shares[1]
    books = {"1": backbone.detach()} | {name: loss * shares[1] for name, loss in group_losses(others).items()}
    parts = {"backbone": backbone, "depth_decoder": depth} | {f"codebook/{name}": loss for name, loss in books.items()}
    return Losses(backbone + depth, parts)


def groups(codebooks: int) -> dict[str, slice]:
    """Of 8 codebooks: 2-4 and 5-8; the slices are of the depth decoder's own, the first of which is the second."""
    slices = {}
    first, end = 1, 4
    while first < codebooks:
        last = min(end, codebooks) - 1
        slices[f"{first + 1}-{last + 1}" if last > first else f"{first + 1}"] = slice(first - 1, last)
        first, end = end, 2 * end
    return slices


def group_losses(others: Tensor) -> dict[str, Tensor]:
    """Means of the losses (codebooks - 1, frames) of each group, for people to read: nothing is learnt from them."""
    return {name: others.detach()[part].mean() for name, part in groups(len(others) + 1).items()}
