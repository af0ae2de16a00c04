"""A voice that says a sentence frame by frame, as CSM and Orpheus do: requests to sentences, frames to sound.

A family adds its sequences (`length`, `embedded`), its codec, `sounds` and its decoder.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from timbre.core.content import content_key
from timbre.core.errors import ModelError
from timbre.core.text import words
from timbre.families import lora
from timbre.families.frame_codec import FrameCodec
from timbre.families.frame_loop import FrameDecoder, Frames, Said, Sentence, SpokenFrames, alone, decode, whole
from timbre.families.protocol import Audio, Codes, Request, SpeakerTag, Speaking, Spoken, Turn

D = TypeVar("D", bound=FrameDecoder)


class FrameVoice(ABC, Generic[D]):
    """See `timbre.families.protocol.Voice`."""

    span = 1  # positions of a frame
    frame_codes: int  # codes of a frame
    frame_rate: float
    positions: int

    def __init__(self, base: Any, tokenizer: Any, codec: FrameCodec) -> None:
        self.base = base  # an adapter goes into its layers
        self.model = base  # what is trained: the same, or peft's wrapper around it
        self.tokenizer, self.codec = tokenizer, codec
        self.sample_rate, self.hearing_rate = codec.sample_rate, codec.hearing_rate
        self.decoders: dict[Speaking, D] = {}  # the last one's buffers and graphs serve the next call

    @property
    def device(self) -> torch.device:
        return torch.device(self.base.device)

    @abstractmethod
    def length(self, turns: Sequence[Turn]) -> int: ...

    @abstractmethod
    def embedded(self, turns: Sequence[Turn]) -> Tensor:
        """(positions, width) of a sequence."""

    @abstractmethod
    def named(self, speaker: SpeakerTag) -> str | int:
        """What a sequence says of who speaks."""

    @abstractmethod
    def sounds(self, frames: Iterator[Frames]) -> Iterator[Audio]:
        """The sound of frames, piece by piece as they come."""

    @abstractmethod
    def decoder(self, how: Speaking, like: D | None) -> D:
        """A new decoder; `like` is one that may lend it its weights."""

    def unknown_words(self, text: str) -> list[str]:
        """Those that the voice would mumble: a tokenizer of whole words, as the tiny models', has to spell them.

        A real tokenizer makes pieces of any word, and its model has learnt them.
        """
        model = self.tokenizer.backend_tokenizer.model
        if type(model).__name__ != "WordPiece":
            return []
        tokens = {word: self.tokenizer(word, add_special_tokens=False)["input_ids"] for word in words(text)}
        return [word for word, ids in tokens.items() if len(ids) > 1 or self.tokenizer.unk_token_id in ids]

    def encode(self, sounds: Sequence[Audio]) -> list[Codes]:
        return self.codec.encode(sounds)

    def decode(self, codes: Frames) -> Audio:
        return self.codec.decode(codes)

    def resound(self, turn: Turn, reference: Turn | None) -> Audio:
        return self.codec.resound(turn, reference)

    def fits(self, turns: Sequence[Turn]) -> str | None:
        if (size := self.length(turns)) <= self.positions:
            return None
        return f"take {size} of the model's {self.positions} positions"

    def save_adapter(self, folder: Path) -> None:
        lora.save(self.model, folder)

    def speak(self, requests: Sequence[Request], how: Speaking) -> Iterator[Spoken]:
        for codes, ended in self.speak_codes(requests, how):
            yield Spoken(self.decode(codes), ended)

    def speak_codes(self, requests: Sequence[Request], how: Speaking) -> Iterator[SpokenFrames]:
        yield from whole(self._said(requests, how), self.frame_codes)

    def stream(self, request: Request, how: Speaking) -> Generator[Audio, None, bool]:
        ended = False

        def frames() -> Iterator[Frames]:
            nonlocal ended
            ended = yield from alone(self._said([request], how))

        yield from self.sounds(frames())
        return ended

    def _said(self, requests: Sequence[Request], how: Speaking) -> Iterator[Said]:
        sentences = [self.sentence(request) for request in requests]
        like = next(iter(self.decoders.values()), None)
        decoder = self.decoders.pop(how, None) or self.decoder(how, like)  # nobody else's while it speaks
        try:
            with lora.evaluating(self.base):
                yield from decode(decoder, sentences)
        finally:  # also where nobody wants the rest
            self.decoders = {how: decoder}

    def sentence(self, request: Request) -> Sentence:
        text, context = (Turn(request.text, speaker=request.speaker),), request.context
        size = self.length((*context, *text))
        room = (self.positions - size) // self.span
        if room < 1:
            raise ModelError(
                f"{request.text!r}: text and reference take {size} of {self.positions} positions, none is left to "
                "speak in; take a shorter reference clip or sentence"
            )
        spoken = [(turn.text, self.named(turn.speaker), _codes(turn)) for turn in context]
        frames = min(math.ceil(request.seconds * self.frame_rate), room)
        return Sentence(
            content_key(spoken) if spoken else "", partial(self.embedded, context), partial(self.embedded, text),
            max(frames, 1), request.seed,
        )  # fmt: skip


def _codes(turn: Turn) -> list[list[int]] | None:
    return None if turn.codes is None else turn.codes["codes"].tolist()
