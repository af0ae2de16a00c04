"""CSM's decode loop: a frame is one step of the backbone and one of the depth decoder per further codebook.

transformers' `generate` runs its whole machinery for every code; here the layers are called bare, over key-value caches
laid out once. The depth decoder's is overwritten frame by frame. The same codes as `generate` in single precision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from timbre.families import Speaking, Spoken
from timbre.families.csm_int8 import Int8Heads


class Stack:
    """A transformer's layers with their key-value caches, for `batch` rows of at most `length` positions."""

    def __init__(self, model: Any, batch: int, length: int) -> None:
        config, like = model.config, model.norm.weight
        self.layers, self.norm = list(model.layers), model.norm
        self.heads, self.width = config.num_attention_heads, config.head_dim
        self.shared = config.num_attention_heads != config.num_key_value_heads
        shape = (len(self.layers), 2, batch, config.num_key_value_heads, length, self.width)
        self.cache = torch.zeros(shape, dtype=like.dtype, device=like.device)
        cosine, sine = model.rotary_emb(like[None, None], torch.arange(length, device=like.device)[None])
        self.cosine, self.sine = cosine[0], sine[0]  # (length, width)

    def step(self, x: Tensor, start: int, positions: Tensor, mask: Tensor | None) -> Tensor:
        """x (B, T, hidden) goes to places `start` … of the cache; positions (B, T); mask (B, 1, T, start + T)."""
        batch, count, _ = x.shape
        cosine, sine = self.cosine[positions][:, None], self.sine[positions][:, None]  # (B, 1, T, width)
        for layer, (keys, values) in zip(self.layers, self.cache, strict=True):
            attention = layer.self_attn
            h = F.rms_norm(x, x.shape[-1:], layer.input_layernorm.weight, layer.input_layernorm.variance_epsilon)
            q, k, v = (
                project(h).view(batch, count, -1, self.width).transpose(1, 2)
                for project in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            keys[:, :, start : start + count] = _rotate(k, cosine, sine)
            values[:, :, start : start + count] = v
            heard = F.scaled_dot_product_attention(
                _rotate(q, cosine, sine), keys[:, :, : start + count], values[:, :, : start + count],
                attn_mask=mask, enable_gqa=self.shared,
            )  # fmt: skip
            x = x + attention.o_proj(heard.transpose(1, 2).reshape(batch, count, -1))
            after = layer.post_attention_layernorm
            x = x + layer.mlp(F.rms_norm(x, x.shape[-1:], after.weight, after.variance_epsilon))
        return F.rms_norm(x, x.shape[-1:], self.norm.weight, self.norm.variance_epsilon)


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat((-second, first), -1) * sine


Pick = Callable[[Tensor, int], Tensor]
"""From logits (B, vocabulary) of a codebook, a code per row (B)."""


def picker(how: Speaking, size: int, noise: Tensor | None) -> Pick:
    """Codes below `size` only: the few ids above are no codes, and would crash the codec.

    `noise` (B, codebooks, size) is Gumbel's: the largest of log-probability plus noise is a draw from the distribution.
    """

    def pick(logits: Tensor, codebook: int) -> Tensor:
        logits = logits[:, :size].float()
        if noise is None:
            return logits.argmax(-1)
        logits = logits / how.temperature
        if 0 < how.top_k < size:
            least = logits.topk(how.top_k).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        return (logits + noise[:, codebook]).argmax(-1)

    return pick


class Depth:
    """From the backbone's last state and the first code, the other codes of a frame."""

    def __init__(self, model: Any, batch: int) -> None:
        depth = model.depth_decoder
        self.codebooks, self.vocabulary = model.config.num_codebooks, depth.config.vocab_size
        self.embed, self.project = depth.model.embed_tokens, depth.model.inputs_embeds_projector
        self.heads = _heads(depth.codebooks_head)
        self.stack = Stack(depth.model, batch, self.codebooks)
        self.places = torch.arange(self.codebooks, device=self.embed.weight.device).expand(batch, -1)
        self.causal = torch.ones(2, 2, dtype=torch.bool, device=self.embed.weight.device).tril()

    def frame(self, state: Tensor, first: Tensor, pick: Pick) -> Tensor:
        """state (B, hidden), first (B) → (B, codebooks)."""
        codes = [first]
        x = torch.stack((state, self.embed(first)), 1)  # place 0 is the backbone's word, place i the code i - 1
        for codebook in range(1, self.codebooks):
            start, end = (0, 2) if codebook == 1 else (codebook, codebook + 1)
            h = self.stack.step(self.project(x), start, self.places[:, start:end], self.causal if start == 0 else None)
            codes.append(pick(self.heads[codebook - 1](h[:, -1]), codebook))
            x = self.embed(codes[-1] + codebook * self.vocabulary)[:, None]
        return torch.stack(codes, 1)


def _heads(head: Any) -> list[Callable[[Tensor], Tensor]]:
    """For each codebook but the first, logits from states."""
    return list(head.each) if isinstance(head, Int8Heads) else [partial(torch.matmul, other=w) for w in head.weight]


def decode_frames(
    model: Any, prompts: Tensor, valid: Tensor, caps: Sequence[int], seeds: Sequence[int], how: Speaking
) -> list[Spoken]:
    """prompts (B, P, hidden), padded on the left where not valid (B, P); caps: frames of each row at most.

    A row ends where transformers ends it: all codes but the last are the end code. A row that has ended goes on saying
    nonsense until all have; it is cut off.
    """
    batch, size, _ = prompts.shape
    longest, device = max(*caps, 1), prompts.device
    depth, stack = Depth(model, batch), Stack(model.backbone_model, batch, size + longest)
    codebook_size: int = model.config.codec_config.codebook_size
    rows = [torch.Generator().manual_seed(seed) for seed in seeds]
    lengths = valid.sum(1)
    heard = F.pad(valid, (0, longest), value=True)  # (B, P + frames) keys that may be attended to
    # Padding sees itself, or its softmax would be over nothing.
    mask = (heard[:, None, :size] & torch.ones(size, size, dtype=torch.bool, device=device).tril()) | torch.eye(
        size, dtype=torch.bool, device=device
    )
    state = stack.step(prompts, 0, (valid.cumsum(1) - 1).clamp(min=0), mask[:, None])[:, -1]
    ends = torch.tensor(caps, device=device)
    ended = torch.zeros(batch, dtype=torch.bool, device=device)
    frames: list[Tensor] = []
    # disable=None: no bar in a log file
    for number in tqdm(range(longest), desc="frames", unit="frame", leave=False, dynamic_ncols=True, disable=None):
        pick = picker(how, codebook_size, _noise(rows, model.config.num_codebooks, codebook_size, how, device))
        codes = depth.frame(state, pick(model.lm_head(state), 0), pick)
        frames.append(codes)
        stops = (codes[:, :-1] == model.config.codebook_eos_token_id).all(1) & (ends > number) & ~ended
        ended |= stops
        ends = torch.where(stops, number, ends)
        if bool((ends <= number + 1).all()):
            break
        x = model.backbone_model.embed_tokens(codes[:, None])
        place = size + number
        state = stack.step(x, place, (lengths + number)[:, None], heard[:, None, None, : place + 1])[:, -1]
    made = torch.stack(frames, 1).cpu().numpy().astype(np.int16)
    return [
        Spoken(row[:end], bool(stop))
        for row, end, stop in zip(made, ends.tolist(), ended.tolist(), strict=True)
    ]  # fmt: skip


def _noise(
    rows: Sequence[torch.Generator], codebooks: int, size: int, how: Speaking, device: torch.device
) -> Tensor | None:
    """Each row from its own source, drawn on the CPU: the same on any device and in any company."""
    if how.temperature == 0:
        return None
    draws = torch.stack([torch.rand(codebooks, size, generator=row) for row in rows])
    return -(-draws.log()).log().to(device)
