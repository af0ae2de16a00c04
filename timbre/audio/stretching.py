"""Faster or slower speech without a change of pitch, piece by piece: waveform similarity overlap-add (WSOLA).

Windows of 40 ms are laid over each other every 20 ms. Each is taken near where it is due, where it goes on most
smoothly from the one before it. The stretchers in packages (Signalsmith's, Rubber Band's) take a whole sound in Python,
which would make a listener wait for its end.
"""

from __future__ import annotations

import numpy as np

from timbre.audio import Samples

TEMPOS = (0.25, 4.0)  # what OpenAI's clients may ask for
HALF_WINDOW = 0.02  # seconds
SEARCH = 0.01  # seconds before and after the place where a window is due


class Stretcher:
    """Sound of n samples at speed s gets n / s of them, rounded."""

    def __init__(self, speed: float, rate: int) -> None:
        self.speed, self.half, self.search = speed, int(HALF_WINDOW * rate), int(SEARCH * rate)
        self.received = self.returned = 0  # samples
        self.buffer: Samples = np.zeros(0, np.float32)
        self.start = 0  # where the buffer begins in the sound
        self.windows = 0
        self.last = 0  # where the last window began
        self.rise = (np.sin(np.linspace(0, np.pi / 2, self.half, endpoint=False)) ** 2).astype(np.float32)

    def feed(self, sound: Samples) -> Samples:
        self.received += len(sound)
        if self.speed == 1:
            return sound
        self.buffer = np.concatenate((self.buffer, sound))
        return self._ready()

    def finish(self) -> Samples:
        missing = round(self.received / self.speed) - self.returned
        if self.speed == 1 or missing <= 0:
            return np.zeros(0, np.float32)
        reach = int(missing * self.speed) + 4 * self.half + 2 * self.search
        self.buffer = np.concatenate((self.buffer, np.zeros(reach, np.float32)))
        return self._ready()[:missing]

    def _ready(self) -> Samples:
        """All windows whose samples have been heard."""
        pieces = []
        while (place := self._next()) is not None:
            window = self._at(place, 2 * self.half)
            if self.windows:
                follow = self._at(self.last + self.half, self.half)
                pieces.append(follow * (1 - self.rise) + window[: self.half] * self.rise)
            else:
                pieces.append(window[: self.half])
            self.last, self.windows = place, self.windows + 1
            self._forget()
        self.returned += sum(map(len, pieces))
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)

    def _next(self) -> int | None:
        """Where the next window begins; None where that was not heard yet."""
        due = round(self.windows * self.half * self.speed)
        first, end = max(due - self.search, 0), due + self.search
        if max(end, self.last + self.half) + 2 * self.half > self.start + len(self.buffer):
            return None
        if not self.windows:
            return 0
        follow = self._at(self.last + self.half, self.half)  # how the last window goes on by itself
        near = self._at(first, end - first + self.half)
        likeness = np.correlate(near, follow)
        squares = np.concatenate(([0.0], np.cumsum(near.astype(np.float64) ** 2)))
        loudness = np.sqrt(squares[self.half :] - squares[: -self.half] + 1e-9)
        return first + int(np.argmax(likeness / loudness))

    def _at(self, place: int, count: int) -> Samples:
        return self.buffer[place - self.start : place - self.start + count]

    def _forget(self) -> None:
        due = round(self.windows * self.half * self.speed) - self.search
        old = min(max(due, 0), self.last + self.half) - self.start
        if old > 0:
            self.buffer, self.start = self.buffer[old:], self.start + old
