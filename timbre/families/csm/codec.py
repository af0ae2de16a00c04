"""Mimi, the codec of CSM: codes of sound, and sound of codes. It is a twentieth of csm-1b.

codec = load("models/tiny/csm", None)
(codes,) = codec.encode([sound])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from timbre.families.csm import speaking_parts
from timbre.families.csm.load import whole_codec
from timbre.families.csm.mimi import decoded
from timbre.families.csm.mimi_hearing import encoded
from timbre.families.frame_codec import FrameCodec
from timbre.families.frame_loop import Frames
from timbre.families.precision import all_digits, device_for
from timbre.families.protocol import Audio, Codes


def load(base: str, revision: str | None) -> CsmCodec:
    """On a CPU, of a folder: the half that speaks, and the rest when something is to be heard."""

    half = speaking_parts.read_codec(Path(base)) if device_for("auto").type == "cpu" else None
    if half is None:
        return CsmCodec(*whole_codec(base, revision))
    return CsmCodec(half, half.config.num_quantizers, lambda: whole_codec(base, revision)[0])


class CsmCodec(FrameCodec):
    """See `timbre.families.protocol.Codec`."""

    def __init__(self, mimi: Any, codebooks: int, whole: Callable[[], Any] | None = None) -> None:
        """A MimiModel; or the half of one that speaks, and what loads all of it."""
        self.model, self.codebooks, self.whole = mimi, codebooks, whole
        config = mimi.config
        self.sample_rate: int = config.sampling_rate
        self.hearing_rate = self.sample_rate
        self.frame_rate: float = config.frame_rate
        self._frame: int = config.frame_size  # samples

    @all_digits()
    def encode(self, sounds: Sequence[Audio]) -> list[Codes]:
        """Codes of each sound. The codec is causal, so silence after a shorter sound of the batch changes nothing;
        a begun last frame is filled with silence first, or its code would depend on what the batch adds."""
        if self.whole:
            self.model, self.whole = self.whole(), None
        longest = max(-(-len(sound) // self._frame) for sound in sounds) * self._frame
        padded = np.stack([np.pad(sound, (0, longest - len(sound))) for sound in sounds])
        values = torch.from_numpy(padded)[:, None].to(self.model.device)  # (B, 1, samples)
        with torch.inference_mode():
            codes = encoded(self.model, values, self.codebooks)
        arrays = codes.transpose(1, 2).cpu().numpy().astype(np.int16)
        frames = [-(-len(sound) // self._frame) for sound in sounds]
        return [{"codes": np.ascontiguousarray(row[:count])} for row, count in zip(arrays, frames, strict=True)]

    def decode(self, codes: Frames) -> Audio:
        return decoded(self.model, codes) if len(codes) else np.zeros(0, np.float32)
