"""SNAC: three levels of codes, the coarse ones four times as long as the fine ones; whole, or piece by piece.

Its decoder adds noise. Here the noise at a place follows from the place alone, so that a sentence sounds the same twice
and in pieces. A piece is exact once it is decoded with as many frames on either side as the convolutions reach.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from timbre.core.errors import ModelError
from timbre.families.frame_codec import FrameCodec
from timbre.families.frame_loop import Frames
from timbre.families.precision import all_digits
from timbre.families.protocol import Audio, Codes

LEVEL_SLOTS = ([0], [1, 4], [2, 3, 5, 6])  # slots of each level, in the order of time
LONGEST_PIECE = 16  # coarse frames
UNIT = 39  # samples on either side that the three residual units of a block hear: 3 * (1 + 3 + 9)


def read_codec(config: Path, weights: Path) -> Any:
    """A snac.SNAC; its weights are a pickle, of which nothing but tensors is read."""
    from snac import SNAC

    codec = SNAC(**json.loads(config.read_bytes()))
    codec.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    if codec.attn_window_size is not None or len(codec.vq_strides) != len(LEVEL_SLOTS):
        raise ModelError(f"{config}: not the SNAC that Orpheus speaks with: it has three levels and no attention")
    for place, block in enumerate(codec.decoder.model):
        parts = getattr(block, "block", [])
        for number, part in enumerate(parts):
            if type(part).__name__ == "NoiseBlock":
                parts[number] = PlacedNoise(part.linear, place)
    return codec.float().eval()


class PlacedNoise(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """SNAC's noise, the same at the same place of a sentence."""

    def __init__(self, linear: nn.Module, block: int) -> None:
        super().__init__()
        self.linear, self.seed, self.first, self.frames = linear, block << 32, 0, 1

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-1] // self.frames  # samples to a coarse frame, at the rate of this block
        noise = [
            torch.randn(size, generator=torch.Generator().manual_seed(self.seed + self.first + number))
            for number in range(self.frames)
        ]
        return x + torch.cat(noise).to(x) * self.linear(x)


class SnacCodec(FrameCodec):
    """See the module, and `timbre.families.protocol.Codec`; `frame` is a coarse frame's samples."""

    def __init__(self, snac: Any) -> None:
        self.model, self.codes = snac, int(snac.codebook_size)
        self.sample_rate = self.hearing_rate = int(snac.sampling_rate)
        self.frame = int(snac.hop_length * snac.vq_strides[0])
        self.reach = reach(snac.decoder_rates, int(snac.hop_length), self.frame)
        self.noises = [part for part in snac.decoder.modules() if isinstance(part, PlacedNoise)]

    @all_digits()
    def encode(self, sounds: Sequence[Audio]) -> list[Codes]:
        """One by one: beside another sound its last codes would change."""
        return [{"codes": self._encode(sound)} for sound in sounds]

    def _encode(self, sound: Audio) -> Frames:
        """Coarse frames (frames, 7); the end is filled with silence."""
        values = torch.from_numpy(sound)[None, None].to(self.device)
        with torch.inference_mode():
            levels = self.model.encode(values)
        frames = np.zeros((levels[0].shape[-1], 7), np.int16)
        for level, slots in zip(levels, LEVEL_SLOTS, strict=True):
            frames[:, slots] = level[0].reshape(-1, len(slots)).cpu().numpy()
        return frames

    def decode(self, codes: Frames, first: int = 0) -> Audio:
        """Sound of codes (frames, 7), of which the first is the sentence's `first`."""
        if not len(codes):
            return np.zeros(0, np.float32)
        for noise in self.noises:
            noise.first, noise.frames = first, len(codes)
        values = torch.from_numpy(codes.astype(np.int64)).to(self.device)
        with torch.inference_mode():
            sound: Audio = (
                self.model.decode([values[:, slots].reshape(1, -1) for slots in LEVEL_SLOTS])[0, 0].cpu().numpy()
            )
        return sound

    def stream(self, frames: Iterable[Frames]) -> Iterator[Audio]:
        """Frames (7) as they come → sound, every frame of it: the first, and the last that wait for no more."""
        received: list[Frames] = []
        done = 0
        for frame in frames:
            received.append(frame)
            ready = len(received) - self.reach
            if ready - done >= min(max(done // 2, 1), LONGEST_PIECE):
                yield self._part(received, done, ready)
                done = ready
        if done < len(received):
            yield self._part(received, done, len(received))

    def _part(self, received: list[Frames], start: int, end: int) -> Audio:
        first = max(0, start - self.reach)
        sound = self.decode(np.stack(received[first : end + self.reach]), first)
        return sound[(start - first) * self.frame : (end - first) * self.frame]

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def reach(rates: list[int], hop: int, frame: int) -> int:
    """Coarse frames on either side that the decoder's convolutions hear."""
    samples, unit = 3 * hop, hop  # the first convolution is 7 wide
    for rate in rates:
        samples += unit  # the neighbour that the way up adds
        unit //= rate
        samples += UNIT * unit
    return math.ceil((samples + 3) / frame)
