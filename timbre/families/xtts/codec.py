"""The encoder of XTTS' discrete autoencoder: mel frames as codes, 21.5 a second. Its decoder is never needed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from timbre.families.xtts.conditioning import MELS

# Keys of dvae.pth that are not loaded: sound is made by the vocoder, and the codebook is not trained here.
UNUSED = ("decoder.", "discrete_loss.", "codebook.cluster_size", "codebook.embed_avg", "codebook.inited")


class CodecBlock(nn.Module):  # type: ignore[misc]  # torch is not typed here
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(channels, channels, 3, padding=1), nn.ReLU(),
            nn.Conv1d(channels, channels, 3, padding=1), nn.ReLU(),
            nn.Conv1d(channels, channels, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(x + self.net(x))


class Codebook(nn.Module):  # type: ignore[misc]  # torch is not typed here
    embed: Tensor  # (width, codes)

    def __init__(self, width: int, codes: int) -> None:
        super().__init__()
        self.register_buffer("embed", torch.randn(width, codes))

    def forward(self, x: Tensor) -> Tensor:  # (B, T, width) -> (B, T), the nearest code
        return (self.embed.square().sum(0) - 2 * x @ self.embed).argmin(-1)


class CodecEncoder(nn.Module):  # type: ignore[misc]  # torch is not typed here
    BLOCKS = 3

    def __init__(self, width: int, depth: int, codes: int) -> None:
        """width of the first convolution, depth of the codebook's vectors"""
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Sequential(nn.Conv1d(MELS, width, 3, stride=2, padding=1), nn.ReLU()),
            nn.Sequential(nn.Conv1d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU()),
            *[CodecBlock(2 * width) for _ in range(self.BLOCKS)],
            nn.Conv1d(2 * width, depth, 1),
        )
        self.codebook = Codebook(depth, codes)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def forward(self, mel: Tensor) -> Tensor:  # (B, 80, T) -> (B, about T / 4)
        return torch.as_tensor(self.codebook(self.encoder(mel).transpose(1, 2)))
