"""Who speaks, as v2Pro hears it beside the style: an ERes2NetV2 over Kaldi's filter banks, its mean over time.

Names are those of a released checkpoint, `sv/pretrained_eres2netv2w24s4ep4.ckpt`: width 24, scale 4, expansion 4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.audio_utils import mel_filter_bank

SPEAKER_RATE = 16_000  # Hz
WINDOW, STEP, SPEAKER_FFT = 400, 160, 512  # samples: 25 ms every 10 ms
BANDS = 80  # between 20 Hz and 8 kHz
LOWEST = 20.0  # Hz
PRE_EMPHASIS = 0.97
DEPTHS = (3, 4, 6, 3)  # blocks of the four layers; the first keeps the size, each other halves bands and frames
FUSED = 2  # the layers from this one on weigh what they add up
WIDTH = 24 / 64  # of a block's groups, as a share of its channels
GROUPS, EXPANSION = 4, 4
LOUDEST = 20.0  # where the blocks cut off
NARROWER = 4  # times, inside a fusion
CLASSIFIER = "seg_1."  # what upstream trained the network with, behind its pooling; nobody asks it here


class SpeakerFusion(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Two images added up, each value weighed by both: between 0 and 2, and the other by what is left of 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // NARROWER
        self.local_att = nn.Sequential(
            nn.Conv2d(2 * channels, inner, 1), nn.BatchNorm2d(inner), nn.SiLU(),
            nn.Conv2d(inner, channels, 1), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, one: Tensor, other: Tensor) -> Tensor:  # (B, channels, bands, T)
        weight = self.local_att(torch.cat((one, other), 1)).tanh()
        return one * (1 + weight) + other * (1 - weight)


class GroupedBlock(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """A residual block whose channels go in groups: each group also hears what the one before it came to."""

    def __init__(self, before: int, channels: int, stride: int, *, fused: bool) -> None:
        super().__init__()
        after, self.width = EXPANSION * channels, int(channels * WIDTH)
        self.conv1 = nn.Conv2d(before, GROUPS * self.width, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(GROUPS * self.width)
        self.convs = nn.ModuleList(nn.Conv2d(self.width, self.width, 3, padding=1, bias=False) for _ in range(GROUPS))
        self.bns = nn.ModuleList(nn.BatchNorm2d(self.width) for _ in range(GROUPS))
        self.fuse_models = nn.ModuleList(SpeakerFusion(self.width) for _ in range(GROUPS - 1 if fused else 0))
        self.conv3 = nn.Conv2d(GROUPS * self.width, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, image: Tensor) -> Tensor:
        groups = cut(self.bn1(self.conv1(image))).split(self.width, 1)
        heard: list[Tensor] = []
        for number, (group, conv, norm) in enumerate(zip(groups, self.convs, self.bns, strict=True)):
            if heard and self.fuse_models:
                group = self.fuse_models[number - 1](heard[-1], group)
            elif heard:
                group = heard[-1] + group
            heard.append(cut(norm(conv(group))))
        return cut(self.bn3(self.conv3(torch.cat(heard, 1))) + self.shortcut(image))


class SpeakerNet(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Frozen: stage 2 learns what to make of the vector."""

    window: Tensor  # (400)
    bands: Tensor  # (257, 80)

    def __init__(self, channels: int) -> None:
        super().__init__()
        weights = mel_filter_bank(
            SPEAKER_FFT // 2 + 1, BANDS, LOWEST, SPEAKER_RATE / 2, SPEAKER_RATE, mel_scale="kaldi",
            triangularize_in_mel_space=True,
        )  # fmt: skip
        self.register_buffer("window", torch.hann_window(WINDOW, periodic=False) ** 0.85, persistent=False)
        self.register_buffer("bands", torch.from_numpy(weights).float(), persistent=False)
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        before = channels
        for number, depth in enumerate(DEPTHS):
            width = channels * 2**number
            blocks = []
            for place in range(depth):
                stride = 2 if number and not place else 1
                blocks.append(GroupedBlock(before, width, stride, fused=number >= FUSED))
                before = EXPANSION * width
            self.add_module(f"layer{number + 1}", nn.Sequential(*blocks))
        self.layer3_ds = nn.Conv2d(before // 2, before, 3, stride=2, padding=1, bias=False)
        self.fuse34 = SpeakerFusion(before)
        self.width = before * BANDS // 8

    def forward(self, sound: Tensor) -> Tensor:  # (B, samples) at 16 kHz, 25 ms or more -> (B, width)
        image = self.filter_bank(sound).transpose(1, 2)[:, None]
        image = self.layer2(self.layer1(self.bn1(self.conv1(image)).relu()))
        finer = self.layer3(image)
        fused = self.fuse34(self.layer4(finer), self.layer3_ds(finer))
        return torch.as_tensor(fused.flatten(1, 2).mean(2))

    def filter_bank(self, sound: Tensor) -> Tensor:  # (B, samples) -> (B, frames, 80)
        """Log energies as Kaldi computes them: whole windows alone, each without its mean, then pre-emphasised."""
        frames = sound.unfold(1, WINDOW, STEP)
        frames = frames - frames.mean(2, keepdim=True)
        earlier = torch.cat((frames[..., :1], frames[..., :-1]), 2)
        spectrum = torch.fft.rfft((frames - PRE_EMPHASIS * earlier) * self.window, SPEAKER_FFT)
        energies = spectrum.abs().square() @ self.bands
        return energies.clamp(min=torch.finfo(torch.float32).eps).log()


def cut(image: Tensor) -> Tensor:
    return F.hardtanh(image, 0.0, LOUDEST)
