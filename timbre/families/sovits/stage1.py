"""Stage 1: a transformer that hears phones both ways and says semantic codes after them, 25 a second.

Names are those of a released checkpoint, but for the `model.` before them and the `in_proj`, which is a layer here so
that LoRA can sit on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from timbre.families.code_decoder import Attend, CodeSentence, Layer
from timbre.families.sovits.spectrogram import below

LONGEST = 4000  # positions of phones, and of codes
ROOM = 2048  # places of phones and codes together when speaking: 54 s, which upstream's training goes up to, and more
SILENT_STEPS = 11  # in which the end cannot be said
BERT = 1024  # width of the text model's states; all zero except for Chinese


class Stage1Batch(NamedTuple):
    """B rows, padded at the end."""

    phones: Tensor  # (B, P)
    phone_lengths: Tensor  # (B)
    codes: Tensor  # (B, M)
    code_lengths: Tensor  # (B)
    bert: Tensor | None = None  # (B, 1024, P)


class TokenEmbedding(nn.Module):  # type: ignore[misc]  # torch is not typed here
    def __init__(self, count: int, channels: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(count, channels)


class ScaledSines(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Sines and cosines of each frequency side by side, times a learnt number."""

    table: Tensor  # (LONGEST, C)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1))
        frequencies = torch.exp(-math.log(10_000.0) / channels * torch.arange(0, channels, 2))
        angles = torch.arange(LONGEST)[:, None] * frequencies
        self.register_buffer("table", torch.stack((angles.sin(), angles.cos()), -1).flatten(1), persistent=False)

    def forward(self, places: Tensor) -> Tensor:  # (…) -> (…, C)
        return self.alpha * self.table[places]


class JointProjections(nn.Module):  # type: ignore[misc]  # torch is not typed here
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.in_proj = nn.Linear(channels, 3 * channels)
        self.out_proj = nn.Linear(channels, channels)


class PostNormLayer(nn.Module):  # type: ignore[misc]  # torch is not typed here
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.self_attn = JointProjections(channels)
        self.linear1 = nn.Linear(channels, 4 * channels)
        self.linear2 = nn.Linear(4 * channels, channels)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)

    def forward(self, x: Tensor, attend: Attend) -> Tensor:  # (B, T, C)
        x = self.norm1(x + self.self_attn.out_proj(attend(self.self_attn.in_proj(x))))
        return torch.as_tensor(self.norm2(x + self.linear2(self.linear1(x).relu())))


class PostNormLayers(nn.Module):  # type: ignore[misc]  # torch is not typed here
    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PostNormLayer(channels) for _ in range(count))


