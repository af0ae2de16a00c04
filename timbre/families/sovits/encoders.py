"""Transformer encoders over frames, channels first, as VITS has them, and the prior that stage 2 makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WINDOW = 4  # frames to either side whose distance is heard
MASKED = -1e4  # a score that is not -inf: a padded frame hears all alike, and is cut off afterwards
CROSS_HEADS = 4  # of the attention from frames to phones


class Widths(NamedTuple):
    """What a checkpoint's config leaves out, as every released one has it; its weights tell."""

    hubert: int = 768  # of what the codes stand for
    cross: int = 512  # of the attention from frames to phones


class ChannelNorm(nn.Module):  # type: ignore[misc]  # torch is not typed here
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T)
        return F.layer_norm(x.transpose(1, 2), self.gamma.shape, self.gamma, self.beta).transpose(1, 2)


class DistanceAttention(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """With a window, each distance within it has a key and a value of its own, which the heads share."""

    def __init__(self, channels: int, heads: int, window: int = 0) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.conv_q, self.conv_k = nn.Conv1d(channels, channels, 1), nn.Conv1d(channels, channels, 1)
        self.conv_v, self.conv_o = nn.Conv1d(channels, channels, 1), nn.Conv1d(channels, channels, 1)
        if window:
            shape = (1, 2 * window + 1, channels // heads)
            self.emb_rel_k = nn.Parameter(torch.randn(shape) * shape[-1] ** -0.5)
            self.emb_rel_v = nn.Parameter(torch.randn(shape) * shape[-1] ** -0.5)

    def forward(self, x: Tensor, others: Tensor, mask: Tensor) -> Tensor:  # (B, C, Q), (B, C, K), (B, 1, Q, K)
        query, key, value = (
            part.unflatten(1, (self.heads, -1)).transpose(2, 3)  # (B, heads, T, width)
            for part in (self.conv_q(x), self.conv_k(others), self.conv_v(others))
        )
        query = query / query.shape[-1] ** 0.5
        scores = query @ key.transpose(2, 3)
        if self.window:
            near, distance = self._distances(scores)
            by_distance = query @ self.emb_rel_k.transpose(1, 2)  # (B, heads, Q, 2 window + 1)
            scores = scores + near * by_distance.gather(3, distance)
        weights = scores.masked_fill(~mask, MASKED).softmax(-1)
        attended = weights @ value
        if self.window:
            summed = torch.zeros_like(by_distance).scatter_add(3, distance, weights * near)
            attended = attended + summed @ self.emb_rel_v
        return torch.as_tensor(self.conv_o(attended.transpose(2, 3).flatten(1, 2)))

    def _distances(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """(Q, K) where a distance is within the window, and (B, heads, Q, K) its number."""
        asking, asked = (torch.arange(size, device=scores.device) for size in scores.shape[2:])
        steps = asked - asking[:, None]
        number = steps.clamp(-self.window, self.window) + self.window
        return steps.abs() <= self.window, number.expand_as(scores)


class FeedForward(nn.Module):  # type: ignore[misc]  # torch is not typed here
    def __init__(self, channels: int, inner: int, kernel: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv1d(channels, inner, kernel, padding=kernel // 2)
        self.conv_2 = nn.Conv1d(inner, channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return torch.as_tensor(self.conv_2(self.conv_1(x * mask).relu() * mask) * mask)


class FrameEncoder(nn.Module):  # type: ignore[misc]  # torch is not typed here
    def __init__(self, channels: int, inner: int, heads: int, layers: int, kernel: int) -> None:
        super().__init__()
        self.attn_layers = nn.ModuleList(DistanceAttention(channels, heads, WINDOW) for _ in range(layers))
        self.norm_layers_1 = nn.ModuleList(ChannelNorm(channels) for _ in range(layers))
        self.ffn_layers = nn.ModuleList(FeedForward(channels, inner, kernel) for _ in range(layers))
        self.norm_layers_2 = nn.ModuleList(ChannelNorm(channels) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # (B, C, T), (B, 1, T)
        hearing = mask[..., None] & mask[:, :, None]  # (B, 1, T, T)
        x = x * mask
        layers = (self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2)
        for attend, norm, feed, last in zip(*layers, strict=True):
            x = norm(x + attend(x, x, hearing))
            x = last(x + feed(x, mask))
        return x * mask


class PhoneAttention(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Frames hear the phones; the voice is added."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.cross_attention = DistanceAttention(width, CROSS_HEADS)
        self.c_pre = nn.Conv1d(channels, width, 1)
        self.text_pre = nn.Conv1d(channels, width, 1)
        self.c_post = nn.Conv1d(width, channels, 1)

    def forward(self, x: Tensor, mask: Tensor, text: Tensor, text_mask: Tensor, voice: Tensor) -> Tensor:
        content, phones = self.c_pre(x * mask), self.text_pre(text * text_mask)
        hearing = mask[..., None] & text_mask[:, :, None]  # (B, 1, T, P)
        attended = self.cross_attention(content * mask, phones * text_mask, hearing)
        return torch.as_tensor(self.c_post((attended + content + voice) * mask))


class Prior(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Mean and log deviation of the latents, from codes, phones and voice."""

    def __init__(self, sizes: Mapping[str, Any], phones: int, widths: Widths) -> None:
        super().__init__()
        channels, layers, kernel = sizes["hidden_channels"], sizes["n_layers"], sizes["kernel_size"]
        inner, heads = sizes["filter_channels"], sizes["n_heads"]
        self.ssl_proj = nn.Conv1d(widths.hubert, channels, 1)
        self.encoder_ssl = FrameEncoder(channels, inner, heads, layers // 2, kernel)
        self.encoder_text = FrameEncoder(channels, inner, heads, layers, kernel)
        self.text_embedding = nn.Embedding(phones, channels)
        self.mrte = PhoneAttention(channels, widths.cross)
        self.encoder2 = FrameEncoder(channels, inner, heads, layers // 2, kernel)
        self.proj = nn.Conv1d(channels, 2 * sizes["inter_channels"], 1)

    def forward(
        self, content: Tensor, mask: Tensor, text: Tensor, text_mask: Tensor, voice: Tensor
    ) -> tuple[Tensor, Tensor]:
        x = self.encoder_ssl(self.ssl_proj(content * mask) * mask, mask)
        phones = self.encoder_text(self.text_embedding(text).transpose(1, 2), text_mask)
        x = self.encoder2(self.mrte(x, mask, phones, text_mask, voice), mask)
        mean, deviation = (self.proj(x) * mask).chunk(2, 1)
        return mean, deviation
