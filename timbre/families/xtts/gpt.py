"""The language model of XTTS: 32 latents of a reference, then text, then sound codes, through a GPT-2.

Text and codes have learnt positions of their own, counted from 0 each; GPT-2's own are not used. Names are those of a
released checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GPT2Config, GPT2Model

from timbre.families.code_decoder import Attend, CodeSentence, Layer
from timbre.families.xtts.conditioning import LATENTS, MelEncoder, Perceiver
from timbre.families.xtts.config import GptArgs

TEXT_WEIGHT = 0.01  # of the loss on text beside that on codes, as upstream fine-tunes
STOPS = 4  # times that the end is learnt
NO_TARGET = -1
Span = tuple[int, int]  # codes from, up to


class Positions(nn.Module):  # type: ignore[misc]  # torch is not typed here
    def __init__(self, length: int, channels: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(length, channels)


class NoPositions(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """In place of GPT-2's own."""

    def forward(self, positions: Tensor) -> Tensor:
        return torch.zeros(1, device=positions.device)


class XttsBatch(NamedTuple):
    """Sequences to learn from, padded at the end; B rows."""

    latents: Tensor  # (B, 32, C) of each row's reference
    text: Tensor  # (B, P) ids, without start and stop
    text_lengths: Tensor  # (B)
    codes: Tensor  # (B, M)
    code_lengths: Tensor  # (B)
    learnt: Tensor  # (B, M) codes that are targets; those that the latents were made of are not
    shares: Tensor  # (2) of the whole batch's targets in text and codes, those that are in this part


class Labelled(NamedTuple):
    """Logits beside what they should have said."""

    logits: Tensor  # (B, T, vocabulary)
    targets: Tensor  # (B, T), NO_TARGET where there is none

    def loss(self) -> Tensor:
        """The mean over the batch's targets."""
        return F.cross_entropy(self.logits.flatten(0, 1).float(), self.targets.flatten(), ignore_index=NO_TARGET)


class SpeechGpt(nn.Module):  # type: ignore[misc]  # torch is not typed here
    def __init__(self, args: GptArgs, vocabulary: int) -> None:
        """vocabulary of the text"""
        super().__init__()
        channels, heads = args.gpt_n_model_channels, args.gpt_n_heads
        text, codes = args.gpt_max_text_tokens + 2, args.gpt_max_audio_tokens + 3
        self.args = args
        self.conditioning_encoder = MelEncoder(channels, heads)
        self.conditioning_perceiver = Perceiver(channels)
        self.text_embedding = nn.Embedding(vocabulary, channels)
        self.mel_embedding = nn.Embedding(args.gpt_num_audio_tokens, channels)
        self.text_pos_embedding = Positions(text, channels)
        self.mel_pos_embedding = Positions(codes, channels)
        config = GPT2Config(
            vocab_size=1, n_positions=text + codes + args.gpt_max_prompt_tokens, n_embd=channels,
            n_layer=args.gpt_layers, n_head=heads, bos_token_id=None, eos_token_id=None,
        )  # fmt: skip
        self.gpt = GPT2Model(config)
        self.gpt.wpe, self.gpt.wte = NoPositions(), None
        self.final_norm = nn.LayerNorm(channels)
        self.text_head = nn.Linear(channels, vocabulary)
        self.mel_head = nn.Linear(channels, args.gpt_num_audio_tokens)

    @property
    def dtype(self) -> torch.dtype:
        return torch.as_tensor(self.mel_embedding.weight).dtype

    @property
    def device(self) -> torch.device:
        return torch.as_tensor(self.mel_embedding.weight).device

    def gradient_checkpointing_enable(self, how: dict[str, bool]) -> None:
        self.gpt.gradient_checkpointing_enable(how)

    def latents(self, mel: Tensor) -> Tensor:  # (B, 80, frames) -> (B, 32, C)
        return torch.as_tensor(self.conditioning_perceiver(self.conditioning_encoder(mel).transpose(1, 2)))

    def embed_text(self, ids: Tensor) -> Tensor:  # (B, P) -> (B, P + 2, C), between start and stop
        framed = F.pad(F.pad(ids, (1, 0), value=self.args.start_text), (0, 1), value=self.args.stop_text)
        return torch.as_tensor(self.text_embedding(framed) + self.text_pos_embedding.emb.weight[: framed.shape[1]])

    def embed_codes(self, codes: Tensor, places: Tensor) -> Tensor:  # (B, T), (T) or (B, T) -> (B, T, C)
        return torch.as_tensor(self.mel_embedding(codes) + self.mel_pos_embedding.emb(places))

    def states(self, embedded: Tensor, mask: Tensor | None = None) -> Tensor:  # (B, T, C), (B, T) -> (B, T, C)
        """GPT-2 with its own last norm, then another: both were trained."""
        hidden = self.gpt(inputs_embeds=embedded, attention_mask=mask, use_cache=False).last_hidden_state
        return torch.as_tensor(self.final_norm(hidden))

    def prompt(self, latents: Tensor, text: Tensor) -> Tensor:
        """(B, 32, C), (B, P) -> (B, 35 + P, C): all that stands before the first code."""
        start = torch.full((len(text), 1), self.args.gpt_start_audio_token, device=text.device)
        return torch.cat((latents, self.embed_text(text), self.embed_codes(start, torch.zeros_like(start[0]))), 1)

    def labelled(self, batch: XttsBatch) -> tuple[Labelled, Labelled]:
        """Of text and of codes."""
        text_targets, text_mask = self._text_targets(batch)
        code_inputs, code_targets, code_mask = self._code_targets(batch)
        text = self.embed_text(batch.text)
        codes = self.embed_codes(code_inputs, torch.arange(code_inputs.shape[1], device=text.device))
        mask = torch.cat((torch.ones_like(batch.latents[..., 0], dtype=torch.bool), text_mask, code_mask), 1)
        states = self.states(torch.cat((batch.latents, text, codes), 1), mask)
        _, text_states, code_states = states.split((batch.latents.shape[1], text.shape[1], codes.shape[1]), 1)
        return Labelled(self.text_head(text_states), text_targets), Labelled(self.mel_head(code_states), code_targets)

    def _text_targets(self, batch: XttsBatch) -> tuple[Tensor, Tensor]:
        """(B, P + 2) targets, and what is heard of start, ids, stop. The stop is a target; it is not heard."""
        ids, lengths = batch.text, batch.text_lengths[:, None]
        places = torch.arange(ids.shape[1] + 2, device=ids.device)
        targets = F.pad(ids, (0, 2)).masked_fill(places >= lengths, self.args.stop_text)
        return targets.masked_fill(places > lengths, NO_TARGET), places <= lengths

    def _code_targets(self, batch: XttsBatch) -> tuple[Tensor, Tensor, Tensor]:
        """(B, M + 5) inputs, targets and what is heard: start, codes, three stops; four stops are targets."""
        lengths, stop = batch.code_lengths[:, None], self.args.gpt_stop_audio_token
        places = torch.arange(batch.codes.shape[1] + STOPS, device=lengths.device)
        codes = F.pad(batch.codes, (0, STOPS)).masked_fill(places >= lengths, stop)
        inputs = F.pad(codes, (1, 0), value=self.args.gpt_start_audio_token)
        real = torch.arange(inputs.shape[1], device=lengths.device) < lengths + STOPS
        learnt = F.pad(batch.learnt, (0, STOPS + 1), value=True)
        return inputs, F.pad(codes, (0, 1), value=stop).masked_fill(~(real & learnt), NO_TARGET), real


