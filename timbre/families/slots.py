"""A voice that speaks for many callers: sentences join and leave between two steps, in slots of their own.

    slots = open_slots(voice, 8, adapters={"champion": Path("models/adapter")})
    slots.admit(3, request, Drawing(temperature=0.7), "champion")
    for slot, sound, over in slots.step(): ...

A family whose decoder can do it (CSM) brings its own `Slots`. Any other voice speaks through `StreamSlots`, which
takes one piece from each sentence in turn: nobody waits for another's end, and nothing is computed together.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from timbre.core.errors import ModelError
from timbre.families.protocol import Audio, Codes, Request, Speaking, Voice


class Drawing(NamedTuple):
    """How one sentence is drawn."""

    temperature: float  # 0 takes the likeliest
    top_k: int = 0  # 0 is all
    top_p: float = 1.0  # 1 is all
    repetition_penalty: float = 1.0  # 1 is none

    def speaking(self) -> Speaking:
        """By a voice that says one sentence at a time."""
        return Speaking(self.temperature, self.top_k, 1, self.top_p, self.repetition_penalty)


class SlotSound(NamedTuple):
    """What a step made in a slot."""

    slot: int
    sound: Audio
    over: bool = False
    ended: bool = False  # by its own end, not by the cap
    codes: Codes | None = None  # of the whole sentence, once it is over, where the family can hear them again


class Slots(Protocol):
    """Sentences side by side; nothing here is called from two threads at once."""

    sample_rate: int  # Hz
    frame_rate: float  # of codes, per second
    count: int

    def admit(self, slot: int, request: Request, how: Drawing, adapter: str | None) -> None:
        """Begin a sentence in a free slot; ModelError where it cannot be spoken."""

    def step(self) -> Iterator[SlotSound]:
        """A frame of every sentence; what became sound by it."""

    def free(self, slot: int) -> None:
        """Leave the sentence where it is; of a free slot, nothing."""

    def load(self, name: str, adapter: Path) -> None:
        """Add an adapter, beside those that speak."""

    def forget(self, name: str) -> None:
        """Let go of an adapter that no slot uses any more."""


class StreamSlots:
    """Any voice, with the adapter that it was loaded with: its own `stream` for each sentence, in turn."""

    def __init__(self, voice: Voice, count: int, adapter: str | None) -> None:
        self.voice, self.count, self.adapter = voice, count, adapter
        self.sample_rate, self.frame_rate = voice.sample_rate, voice.frame_rate
        self.streams: dict[int, Generator[Audio, None, bool]] = {}

    def admit(self, slot: int, request: Request, how: Drawing, adapter: str | None) -> None:
        if adapter != self.adapter:
            raise ModelError("this voice was loaded with another adapter; start a server for each")
        self.streams[slot] = self.voice.stream(request, how.speaking())

    def step(self) -> Iterator[SlotSound]:
        for slot, stream in list(self.streams.items()):
            try:
                yield SlotSound(slot, next(stream))
            except StopIteration as end:
                self.free(slot)
                yield SlotSound(slot, np.zeros(0, np.float32), True, bool(end.value))

    def free(self, slot: int) -> None:
        if stream := self.streams.pop(slot, None):
            stream.close()

    def load(self, name: str, adapter: Path) -> None:
        raise ModelError("voices of this family are not exchanged while the server runs; start it anew")

    def forget(self, name: str) -> None:
        raise ModelError("voices of this family are not exchanged while the server runs; start it anew")


def open_slots(voice: Voice, count: int, adapters: Mapping[str, Path]) -> Slots:
    """`adapters` are those that its slots may speak with at first; a voice without slots was loaded with the one."""
    own = getattr(voice, "slots", None)
    if own is None:
        return StreamSlots(voice, count, next(iter(adapters), None))
    opened: Slots = own(count, adapters)
    return opened
