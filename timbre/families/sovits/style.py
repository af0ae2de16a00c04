"""A voice's style from a spectrogram: what of a reference stage 2 imitates."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BINS = 704  # of the spectrogram's 1,025: up to 11 kHz
CHANNELS, HEADS = 128, 2


class Within(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """A layer under the further name that a checkpoint gives it."""

    def __init__(self, name: str, layer: nn.Module) -> None:
        super().__init__()
        self.add_module(name, layer)
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.get_submodule(self.name)(x))


class GatedResidual(nn.Module):  # type: ignore[misc]  # torch is not typed here
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = Within("conv", nn.Conv1d(CHANNELS, 2 * CHANNELS, 5, padding=2))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T)
        return x + F.glu(self.conv1(x), dim=1)


class StyleAttention(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Scores are divided by the root of all channels, not of a head's: the weights were trained so."""

    def __init__(self) -> None:
        super().__init__()
        self.w_qs, self.w_ks = nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, CHANNELS)
        self.w_vs, self.fc = nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # (B, T, C), (B, 1, 1, T)
        query, key, value = (
            layer(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for layer in (self.w_qs, self.w_ks, self.w_vs)
        )
        attended = F.scaled_dot_product_attention(query, key, value, mask, scale=CHANNELS**-0.5)
        return torch.as_tensor(x + self.fc(attended.transpose(1, 2).flatten(2)))


class StyleEncoder(nn.Module):  # type: ignore[misc]  # torch is not typed here
    def __init__(self, out: int) -> None:
        super().__init__()
        self.spectral = nn.Sequential(  # the identities keep the numbers that upstream's dropouts take
            Within("fc", nn.Linear(BINS, CHANNELS)), nn.Mish(), nn.Identity(),
            Within("fc", nn.Linear(CHANNELS, CHANNELS)), nn.Mish(), nn.Identity(),
        )  # fmt: skip
        self.temporal = nn.Sequential(GatedResidual(), GatedResidual())
        self.slf_attn = StyleAttention()
        self.fc = Within("fc", nn.Linear(CHANNELS, out))

    def forward(self, magnitudes: Tensor, mask: Tensor) -> Tensor:  # (B, 1025, T), (B, 1, T) -> (B, out, 1)
        x = self.spectral((magnitudes[:, :BINS] * mask).transpose(1, 2))
        x = self.temporal(x.transpose(1, 2)).transpose(1, 2)
        kept = mask.transpose(1, 2)  # (B, T, 1)
        x = self.fc(self.slf_attn(x * kept, mask[:, None])) * kept
        return torch.as_tensor((x.sum(1) / kept.sum(1))[..., None])
