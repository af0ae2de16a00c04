"""The residual blocks of HiFi-GAN, as the vocoders of several families have them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.1  # of the leaky ReLU before each convolution but the last
LAST_SLOPE = 0.01  # upstream leaves the last one at torch's default, and the weights were trained with it
KERNELS = (3, 7, 11)  # of the blocks side by side at each level
DILATIONS = (1, 3, 5)


class ResidualBlock(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Three residual steps, each a dilated and a plain convolution."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.convs1, self.convs2 = nn.ModuleList(), nn.ModuleList()
        for dilation in DILATIONS:
            self.convs1.append(_same_length(channels, kernel, dilation))
            self.convs2.append(_same_length(channels, kernel, 1))

    def forward(self, x: Tensor) -> Tensor:  # (B, channels, T)
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            x = x + plain(F.leaky_relu(dilated(F.leaky_relu(x, SLOPE)), SLOPE))
        return x


class Upsampling(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """The levels of a HiFi-GAN: `ups` widen time and halve the channels, `resblocks` follow, three to a level."""

    def __init__(self, width: int, rates: tuple[int, ...], kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.widths = [width >> level for level in range(len(rates) + 1)]
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for (wide, narrow), rate, kernel in zip(pairwise(self.widths), rates, kernels, strict=True):
            self.ups.append(weight_norm(nn.ConvTranspose1d(wide, narrow, kernel, rate, (kernel - rate) // 2)))
            self.resblocks.extend(ResidualBlock(narrow, size) for size in KERNELS)
        self.conv_post = nn.Conv1d(self.widths[-1], 1, 7, padding=3, bias=False)

    def levels(self) -> Iterator[tuple[nn.Module, list[nn.Module]]]:
        count = len(KERNELS)
        for level, up in enumerate(self.ups):
            yield up, list(self.resblocks[count * level : count * (level + 1)])

    def sound(self, x: Tensor) -> Tensor:  # (B, channels, S) -> (B, 1, S)
        samples: Tensor = self.conv_post(F.leaky_relu(x, LAST_SLOPE)).tanh()
        return samples


def mean_of(blocks: list[nn.Module], x: Tensor) -> Tensor:
    total: Tensor = blocks[0](x)
    for block in blocks[1:]:
        total = total + block(x)
    return total / len(blocks)


def _same_length(channels: int, kernel: int, dilation: int) -> nn.Module:
    padding = dilation * (kernel // 2)
    return weight_norm(nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=padding))
