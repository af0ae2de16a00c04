"""What Prometheus reads at /metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from timbre.exchange.served_voices import ServedVoices

FIRST_SOUND = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)  # seconds
REAL_TIME = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 5)  # seconds of computing for one of sound
DEFICIT = 0.1  # seconds that a player may run dry before a person hears it


class Figures:
    """A registry of its own, so that two servers of one process do not add up."""

    def __init__(self, voices: ServedVoices) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "timbre_requests", "Requests for speech, by what they were answered with", ["status"],
            registry=self.registry,
        )  # fmt: skip
        self.sound = Counter("timbre_sound_seconds", "Seconds of sound that were sent", registry=self.registry)
        self.first = Histogram(
            "timbre_first_sound_seconds", "From the request to its first sound", buckets=FIRST_SOUND,
            registry=self.registry,
        )  # fmt: skip
        self.factor = Histogram(
            "timbre_real_time_factor", "Seconds from slot to end for each second of sound", buckets=REAL_TIME,
            registry=self.registry,
        )  # fmt: skip
        self.underruns = Counter(
            "timbre_underruns", f"Answers whose player would have run dry for more than {DEFICIT} s",
            registry=self.registry,
        )  # fmt: skip
        self.hung_up = Counter("timbre_hung_up", "Clients that left before the end", registry=self.registry)
        self._gauge("timbre_waiting", "Requests that wait for a slot", lambda: len(voices.engine.queue))
        self._gauge("timbre_speaking", "Slots that speak", lambda: len(voices.engine.speaking))
        self._gauge("timbre_restarts", "Times that the model failed and was loaded again",
                    lambda: voices.engine.restarts)  # fmt: skip

    def _gauge(self, name: str, meaning: str, value: object) -> None:
        Gauge(name, meaning, registry=self.registry).set_function(value)  # type: ignore[arg-type]

    def text(self) -> bytes:
        return bytes(generate_latest(self.registry))


class Playback:
    """A player that begins with the first sound: how long it ran dry, at most at once."""

    def __init__(self) -> None:
        self.begun: float | None = None
        self.sent = self.deficit = 0.0  # seconds

    def sound(self, now: float, seconds: float) -> None:
        if self.begun is None:
            self.begun = now
        late = now - self.begun - self.sent
        self.deficit = max(self.deficit, late)
        if late > 0:  # it waited, and goes on from here
            self.begun += late
        self.sent += seconds
