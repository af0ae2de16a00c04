"""The reference as 32 latents: attention over its mel frames, then a perceiver that asks them 32 questions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbre.families.xtts.mel import SOUND_RATE, LogMel

LATENTS = 32
MELS = 80
SHORTEST = 0.33  # seconds; upstream drops shorter pieces of a reference


class MelAttention(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Self-attention over frames. The residual is the normed input, not the input: the weights were trained so."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8 if channels <= 16 else 16 if channels <= 64 else 32, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, channels, frames)
        normed = self.norm(x)
        # Each head's query, key and value lie one after the other.
        query, key, value = self.qkv(normed).unflatten(1, (self.heads, 3, -1)).transpose(3, 4).unbind(2)
        attended = F.scaled_dot_product_attention(query, key, value)  # (B, heads, frames, width)
        return torch.as_tensor(normed + self.proj_out(attended.transpose(2, 3).flatten(1, 2)))


class MelEncoder(nn.Module):  # type: ignore[misc]  # torch is not typed here
    DEPTH = 6

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.init = nn.Conv1d(MELS, channels, 1)
        self.attn = nn.Sequential(*[MelAttention(channels, heads) for _ in range(self.DEPTH)])

    def forward(self, mel: Tensor) -> Tensor:  # (B, 80, frames) -> (B, channels, frames)
        return torch.as_tensor(self.attn(self.init(mel)))


class LatentAttention(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """The latents ask themselves and the frames together; heads are of one size whatever the channels."""

    HEADS, WIDTH = 8, 64

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = self.HEADS * self.WIDTH
        self.to_q = nn.Linear(channels, inner, bias=False)
        self.to_kv = nn.Linear(channels, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, channels, bias=False)

    def forward(self, latents: Tensor, frames: Tensor) -> Tensor:  # (B, 32, C), (B, T, C) -> (B, 32, C)
        key, value = self.to_kv(torch.cat((latents, frames), 1)).chunk(2, -1)
        query, key, value = (
            part.unflatten(-1, (self.HEADS, -1)).transpose(1, 2) for part in (self.to_q(latents), key, value)
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        return torch.as_tensor(self.to_out(attended.transpose(1, 2).flatten(2)))


class GatedGelu(nn.Module):  # type: ignore[misc]  # torch is not typed here
    def forward(self, x: Tensor) -> Tensor:  # (…, 2 C) -> (…, C)
        value, gate = x.chunk(2, -1)
        return value * F.gelu(gate)


class LengthNorm(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Each vector scaled to the length √C, then each channel by its gain."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1) * x.shape[-1] ** 0.5 * self.gamma


class Perceiver(nn.Module):  # type: ignore[misc]  # torch is not typed here
    DEPTH = 2

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels * 8 // 3
        self.latents = nn.Parameter(torch.randn(LATENTS, channels) * 0.02)
        self.layers = nn.ModuleList()
        for _ in range(self.DEPTH):
            feed = nn.Sequential(nn.Linear(channels, 2 * inner), GatedGelu(), nn.Linear(inner, channels))
            self.layers.append(nn.ModuleList([LatentAttention(channels), feed]))
        self.norm = LengthNorm(channels)

    def forward(self, frames: Tensor) -> Tensor:  # (B, T, C) -> (B, 32, C)
        latents = self.latents.expand(len(frames), -1, -1)
        for attend, feed in self.layers:
            latents = latents + attend(latents, frames)
            latents = latents + feed(latents)
        return torch.as_tensor(self.norm(latents))


def pieces(sound: Tensor, seconds: float) -> list[Tensor]:
    """A reference (1, samples) cut into pieces of so many seconds, without a last one that is too short."""
    cut = sound.split(round(seconds * SOUND_RATE), dim=1)
    return [piece for piece in cut if piece.shape[1] >= SHORTEST * SOUND_RATE]


def mean_latents(encode: nn.Module, mel: LogMel, sound: Tensor, seconds: float) -> Tensor:
    """(1, samples) -> (1, 32, C): the mean over the reference's pieces."""
    latents = [encode(mel(piece)) for piece in pieces(sound, seconds)]
    return torch.stack(latents).mean(0)
