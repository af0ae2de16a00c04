"""Gated convolutions: the posterior, which makes latents of a spectrogram, and the flow between latents and prior."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

COUPLINGS = 4
COUPLING_DEPTH, POSTERIOR_DEPTH = 4, 16  # gated layers
KERNEL = 5


class GatedConvolutions(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Each layer adds to what goes on and to the output; none is dilated."""

    def __init__(self, channels: int, voice: int, layers: int) -> None:
        super().__init__()
        self.cond_layer = weight_norm(nn.Conv1d(voice, 2 * channels * layers, 1))
        self.in_layers, self.res_skip_layers = nn.ModuleList(), nn.ModuleList()
        for number in range(1, layers + 1):
            out = channels if number == layers else 2 * channels  # after the last one nothing goes on
            self.in_layers.append(weight_norm(nn.Conv1d(channels, 2 * channels, KERNEL, padding=KERNEL // 2)))
            self.res_skip_layers.append(weight_norm(nn.Conv1d(channels, out, 1)))

    def forward(self, x: Tensor, mask: Tensor, voice: Tensor) -> Tensor:  # (B, C, T), (B, 1, T), (B, voice, 1)
        total = torch.zeros_like(x)
        conditions = self.cond_layer(voice).chunk(len(self.in_layers), 1)
        for inner, project, condition in zip(self.in_layers, self.res_skip_layers, conditions, strict=True):
            signal, gate = (inner(x) + condition).chunk(2, 1)
            both = project(signal.tanh() * gate.sigmoid())
            onwards, output = both[:, : -x.shape[1]], both[:, -x.shape[1] :]
            if onwards.shape[1]:
                x = (x + onwards) * mask
            total = total + output
        return total * mask


class Posterior(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Mean and log deviation of the latents, from a spectrogram. The voice learns nothing from it."""

    def __init__(self, bins: int, latents: int, channels: int, voice: int) -> None:
        super().__init__()
        self.pre = nn.Conv1d(bins, channels, 1)
        self.enc = GatedConvolutions(channels, voice, POSTERIOR_DEPTH)
        self.proj = nn.Conv1d(channels, 2 * latents, 1)

    def forward(self, magnitudes: Tensor, mask: Tensor, voice: Tensor) -> tuple[Tensor, Tensor]:
        x = self.enc(self.pre(magnitudes) * mask, mask, voice.detach())
        mean, deviation = (self.proj(x) * mask).chunk(2, 1)
        return mean, deviation


class Coupling(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Moves the second half of the channels by what it makes of the first half."""

    def __init__(self, latents: int, channels: int, voice: int) -> None:
        super().__init__()
        self.pre = nn.Conv1d(latents // 2, channels, 1)
        self.enc = GatedConvolutions(channels, voice, COUPLING_DEPTH)
        self.post = nn.Conv1d(channels, latents // 2, 1)

    def forward(self, latents: Tensor, mask: Tensor, voice: Tensor, sign: int) -> Tensor:
        kept, moved = latents.chunk(2, 1)
        shift = self.post(self.enc(self.pre(kept) * mask, mask, voice)) * mask
        return torch.cat((kept, (moved + sign * shift) * mask), 1)


class Flow(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Couplings, after each of which the channels are reversed. A checkpoint numbers the reversals too."""

    def __init__(self, latents: int, channels: int, voice: int) -> None:
        super().__init__()
        self.flows = nn.ModuleList()
        for _ in range(COUPLINGS):
            self.flows.extend([Coupling(latents, channels, voice), nn.Identity()])

    def forward(self, latents: Tensor, mask: Tensor, voice: Tensor) -> Tensor:
        for coupling in self.flows[::2]:
            latents = coupling(latents, mask, voice, +1).flip(1)
        return latents

    def inverse(self, latents: Tensor, mask: Tensor, voice: Tensor) -> Tensor:
        for coupling in reversed(self.flows[::2]):
            latents = coupling(latents.flip(1), mask, voice, -1)
        return latents
