"""Sound from latents while they are made: the vocoder's, sample for sample, for a stretch of frames at a time."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from timbre.families.protocol import Audio
from timbre.families.xtts.vocoder import FRAME, STRETCHES, LatentVocoder, frames_of

CONTEXT = 12  # frames on each side that reach into one: 128 ms


class LatentStream:
    def __init__(self, vocoder: LatentVocoder, vector: Tensor) -> None:
        """vector (1, 512)"""
        self.vocoder, self.vector = vocoder, vector
        self.latents: list[Tensor] = []
        self.said = 0  # frames

    def feed(self, latent: Tensor) -> None:
        """The next code's (C)."""
        self.latents.append(latent)

    @property
    def waiting(self) -> int:
        """Frames that would not change any more, and were not said yet."""
        return max(0, settled(len(self.latents)) - CONTEXT - self.said)

    def sound(self, *, last: bool = False) -> Audio:
        """What became certain; with `last`, all the rest."""
        if not self.latents:
            return np.zeros(0, np.float32)
        frames = frames_of(torch.stack(self.latents)[None].float())
        end = frames.shape[2] if last else self.said + self.waiting
        if end <= self.said:
            return np.zeros(0, np.float32)
        start = max(0, self.said - CONTEXT)
        with torch.inference_mode():
            around = self.vocoder.voiced(frames[:, :, start : end + CONTEXT], self.vector)[0]
        before, self.said = self.said - start, end
        sound: Audio = around[before * FRAME : (end - start) * FRAME].cpu().numpy()
        return sound


def settled(latents: int) -> int:
    """Frames that do not depend on latents to come: linear stretching looks at the next one."""
    count = float(latents)
    for factor in STRETCHES:
        count = math.floor((count - 0.5) * factor - 0.5)
    return max(0, int(count))
