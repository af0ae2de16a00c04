"""Runs an application for this machine alone: a socket on 127.0.0.1, a token made for this run, uvicorn on it.

with PageServer(routes, command="timbre review") as server:
    print(server.url)
    server.serve()            # until Ctrl+C, or `stop()` in another thread
"""

from __future__ import annotations

import asyncio
import functools
import logging
import resource
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import uvicorn
from starlette.routing import BaseRoute
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from timbre.web import endpoints
from timbre.web.app import LocalAccess, create_app

log = logging.getLogger("timbre.serve")
LOOPBACK = "127.0.0.1"
BACKLOG = 128  # connections that wait while the server starts
STALLED = 120.0  # seconds in which a client takes nothing of its answer before it is given up
CONNECTIONS = 10_000
OWN_FILES = 2500  # those of the model, and connections that are accepted in one go
FAREWELL = 1  # second that an unfinished answer is given at the end


class PatientProtocol(H11Protocol):
    """Lets nobody keep a connection for nothing; uvicorn itself would wait for ever.

    It is closed where no whole head of a request arrives in SILENCE seconds, however slowly bytes come; where the
    client takes nothing of its answer for STALLED seconds; and where it has waited longest of too many.
    """

    deadline = 0.0  # on the loop's clock
    stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= most_connections():
            self._make_room()
        super().connection_made(transport)
        self._begin_waiting()
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.idle:  # the next request's head, or a body that nobody reads
            self._wait()
        else:
            self.waiting.pop(self, None)

    def on_response_complete(self) -> None:
        self._begin_waiting()
        super().on_response_complete()
        if not self.idle:  # its next request was there already
            self.waiting.pop(self, None)

    def send_400_response(self, msg: str) -> None:
        log.info("refused: 400, no HTTP")  # what is no request reaches no application, which logs the others
        super().send_400_response(msg)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stalled = self.loop.call_later(STALLED, self.transport.abort)

    def resume_writing(self) -> None:
        if self.stalled is not None:
            self.stalled.cancel()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.stalled is not None:
            self.stalled.cancel()
        self.waiting.pop(self, None)
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    @property
    def idle(self) -> bool:
        return not self.cycle or bool(self.cycle.response_complete)

    @property
    def waiting(self) -> dict[PatientProtocol, None]:
        """All connections of this server that wait for a request, those first that have waited longest."""
        shared: dict[PatientProtocol, None] = vars(self.server_state).setdefault("waiting", {})
        return shared

    def _begin_waiting(self) -> None:
        self.deadline = self.loop.time() + endpoints.SILENCE
        self.waiting.pop(self, None)
        self.waiting[self] = None

    def _wait(self) -> None:
        if self.timeout_keep_alive_task is None and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_at(self.deadline, self.timeout_keep_alive_handler)

    def _make_room(self) -> None:
        """One place, at a cost that does not grow with the connections: there may be ten thousand."""
        if longest := next(iter(self.waiting), None):
            del self.waiting[longest]
            longest.transport.abort()


@functools.cache
def most_connections() -> int:
    """As many as the process may have files open, less those that it needs itself; the limit is raised first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + OWN_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(soft // 2, min(soft, wanted) - OWN_FILES)


class ListeningServer:
    """An application on a socket of its own, from the moment that this is made."""

    def __init__(
        self,
        app: ASGIApp,
        listening: socket.socket,
        farewell: int,  # seconds that an unfinished answer is given at the end
        server: Callable[[uvicorn.Config], uvicorn.Server] = uvicorn.Server,
    ) -> None:
        self._socket = listening
        self.port: int = listening.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=PatientProtocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            log_level="error",  # warnings are about clients that send nonsense
            access_log=False,  # the token of a page would stand in every line
            server_header=False,
            timeout_graceful_shutdown=farewell,
        )
        self._server = server(config)

    def serve(self) -> None:
        with self._ended_by_signal():
            asyncio.run(self._server.serve(sockets=[self._socket]))

    @contextmanager
    def _ended_by_signal(self) -> Iterator[None]:
        """Ctrl+C or SIGTERM ends the server from here on, also before uvicorn listens to it and while it hands it back.

        uvicorn raises what it was sent once more when it is done; this way that ends nothing half-way."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {sent: signal.signal(sent, lambda *_: self.stop()) for sent in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sent, handler in before.items():
                signal.signal(sent, handler)

    def stop(self) -> None:
        """End `serve`, which may run in another thread."""
        self._server.should_exit = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._socket.close()


class PageServer(ListeningServer):
    """A page for this machine alone; OSError or OverflowError where the port cannot be used."""

    def __init__(self, routes: Sequence[BaseRoute], command: str, port: int = 0) -> None:
        listening = socket.create_server((LOOPBACK, port), backlog=BACKLOG)
        hosts = frozenset(f"{name}:{listening.getsockname()[1]}" for name in (LOOPBACK, "localhost"))
        self.access = LocalAccess(hosts, secrets.token_urlsafe(24), command)
        super().__init__(create_app(routes, self.access.middleware()), listening, FAREWELL)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/{self.access.token}/"
