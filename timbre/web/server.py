"""Runs an application for this machine alone: a socket on 127.0.0.1, a token made for this run, uvicorn on it.

with PageServer(routes, command="timbre review") as server:
    print(server.url)
    server.serve()            # until Ctrl+C, or `stop()` in another thread
"""

from __future__ import annotations

import asyncio
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

LOOPBACK = "127.0.0.1"
BACKLOG = 128  # connections that wait while the server starts
FAREWELL = 1  # second that an unfinished answer is given at the end


class PatientProtocol(H11Protocol):
    """Closes a connection on which no whole request arrives for SILENCE seconds; uvicorn itself would wait for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.cycle or self.cycle.response_complete:  # the next request's head, or a body that nobody reads
            self._wait()

    def _wait(self) -> None:
        if self.timeout_keep_alive_task is None and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(endpoints.SILENCE, self.timeout_keep_alive_handler)


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
