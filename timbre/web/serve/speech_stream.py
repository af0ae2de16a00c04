"""The answer to a request for speech: it is sent while it is spoken, and ends at once where nobody listens any more."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
import urllib.parse
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, suppress
from functools import partial

from starlette.types import Message, Receive, Scope, Send

from timbre.audio.containers import TYPES
from timbre.audio.emitting import Emission
from timbre.synthesis.engine import SpeechJob, SpokenPart
from timbre.web.serve.errors import Refusal, refusal_of
from timbre.web.serve.figures import DEFICIT, Figures, Playback

log = logging.getLogger("timbre.serve")
SHOWN = 1000  # characters of the spoken text in a header


class SpeechStream:
    """An ASGI answer. `start` submits the job to the engine with the listener that it is given."""

    def __init__(
        self, start: Callable[[Callable[[SpokenPart], None]], SpeechJob], cancel: Callable[[SpeechJob], None],
        emission: Emission, kind: str, *, sse: bool, headers: dict[str, str], tokens: Callable[[float], dict[str, int]],
        figures: Figures, held: ExitStack, spoken: Callable[[float, str], None],
    ) -> None:  # fmt: skip
        self.start, self.cancel, self.emission, self.kind, self.sse = start, cancel, emission, kind, sse
        self.headers, self.tokens, self.figures, self.held, self.spoken = headers, tokens, figures, held, spoken
        self.playback = Playback()
        self.asked = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop, parts = asyncio.get_running_loop(), asyncio.Queue[SpokenPart]()

        def listen(what: SpokenPart) -> None:
            with suppress(RuntimeError):  # the loop may be closed already, when the server ends
                loop.call_soon_threadsafe(parts.put_nowait, what)

        status, job = "500", None
        gone = asyncio.create_task(hung_up(receive))
        try:
            job = self.start(listen)
            answering = asyncio.create_task(self._answer(job, parts, partial(send_on, send, gone)))
            await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                status = answering.result()
            else:
                status = "hung up"
                self.figures.hung_up.inc()
                answering.cancel()
                with suppress(asyncio.CancelledError, OSError):
                    await answering
        except HungUp:
            status = "hung up"
            self.figures.hung_up.inc()
        except OSError:
            status = "hung up"
        except Exception as error:
            refusal = refusal_of(error)
            status = str(refusal.status)
            if refusal.status >= 500 and not isinstance(error, Refusal):
                log.exception("a request failed") if refusal.status == 500 else log.warning("%s", error)
            await refusal.response()(scope, receive, send)
        finally:
            gone.cancel()
            if job is not None:
                self.cancel(job)
            self.held.close()
            self.figures.requests.labels(status).inc()
            self.spoken(self.emission.seconds, status)

    async def _answer(self, job: SpeechJob, parts: asyncio.Queue[SpokenPart], send: Send) -> str:
        """The status; an error before the first sound is raised, a later one breaks the answer off."""
        first = await parts.get()
        if first.error:
            raise first.error
        kind = "text/event-stream; charset=utf-8" if self.sse else TYPES[self.kind]
        headers = {"content-type": kind, "x-accel-buffering": "no", "cache-control": "no-store", **self.headers}
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        self.figures.first.observe(time.monotonic() - self.asked)
        try:
            async for chunk in self._chunks(first, parts):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except HungUp:
            raise
        except Exception as error:  # nobody can be told by a status any more
            log.warning("an answer broke off: %s", error)
            if not self.sse:
                raise BrokenOff from error
            event = json.dumps({"type": "error", **refusal_of(error).body})
            await send({"type": "http.response.body", "body": f"data: {event}\n\n".encode()})
            return "broken off"
        await send({"type": "http.response.body", "body": b""})
        self._measure(job)
        return "200"

    async def _chunks(self, part: SpokenPart, parts: asyncio.Queue[SpokenPart]) -> AsyncIterator[bytes]:
        while True:
            if part.error:
                raise part.error
            before = self.emission.samples
            ready = self.emission.finish() if part.over else self.emission.feed(part.sound)
            self.playback.sound(time.monotonic(), (self.emission.samples - before) / self.emission.rate)
            if ready:
                yield self._event({"type": "speech.audio.delta", "audio": base64.b64encode(ready).decode()}, ready)
            if part.over:
                break
            part = await parts.get()
        if self.sse:
            yield self._event({"type": "speech.audio.done", "usage": self.tokens(self.emission.seconds)}, b"")

    def _event(self, event: dict[str, object], ready: bytes) -> bytes:
        return f"data: {json.dumps(event)}\n\n".encode() if self.sse else ready

    def _measure(self, job: SpeechJob) -> None:
        seconds = self.emission.seconds
        self.figures.sound.inc(seconds)
        if seconds and job.begun is not None:
            self.figures.factor.observe((time.monotonic() - job.begun) / seconds)
        if self.playback.deficit > DEFICIT:
            self.figures.underruns.inc()


class BrokenOff(OSError):
    """The answer ends without its end, so that a client does not take a part for the whole."""


class HungUp(OSError):
    """The client went before the end of its answer."""


async def send_on(send: Send, gone: asyncio.Task[None], message: Message) -> None:
    """To a client that is there: uvicorn takes what is for others, too, and says nothing."""
    await asyncio.sleep(0)  # where sends wait for nobody, nobody else would notice that the client went
    if gone.done():
        raise HungUp
    await send(message)


async def hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def shown(text: str) -> str:
    """As the value of a header: ASCII, percent-encoded, with no space at its ends, which HTTP forbids."""
    return urllib.parse.quote(text[:SHOWN].strip(), safe=" ,.;:!?'()-/")