class GptSpeaker:
    """The language model as the decode loop asks for it; see `timbre.families.code_decoder.CodeModel`."""

    silent_steps = 0

    def __init__(self, gpt: SpeechGpt) -> None:
        self.gpt, args = gpt, gpt.args
        self.heads, self.channels, self.end = args.gpt_n_heads, args.gpt_n_model_channels, args.gpt_stop_audio_token
        self.vocabulary, self.start = args.gpt_num_audio_tokens, args.gpt_start_audio_token
        self.places = LATENTS + args.gpt_max_text_tokens + 2 + args.gpt_max_audio_tokens + 3
        self.layers: Sequence[Layer] = [partial(block, layer) for layer in gpt.gpt.h]

    def embed(self, codes: Tensor, places: Tensor) -> Tensor:
        return self.gpt.embed_codes(codes, places)

    def normed(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.gpt.final_norm(self.gpt.gpt.ln_f(x)))

    def logits(self, states: Tensor) -> Tensor:
        return torch.as_tensor(self.gpt.mel_head(states))

    def sentence(self, latents: Tensor, text: Tensor, most: int, seed: int) -> CodeSentence:
        """latents (1, 32, C), text (P) ids. Like upstream's, the repetition penalty counts the start as said, and the
        code 1, which upstream puts in place of each position of the prompt."""
        counted = (1, self.start)
        return CodeSentence(lambda: self.gpt.prompt(latents, text[None])[0], 0, 1, counted, most, seed)


def block(layer: Any, x: Tensor, attend: Attend) -> Tensor:
    """One layer of GPT-2."""
    x = x + layer.attn.c_proj(attend(layer.attn.c_attn(layer.ln_1(x))))
    return torch.as_tensor(x + layer.mlp(layer.ln_2(x)))


def learnt_codes(lengths: Sequence[int], spans: Sequence[Span | None]) -> Tensor:
    """(B, M): all codes but each row's span that its latents were made of."""
    learnt = torch.ones(len(lengths), max(lengths), dtype=torch.bool)
    for row, span in enumerate(spans):
        if span is not None:
            learnt[row, slice(*span)] = False
    return learnt
