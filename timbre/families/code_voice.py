"""A voice that says one code after another, as XTTS and GPT-SoVITS do: its sentences go through one decode loop.

A family adds its decoder, its sentences and its sound.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from timbre.families.code_decoder import CodeDecoder, CodeDrawing, CodeSentence, SaidCode
from timbre.families.protocol import Speaking


class CodeVoice(ABC):
    """See `timbre.families.protocol.Voice`."""

    def __init__(self, base: Any) -> None:
        self.base = base  # an adapter goes into its layers
        self.model = base  # what is trained: the same, or peft's wrapper around it
        self.decoders: dict[Speaking, CodeDecoder] = {}  # the last one's buffers serve the next call

    @abstractmethod
    def decoder(self, drawing: CodeDrawing, slots: int) -> CodeDecoder: ...

    def _said(self, sentences: Sequence[CodeSentence], how: Speaking) -> Iterator[SaidCode]:
        drawing = CodeDrawing(how.temperature, how.top_k, how.top_p, how.repetition_penalty)
        decoder = self.decoders.pop(how, None) or self.decoder(drawing, how.slots)  # nobody else's while it speaks
        try:
            yield from decoder.speak(sentences)
        finally:  # also where nobody wants the rest
            self.decoders = {how: decoder}
