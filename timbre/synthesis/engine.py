"""Speaks for many callers at once: a thread that owns the model, a bounded queue before it, slots inside it.

    engine = Engine(lambda: open_slots(voice, 8, adapters), waiting=32)
    job = engine.submit(Script([Ask(request, drawing, "champion")]), heard)   # heard(part), from the engine's thread
    engine.cancel(job)                                                        # its slot is free within a frame

A job is a script of sentences. Between two of them it keeps its slot, and the next may depend on how the last one came
out: that is how a long text hears its own beginning, and how a sentence that failed is spoken again. When the model
fails, everybody who was speaking is told, and a new one is made; meanwhile `submit` raises `NotReady`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from timbre.core.errors import EngineError, TimbreError
from timbre.families import Audio, Codes, Request
from timbre.families.slots import Drawing, Slots, SlotSound

log = logging.getLogger("timbre.engine")
REBUILD = 1.0  # second before another model is made, after one that failed


class QueueFull(EngineError):
    """More callers than slots and places to wait in."""


class NotReady(EngineError):
    """The model is being loaded, or loaded again."""


class Draining(EngineError):
    """Nothing new is begun."""

    def __init__(self) -> None:
        super().__init__("the server is ending; ask another one, or again in a moment")


class Ask(NamedTuple):
    """One sentence of a script."""

    request: Request
    how: Drawing
    adapter: str | None
    pause: float = 0.0  # seconds of silence before it
    held: bool = False  # heard only once it is over, and not at all if it is followed by a sentence `again`
    again: bool = False  # instead of the last one


class Outcome(NamedTuple):
    """How a sentence came out."""

    sound: Audio
    ended: bool  # by itself, not by its cap
    codes: Codes | None = None  # where the family can hear them again


class Script(Protocol):
    """The sentences of one caller."""

    def next(self, last: Outcome | None) -> Ask | None:
        """The first sentence, or the one after `last`; None ends the job."""


class SpokenPart(NamedTuple):
    """What a listener is told, in this order: sound, sound, …, and at the end `over`."""

    sound: Audio
    over: bool = False
    error: Exception | None = None


@dataclass(eq=False)
class SpeechJob:
    script: Script
    listen: Callable[[SpokenPart], None]
    asked: float = field(default_factory=time.monotonic)  # when it was submitted
    begun: float | None = None  # when it got a slot
    cancelled: bool = False
    pieces: list[Audio] = field(default_factory=list)  # of the sentence that is being spoken
    held: bool = False  # nothing of it was told yet
    rest: float = 0.0  # seconds of silence that come before its first sound

    def tell(self, part: SpokenPart) -> None:
        if not self.cancelled:
            try:
                self.listen(part)
            except Exception:  # a listener's mistake is not the others'
                log.exception("a listener failed")
                self.cancelled = True


class Engine:
    """Jobs in slots. `make` loads the model, in the engine's own thread."""

    def __init__(self, make: Callable[[], Slots], waiting: int = 32) -> None:
        self.make, self.most = make, waiting
        self.slots: Slots | None = None
        self.queue: deque[SpeechJob] = deque()
        self.speaking: dict[int, SpeechJob] = {}
        self.orders: deque[Callable[[Slots], None]] = deque()  # what is to be done between two frames
        self.frames = 0
        self.restarts = 0
        self.closed = False
        self.failure: TimbreError | None = None  # a mistake of the user's that no new try mends
        self.wake = threading.Condition()
        self.thread = threading.Thread(target=self._run, name="timbre-engine", daemon=True)
        self.thread.start()

    @property
    def ready(self) -> bool:
        return self.slots is not None and not self.closed

    @property
    def busy(self) -> bool:
        """Somebody speaks or waits."""
        return bool(self.speaking or self.queue)

    def submit(self, script: Script, listen: Callable[[SpokenPart], None]) -> SpeechJob:
        with self.wake:
            if self.closed:
                raise Draining
            if self.failure:
                raise NotReady(str(self.failure))
            if self.slots is None:
                raise NotReady("the voice is being loaded; ask again in a moment")
            if len(self.queue) >= self.most:
                raise QueueFull(f"{len(self.speaking)} are speaking and {len(self.queue)} are waiting; ask again later")
            job = SpeechJob(script, listen)
            self.queue.append(job)
            self.wake.notify()
            return job

    def cancel(self, job: SpeechJob) -> None:
        """Nobody listens any more; safe from any thread, at any time."""
        with self.wake:
            job.cancelled = True
            with contextlib.suppress(ValueError):
                self.queue.remove(job)
            self.wake.notify()

    def between_frames(self, order: Callable[[Slots], None], patience: float = 120) -> None:
        """Do something with the slots while no frame is being made; returns when it is done, or raises its error."""
        done, errors = threading.Event(), list[Exception]()

        def carried_out(slots: Slots) -> None:
            try:
                order(slots)
            except Exception as error:
                errors.append(error)
            finally:
                done.set()

        with self.wake:
            self.orders.append(carried_out)
            self.wake.notify()
        if not done.wait(patience):
            raise EngineError("the model did not answer; see the server's log")
        if errors:
            raise errors[0]

    def close(self) -> None:
        with self.wake:
            self.closed = True
            self.wake.notify()
        self.thread.join(timeout=30)

    def wait_until_ready(self, patience: float = 600) -> None:
        end = time.monotonic() + patience
        while not self.ready:
            if self.failure:
                raise self.failure
            if time.monotonic() > end or not self.thread.is_alive():
                raise EngineError("the voice could not be loaded in time; see the server's log")
            time.sleep(0.01)

    def _run(self) -> None:
        while not self.closed:
            try:
                slots = self.make()
            except TimbreError as error:
                self.failure = error
                return
            except Exception:
                log.exception("the voice cannot be loaded; another try follows")
                time.sleep(REBUILD)
                continue
            self.slots = slots
            try:
                self._serve(slots)
            except Exception as error:
                log.exception("the model failed; it is loaded again")
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        with self.wake:
            self.slots = None
            self.restarts += 1
            lost = [*self.speaking.values(), *self.queue]
            self.speaking.clear()
            self.queue.clear()
            orders = list(self.orders)
            self.orders.clear()
        for job in lost:
            job.tell(SpokenPart(silence(), True, EngineError(f"the model failed ({type(error).__name__}); ask again")))
        for order in orders:
            with contextlib.suppress(Exception):
                order(None)  # type: ignore[arg-type]  # it waits for an answer

    def _serve(self, slots: Slots) -> None:
        while not self.closed:
            with self.wake:
                while not (self.speaking or self.queue or self.orders or self.closed):
                    self.wake.wait()
                orders, self.orders = self.orders, deque()
            for order in orders:
                order(slots)
            for slot, job in list(self.speaking.items()):
                if job.cancelled:
                    self._leave(slots, slot)
            self._fill(slots)
            if self.speaking:
                for piece in slots.step():
                    self._hand_out(slots, piece)
                self.frames += 1

    def _fill(self, slots: Slots) -> None:
        for slot in range(slots.count):
            while slot not in self.speaking:
                with self.wake:
                    if not self.queue:
                        return
                    job = self.queue.popleft()
                    self.speaking[slot] = job
                job.begun = time.monotonic()
                self._next_sentence(slots, slot, job, None)

    def _next_sentence(self, slots: Slots, slot: int, job: SpeechJob, last: Outcome | None) -> None:
        try:
            ask = job.script.next(last)
            if job.held and last and len(last.sound) and not (ask and ask.again):
                self._tell(slots, job, last.sound)
            if ask is not None:
                job.held, job.rest = ask.held, job.rest if ask.again else ask.pause
                slots.admit(slot, ask.request, ask.how, ask.adapter)
                return
        except TimbreError as error:
            job.tell(SpokenPart(silence(), True, error))
        else:
            job.tell(SpokenPart(silence(), True))
        self._leave(slots, slot)

    def _tell(self, slots: Slots, job: SpeechJob, sound: Audio) -> None:
        if job.rest:
            job.tell(SpokenPart(np.zeros(round(job.rest * slots.sample_rate), np.float32)))
            job.rest = 0.0
        job.tell(SpokenPart(sound))

    def _hand_out(self, slots: Slots, piece: SlotSound) -> None:
        job = self.speaking[piece.slot]
        if len(piece.sound):
            job.pieces.append(piece.sound)
            if not job.held:
                self._tell(slots, job, piece.sound)
        if piece.over:
            whole = np.concatenate(job.pieces) if job.pieces else silence()
            job.pieces = []
            if job.cancelled:
                self._leave(slots, piece.slot)
            else:
                self._next_sentence(slots, piece.slot, job, Outcome(whole, piece.ended, piece.codes))

    def _leave(self, slots: Slots, slot: int) -> None:
        with self.wake:
            self.speaking.pop(slot, None)
        slots.free(slot)


def silence() -> Audio:
    return np.zeros(0, np.float32)


class OneSentence:
    """A script of one sentence."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask

    def next(self, last: Outcome | None) -> Ask | None:
        return self.ask if last is None else None


def spoken(engine: Engine, script: Script) -> Iterator[Audio]:
    """The sound of a script piece by piece, for who may wait in a thread; its errors are raised."""
    import queue

    parts: queue.Queue[SpokenPart] = queue.Queue()
    job = engine.submit(script, parts.put)
    try:
        while True:
            part = parts.get()
            if part.error:
                raise part.error
            if part.over:
                return
            yield part.sound
    finally:
        engine.cancel(job)
