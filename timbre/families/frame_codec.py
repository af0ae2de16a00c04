"""A codec whose codes are frames, and nothing else of a clip is needed to sound it again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from timbre.families.frame_loop import Frames
from timbre.families.protocol import Audio, Codes, Turn


class FrameCodec(ABC):
    """See `timbre.families.protocol.Codec`."""

    model: Any
    sample_rate: int
    hearing_rate: int

    @abstractmethod
    def encode(self, sounds: Sequence[Audio]) -> list[Codes]: ...

    @abstractmethod
    def decode(self, codes: Frames) -> Audio: ...

    def resound(self, turn: Turn, reference: Turn | None) -> Audio:
        assert turn.codes, "a clip has codes"
        return self.decode(turn.codes["codes"])
