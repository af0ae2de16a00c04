"""The three mel spectrograms that XTTS hears sound through."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

SOUND_RATE = 22_050  # Hz, of the reference and of the training codes
SPEAKER_RATE = 16_000  # Hz, of what the speaker encoder hears
HOP = 256  # samples per frame of both spectrograms at SOUND_RATE
QUIETEST = 1e-5  # power below which the logarithm is cut


class MelPower(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Power in mel bands on the HTK scale, from 0 to 8 kHz; frames are centred and the ends reflected."""

    TOP = 8_000.0  # Hz

    window: Tensor  # (window)
    bands: Tensor  # (bands, 1 + fft / 2)

    def __init__(
        self, rate: int, *, fft: int, hop: int, window: Tensor, bands: int, area: Literal["slaney"] | None = "slaney"
    ) -> None:
        super().__init__()
        self.fft, self.hop = fft, hop
        weights = mel_filter_bank(1 + fft // 2, bands, 0.0, self.TOP, rate, norm=area, mel_scale="htk")
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("bands", torch.from_numpy(weights).float().T, persistent=False)

    def forward(self, sound: Tensor) -> Tensor:  # (B, samples) -> (B, bands, 1 + samples // hop)
        spectrum = torch.stft(sound, self.fft, self.hop, len(self.window), self.window, return_complex=True)
        return self.bands @ spectrum.abs().square()


class LogMel(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Natural logarithm of the power in 80 bands at 22,050 Hz, each divided by its entry of mel_stats."""

    WINDOW = 1024  # samples

    stats: Tensor  # (80)

    def __init__(self, fft: int, stats: Tensor) -> None:
        super().__init__()
        self.power = MelPower(SOUND_RATE, fft=fft, hop=HOP, window=torch.hann_window(self.WINDOW), bands=len(stats))
        self.register_buffer("stats", stats.float(), persistent=False)

    def forward(self, sound: Tensor) -> Tensor:  # (B, samples) -> (B, 80, frames)
        power: Tensor = self.power(sound)
        return power.clamp(min=QUIETEST).log() / self.stats[:, None]


def reference_mel(stats: Tensor) -> LogMel:
    """What the conditioning encoder hears."""
    return LogMel(2048, stats)


def codec_mel(stats: Tensor) -> LogMel:
    """What the codec makes codes of."""
    return LogMel(1024, stats)


def speaker_mel() -> MelPower:
    """What the speaker encoder hears, after the pre-emphasis."""
    return MelPower(SPEAKER_RATE, fft=512, hop=160, window=torch.hamming_window(400), bands=64, area=None)
