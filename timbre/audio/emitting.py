"""The way of a sound out of Timbre by its commands and its server: faster or slower, marked, then in its container.

    out = Emission("mp3", voice.sample_rate, mark, speed=1.2)
    for piece in pieces: send(out.feed(piece))
    send(out.finish())

`timbre say`, `timbre serve` and batches all pass here, and none can forget the mark: words in the container that
programs read, and a watermark in the sound itself (timbre/audio/watermark.py).
"""

from __future__ import annotations

import io
import json
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import soundfile

from timbre import audio
from timbre.audio import Samples
from timbre.audio.containers import encoder_of
from timbre.audio.content_credentials import signed
from timbre.audio.stretching import Stretcher
from timbre.audio.watermark import KEY_DIGITS, Watermarker

MAKER = "timbre"


@dataclass(frozen=True)
class Mark:
    """What a sound says of itself."""

    version: str  # the voice's key, in hex digits
    card: str | None = None  # where its model card is
    why_not: str | None = None  # the reason for a sound without marks, which stands in the log of what was spoken

    def tags(self) -> dict[str, str]:
        """For any container that has a place for text."""
        about = self.about()
        return {"title": "Synthetic speech", "comment": json.dumps(about), "software": MAKER} if about else {}

    def about(self) -> dict[str, object]:
        """What the tags and a signed manifest say; nothing of a sound that is not to be marked."""
        if self.why_not:
            return {}
        about: dict[str, object] = {"synthetic": True, "generator": MAKER, "voice": self.version}
        return about | ({"card": self.card} if self.card else {})


class MarkedSound:
    """Samples on their way to a container or a player."""

    def __init__(self, rate: int, mark: Mark, speed: float = 1.0) -> None:
        self.stretcher = Stretcher(speed, rate)
        self.marker = None if mark.why_not else Watermarker(mark.version[:KEY_DIGITS], rate)

    def feed(self, sound: Samples) -> Samples:
        return self._marked(self.stretcher.feed(sound))

    def finish(self) -> Samples:
        rest = self._marked(self.stretcher.finish())
        return rest if self.marker is None else np.concatenate((rest, self.marker.finish()))

    def _marked(self, sound: Samples) -> Samples:
        return sound if self.marker is None else self.marker.feed(sound)

    def pieces(self, spoken: Generator[Samples, None, bool]) -> Generator[Samples, None, bool]:
        """The marked pieces of what is spoken; returns what it returns."""
        while True:
            try:
                piece = next(spoken)
            except StopIteration as end:
                if len(rest := self.finish()):
                    yield rest
                return bool(end.value)
            if len(ready := self.feed(piece)):
                yield ready


class Emission:
    """One sound on its way into a file that is sent."""

    def __init__(self, kind: str, rate: int, mark: Mark, speed: float = 1.0) -> None:
        self.sound = MarkedSound(rate, mark, speed)
        self.encoder = encoder_of(kind, rate, mark.tags() if kind not in ("pcm", "aac") else {})
        self.rate, self.samples = rate, 0  # of the sound that was sent

    def feed(self, sound: Samples) -> bytes:
        return self._out(self.sound.feed(sound))

    def finish(self) -> bytes:
        return self._out(self.sound.finish()) + self.encoder.finish()

    @property
    def seconds(self) -> float:
        return self.samples / self.rate

    def _out(self, sound: Samples) -> bytes:
        self.samples += len(sound)
        return self.encoder.feed(sound) if len(sound) else b""


def wav_file(sound: Samples, rate: int, mark: Mark) -> bytes:
    """A whole file of samples that are marked already, with the mark's words; 16 bits."""
    return _file(sound, rate, mark, "WAV")


def marked_file(sound: Samples, rate: int, mark: Mark, container: str) -> bytes:
    """As `wav_file`, of samples that are not marked yet."""
    return _file(marked_samples(sound, rate, mark), rate, mark, container)


def marked_samples(sound: Samples, rate: int, mark: Mark) -> Samples:
    marked = MarkedSound(rate, mark)
    return np.concatenate((marked.feed(sound), marked.finish()))


def _file(sound: Samples, rate: int, mark: Mark, container: str) -> bytes:
    target = io.BytesIO()
    with soundfile.SoundFile(target, "w", rate, 1, "PCM_16", format=container) as file:
        for name, value in mark.tags().items():
            setattr(file, name, value)
        file.write(audio.to_pcm(sound))
    return signed(target.getvalue(), container.lower(), mark.about())
