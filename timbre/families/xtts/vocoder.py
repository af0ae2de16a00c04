"""HiFi-GAN from the GPT's states, with the speaker's vector at every level; and its sound in pieces."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbre.families.hifigan import SLOPE, Upsampling, mean_of
from timbre.families.xtts.mel import SOUND_RATE

RATE = 24_000  # Hz
RATES, KERNELS = (8, 8, 2, 2), (16, 16, 4, 4)  # 256 samples per frame
FRAME = 256  # samples
STRETCHES = (4.0, RATE / SOUND_RATE)  # a code has 1,024 samples at 22,050 Hz, a frame 256 at 24,000


class LatentVocoder(Upsampling):
    def __init__(self, latent: int, speaker: int, width: int) -> None:
        super().__init__(width, RATES, KERNELS)
        self.conv_pre = nn.Conv1d(latent, width, 7, padding=3)
        self.cond_layer = nn.Conv1d(speaker, width, 1)
        self.conds = nn.ModuleList(nn.Conv1d(speaker, narrow, 1) for narrow in self.widths[1:])

    def forward(self, latents: Tensor, speaker: Tensor) -> Tensor:  # (B, T, C), (B, 512) -> (B, samples)
        return self.voiced(frames_of(latents), speaker)

    def voiced(self, frames: Tensor, speaker: Tensor) -> Tensor:  # (B, C, F), (B, 512) -> (B, 256 F)
        vector = speaker[..., None]
        x = self.conv_pre(frames) + self.cond_layer(vector)
        for (up, blocks), cond in zip(self.levels(), self.conds, strict=True):
            x = mean_of(blocks, up(F.leaky_relu(x, SLOPE)) + cond(vector))
        return self.sound(x)[:, 0]


def frames_of(latents: Tensor) -> Tensor:  # (B, T, C) -> (B, C, about 4.35 T)
    """The latents at the vocoder's rate, stretched linearly in two steps; each rounds the length down."""
    frames = latents.transpose(1, 2)
    for factor in STRETCHES:
        frames = F.interpolate(frames, scale_factor=factor, mode="linear")
    return torch.as_tensor(frames)
