"""The speaker's vector: a residual network with squeeze and excitation over log mel bands, pooled by attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbre.families.xtts.mel import speaker_mel

PRE_EMPHASIS = 0.97
COMPUTED = "torch_spec."  # window, filters and pre-emphasis lie in the file too; they are computed here
LEAST_VARIANCE = 1e-5


class SqueezeExcite(nn.Module):  # type: ignore[misc]  # torch is not typed here
    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 8
        self.fc = nn.Sequential(nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, channels), nn.Sigmoid())

    def forward(self, image: Tensor) -> Tensor:  # (B, channels, bands, T)
        return torch.as_tensor(image * self.fc(image.mean((2, 3)))[..., None, None])


class SpeakerBlock(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """A residual block; its first ReLU comes before the batch norm."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.se = SqueezeExcite(after)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, image: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(self.bn1(self.conv1(image).relu())))
        return torch.as_tensor((self.se(inner) + self.downsample(image)).relu())


class SpeakerEncoder(nn.Module):  # type: ignore[misc]  # torch is not typed here
    DEPTHS = (3, 4, 6, 3)  # blocks; the first layer keeps the size, each other halves bands and frames
    BANDS = 64
    POOLING = 128  # channels inside the attention over time

    def __init__(self, widths: tuple[int, ...], vector: int) -> None:
        super().__init__()
        self.mel = speaker_mel()
        self.conv1 = nn.Conv2d(1, widths[0], 3, padding=1)
        self.bn1 = nn.BatchNorm2d(widths[0])
        before = widths[0]
        for number, (width, depth) in enumerate(zip(widths, self.DEPTHS, strict=True), 1):
            first = SpeakerBlock(before, width, 1 if number == 1 else 2)
            rest = [SpeakerBlock(width, width, 1) for _ in range(depth - 1)]
            self.add_module(f"layer{number}", nn.Sequential(first, *rest))
            before = width
        channels = before * self.BANDS // 8
        self.attention = nn.Sequential(
            nn.Conv1d(channels, self.POOLING, 1), nn.ReLU(), nn.BatchNorm1d(self.POOLING),
            nn.Conv1d(self.POOLING, channels, 1), nn.Softmax(dim=2),
        )  # fmt: skip
        self.fc = nn.Linear(2 * channels, vector)

    def forward(self, sound: Tensor) -> Tensor:  # (B, samples) at 16 kHz -> (B, vector), of length 1
        earlier = torch.cat((sound[:, 1:2], sound[:, :-1]), 1)  # the first sample's neighbour is reflected
        power = self.mel(sound - PRE_EMPHASIS * earlier)
        image = F.instance_norm((power + 1e-6).log())[:, None]  # each band's mean 0 and variance 1 over time
        image = self.bn1(self.conv1(image).relu())
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            image = layer(image)
        frames = image.flatten(1, 2)  # (B, channels · bands, T)
        weights = self.attention(frames)  # each channel's own, over time
        mean = (weights * frames).sum(2)
        variance = (weights * frames.square()).sum(2) - mean.square()
        return F.normalize(self.fc(torch.cat((mean, variance.clamp(min=LEAST_VARIANCE).sqrt()), 1)))
