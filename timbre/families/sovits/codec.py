"""What GPT-SoVITS hears and sounds with: HuBERT and a quantiser make codes, stage 2 speaks them in a clip's style.

Only the codes of a sentence that nobody has said come from elsewhere, from stage 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from timbre.families.precision import all_digits
from timbre.families.protocol import Audio, Codes, Turn
from timbre.families.sovits.hearing import heard, magnitudes_of, sound_of, vector_of
from timbre.families.sovits.load import CodecParts
from timbre.families.sovits.spectrogram import RATE, Spectrograms
from timbre.families.sovits.text import ids

NOISE = 0.5  # of the prior's deviation, as upstream speaks


class SovitsCodec:
    """See `timbre.families.protocol.Codec`."""

    sample_rate = hearing_rate = RATE

    def __init__(self, parts: CodecParts, device: torch.device) -> None:
        self.device = device
        self.model = nn.ModuleList(part for part in parts if part is not None).to(device)
        self.stage2, self.hubert, self.speakers = parts
        self.spectrograms = Spectrograms().to(device)

    @all_digits()
    def encode(self, sounds: Sequence[Audio]) -> list[Codes]:
        """One by one: HuBERT hears a whole sound, and would hear the silence after a shorter one."""
        return [heard(self.hubert, self.speakers, self.stage2, sound, self.device) for sound in sounds]

    def resound(self, turn: Turn, reference: Turn | None) -> Audio:
        """The clip's codes, spoken by stage 2 in the clip's own style."""
        assert turn.codes is not None, "a clip has codes"
        style = self.style(sound_of(turn), turn)
        codes = torch.from_numpy(turn.codes["codes"][:, 0].astype(np.int64)).to(self.device)
        return self.sound(codes, torch.tensor(ids(turn.text), device=self.device), style, 0)

    def style(self, sound: Audio, turn: Turn) -> tuple[Tensor, Tensor]:
        """Of a turn and its sound."""
        magnitudes = magnitudes_of(self.spectrograms, sound, self.device)
        style: tuple[Tensor, Tensor] = self.style_of(magnitudes, vector_of(turn, self.stage2.speaker).to(self.device))
        return style

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def style_of(self, magnitudes: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        whole = torch.ones_like(magnitudes[:, :1], dtype=torch.bool)
        voice, narrow = self.stage2.voice(magnitudes, whole, vector)
        return torch.as_tensor(voice), torch.as_tensor(narrow)

    def sound(self, codes: Tensor, text: Tensor, style: tuple[Tensor, Tensor], seed: int) -> Audio:
        if not len(codes):
            return np.zeros(0, np.float32)
        random = torch.Generator().manual_seed(seed)  # drawn on the CPU: the same on any device
        noise = NOISE * torch.randn(1, self.stage2.latents, 2 * len(codes), generator=random)
        with torch.inference_mode():
            sound: Audio = self.stage2.speak(codes[None], text[None], style, noise.to(self.device))[0].cpu().numpy()
        return sound
