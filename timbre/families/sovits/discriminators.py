"""What stage 2 is trained against: networks that tell recorded sound from generated, and the losses that they give."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from timbre.families.hifigan import SLOPE

PERIODS = {"v2": (2, 3, 5, 7, 11), "v2Pro": (2, 3, 5, 7, 11, 17, 23)}
WAVE_LAYERS = (  # channels out, kernel, stride, groups
    (16, 15, 1, 1), (64, 41, 4, 4), (256, 41, 4, 16), (1024, 41, 4, 64), (1024, 41, 4, 256), (1024, 5, 1, 1),
)  # fmt: skip
PERIOD_WIDTHS = (1, 32, 128, 512, 1024, 1024)
Features = list[Tensor]  # of each layer; the last are the scores


class WaveDiscriminator(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Hears the samples one after the other."""

    def __init__(self, shrink: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        width = 1
        for full, kernel, stride, most in WAVE_LAYERS:
            out = full // shrink
            groups = max(most // shrink, 1)
            self.convs.append(weight_norm(nn.Conv1d(width, out, kernel, stride, kernel // 2, groups=groups)))
            width = out
        self.conv_post = weight_norm(nn.Conv1d(width, 1, 3, padding=1))

    def forward(self, sound: Tensor) -> Features:  # (B, 1, samples)
        features = [sound]
        for conv in self.convs:
            features.append(F.leaky_relu(conv(features[-1]), SLOPE))
        return [*features[1:], self.conv_post(features[-1])]


class PeriodDiscriminator(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Hears every `period`th sample beside each other."""

    def __init__(self, period: int, shrink: int) -> None:
        super().__init__()
        self.period = period
        widths = [PERIOD_WIDTHS[0], *(width // shrink for width in PERIOD_WIDTHS[1:])]
        self.convs = nn.ModuleList()
        for number, (before, after) in enumerate(pairwise(widths), 2):
            stride = 1 if number == len(widths) else 3
            self.convs.append(weight_norm(nn.Conv2d(before, after, (5, 1), (stride, 1), padding=(2, 0))))
        self.conv_post = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, sound: Tensor) -> Features:  # (B, 1, samples)
        whole = F.pad(sound, (0, -sound.shape[2] % self.period), mode="reflect")
        features = [whole.unflatten(2, (-1, self.period))]
        for conv in self.convs:
            features.append(F.leaky_relu(conv(features[-1]), SLOPE))
        return [*features[1:], self.conv_post(features[-1])]


class Discriminators(nn.Module):  # type: ignore[misc]  # torch is not typed here
    def __init__(self, periods: Sequence[int], shrink: int = 1) -> None:
        """`shrink` divides the released widths"""
        super().__init__()
        each = [PeriodDiscriminator(period, shrink) for period in periods]
        self.discriminators = nn.ModuleList([WaveDiscriminator(shrink), *each])

    def forward(self, sound: Tensor) -> list[Features]:
        return [discriminator(sound) for discriminator in self.discriminators]


def discriminator_loss(recorded: list[Features], generated: list[Features]) -> Tensor:
    """Least squares: recorded sound should score 1, generated 0."""
    each = [(1 - r[-1]).square().mean() + g[-1].square().mean() for r, g in zip(recorded, generated, strict=True)]
    return torch.stack(each).sum()


def adversarial_loss(generated: list[Features]) -> Tensor:
    return torch.stack([(1 - features[-1]).square().mean() for features in generated]).sum()


def feature_loss(recorded: list[Features], generated: list[Features]) -> Tensor:
    """Twice the mean distance of each layer's features, the scores too."""
    pairs = [pair for r, g in zip(recorded, generated, strict=True) for pair in zip(r, g, strict=True)]
    return 2 * torch.stack([(r.detach() - g).abs().mean() for r, g in pairs]).sum()
