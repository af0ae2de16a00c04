"""The way of every sound out of Timbre: faster or slower, marked, then in its container.

    out = Emission("mp3", voice.sample_rate, mark, speed=1.2)
    for piece in pieces: send(out.feed(piece))
    send(out.finish())

`timbre say`, `timbre serve` and batches all pass here, so no door can forget the mark.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from timbre.audio import Samples
from timbre.audio.containers import encoder_of
from timbre.audio.stretching import Stretcher

MAKER = "timbre"


@dataclass(frozen=True)
class Mark:
    """What a sound says of itself."""

    version: str  # the voice's key
    card: str | None = None  # where its model card is

    def tags(self) -> dict[str, str]:
        """For any container that has a place for text."""
        about = {"synthetic": True, "generator": MAKER, "voice": self.version}
        if self.card:
            about["card"] = self.card
        return {"title": "Synthetic speech", "comment": json.dumps(about), "software": MAKER}


class Emission:
    """One sound on its way."""

    def __init__(self, kind: str, rate: int, mark: Mark, speed: float = 1.0) -> None:
        self.stretcher = Stretcher(speed, rate)
        self.encoder = encoder_of(kind, rate, mark.tags() if kind not in ("pcm", "aac") else {})
        self.rate, self.samples = rate, 0  # of the sound that was sent

    def feed(self, sound: Samples) -> bytes:
        return self._out(self.stretcher.feed(sound))

    def finish(self) -> bytes:
        return self._out(self.stretcher.finish()) + self.encoder.finish()

    @property
    def seconds(self) -> float:
        return self.samples / self.rate

    def _out(self, sound: Samples) -> bytes:
        self.samples += len(sound)
        return self.encoder.feed(sound) if len(sound) else b""
