"""Magnitudes and log mels at 32 kHz, 50 frames a second: what stage 2 hears and is judged by."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.audio_utils import mel_filter_bank

RATE = 32_000  # Hz
FFT, HOP = 2048, 640  # samples
BINS = 1 + FFT // 2
MELS = 128  # up to 16 kHz
QUIETEST = 1e-5  # magnitude below which the logarithm is cut


class Spectrograms(nn.Module):  # type: ignore[misc]  # torch is not typed here
    window: Tensor  # (2048)
    bands: Tensor  # (128, 1025)

    def __init__(self) -> None:
        super().__init__()
        weights = mel_filter_bank(BINS, MELS, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
        self.register_buffer("window", torch.hann_window(FFT), persistent=False)
        self.register_buffer("bands", torch.from_numpy(weights).float().T, persistent=False)

    def magnitudes(self, sound: Tensor) -> Tensor:  # (B, samples) -> (B, 1025, samples // 640)
        """Frames are not centred; the ends are reflected by 704 samples instead."""
        edge = (FFT - HOP) // 2
        padded = F.pad(sound[:, None], (edge, edge), mode="reflect")[:, 0]
        spectrum = torch.stft(padded, FFT, HOP, FFT, self.window, center=False, return_complex=True)
        return (spectrum.real.square() + spectrum.imag.square() + 1e-8).sqrt()

    def log_mel(self, magnitudes: Tensor) -> Tensor:  # (B, 1025, T) -> (B, 128, T)
        return (self.bands @ magnitudes).clamp(min=QUIETEST).log()


def below(lengths: Tensor, longest: int) -> Tensor:  # (B) -> (B, longest), true below each length
    return torch.arange(longest, device=lengths.device) < lengths[:, None]