class Stage1(nn.Module):  # type: ignore[misc]  # torch is not typed here
    def __init__(self, sizes: Mapping[str, Any]) -> None:
        """From `config["model"]` of a checkpoint."""
        super().__init__()
        channels, codes = sizes["hidden_dim"], sizes["vocab_size"]
        self.heads: int = sizes["head"]
        self.eos: int = sizes["EOS"]  # the last of the codes
        self.phones: int = sizes["phoneme_vocab_size"]
        self.saving: dict[str, bool] | None = None  # how activations are computed twice
        self.bert_proj = nn.Linear(BERT, channels)
        self.ar_text_embedding = TokenEmbedding(self.phones, channels)
        self.ar_text_position = ScaledSines(channels)
        self.ar_audio_embedding = TokenEmbedding(codes, channels)
        self.ar_audio_position = ScaledSines(channels)
        self.h = PostNormLayers(channels, sizes["n_layer"])
        self.ar_predict_layer = nn.Linear(channels, codes, bias=False)

    @property
    def dtype(self) -> torch.dtype:
        return torch.as_tensor(self.bert_proj.weight).dtype

    @property
    def device(self) -> torch.device:
        return torch.as_tensor(self.bert_proj.weight).device

    def gradient_checkpointing_enable(self, how: dict[str, bool]) -> None:
        self.saving = how

    def embed_phones(self, phones: Tensor, bert: Tensor | None = None) -> Tensor:  # (B, P) -> (B, P, C)
        words = self.ar_text_embedding.word_embeddings(phones)
        projected = self.bert_proj.bias if bert is None else self.bert_proj(bert.transpose(1, 2))
        places = torch.arange(phones.shape[1], device=phones.device)
        return torch.as_tensor(words + projected + self.ar_text_position(places))

    def embed_codes(self, codes: Tensor, places: Tensor) -> Tensor:  # (B, M), (M) or (B, M) -> (B, M, C)
        return torch.as_tensor(self.ar_audio_embedding.word_embeddings(codes) + self.ar_audio_position(places))

    def logits(self, batch: Stage1Batch) -> Tensor:
        """(B, 1 + M, codes): the first after each row's own last phone, the others after each code.

        What pads a row changes none of its logits. (Upstream, since July 2025, masks the left of such rows: it is deaf
        to their first phones and hears their padding.)
        """
        width, count = batch.phones.shape[1], batch.codes.shape[1]
        places = torch.arange(count, device=batch.codes.device)
        phones, codes = self.embed_phones(batch.phones, batch.bert), self.embed_codes(batch.codes, places)
        attend = self._attention(visible(below(batch.phone_lengths, width), count))
        x = torch.cat((phones, codes), 1)
        for layer in self.h.layers:
            x = checkpoint(layer, x, attend, **self.saving) if self.saving and self.training else layer(x, attend)
        rows = torch.arange(len(x), device=x.device)
        last = x[rows, batch.phone_lengths - 1]
        return torch.as_tensor(self.ar_predict_layer(torch.cat((last[:, None], x[:, width:]), 1)))

    def _attention(self, mask: Tensor) -> Attend:
        def attend(joint: Tensor) -> Tensor:
            query, key, value = joint.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            return attended.transpose(1, 2).flatten(2)

        return attend

    def losses(self, batch: Stage1Batch) -> Tensor:
        """(B): cross entropy summed over each row's codes and its end."""
        logits = self.logits(batch)
        width = logits.shape[1]
        targets = F.pad(batch.codes, (0, 1)).masked_fill(~below(batch.code_lengths, width), self.eos)
        each = F.cross_entropy(logits.transpose(1, 2).float(), targets, reduction="none")
        return (each * below(batch.code_lengths + 1, width)).sum(1)


class Stage1Speaker:
    """Stage 1 as the decode loop asks for it; see `timbre.families.code_decoder.CodeModel`."""

    places, silent_steps = ROOM, SILENT_STEPS

    def __init__(self, model: Stage1) -> None:
        self.model, self.heads, self.end = model, model.heads, model.eos
        self.vocabulary, self.channels = model.ar_audio_embedding.word_embeddings.weight.shape
        self.layers: Sequence[Layer] = list(model.h.layers)

    def embed(self, codes: Tensor, places: Tensor) -> Tensor:
        return self.model.embed_codes(codes, places)

    def normed(self, x: Tensor) -> Tensor:
        return x

    def logits(self, states: Tensor) -> Tensor:
        return torch.as_tensor(self.model.ar_predict_layer(states))

    def sentence(
        self, phones: Tensor, prompt: Tensor, most: int, seed: int, bert: Tensor | None = None
    ) -> CodeSentence:
        """phones (P) of the reference and the text, prompt (M) codes of the reference, which may be none"""

        def embedded() -> Tensor:
            places = torch.arange(len(prompt), device=prompt.device)
            codes = self.model.embed_codes(prompt[None], places)
            return torch.cat((self.model.embed_phones(phones[None], bert), codes), 1)[0]

        return CodeSentence(embedded, len(phones), len(prompt), prompt.tolist(), most, seed)


def visible(phones: Tensor, codes: int) -> Tensor:
    """(B, P) -> (B, 1, P + M, P + M): all hear the row's own phones; codes also hear those up to themselves."""
    rows, width = phones.shape
    mask = torch.ones(width + codes, width + codes, dtype=torch.bool, device=phones.device).tril().repeat(rows, 1, 1)
    mask[:, :, :width] = phones[:, None]
    return mask[:, None]
