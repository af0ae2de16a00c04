"""Runs the speech server: its application on a socket, until it is told to end, and then until everybody has heard.

server = SpeechServer(service, host="127.0.0.1", port=8000)
server.serve()      # until Ctrl+C or SIGTERM; streams that have begun are spoken to their end
"""

from __future__ import annotations

import logging
import socket
import time
import urllib.parse
from functools import partial
from types import FrameType

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from timbre.core.errors import TimbreError
from timbre.web.app import SameMachine, SecurityHeaders
from timbre.web.endpoints import static_pages
from timbre.web.serve.errors import Refusal, answer_http, answer_refusal
from timbre.web.serve.speech_routes import SpeechService
from timbre.web.server import ListeningServer

log = logging.getLogger("timbre.serve")
SHOWN_PATH, SHOWN_METHOD = 100, 10  # characters in the log
LOOPBACK = ("127.0.0.1", "localhost", "::1")
BACKLOG = 2048  # connections that wait to be accepted
DRAIN = 120  # seconds that streams have to end, once the server was told to
PAGES = {"/": "serve.html"}


def is_loopback(host: str) -> bool:
    return host in LOOPBACK


def application(service: SpeechService, hosts: frozenset[str] | None) -> ASGIApp:
    """`hosts` are the values of the Host header that mean this server; None takes any."""
    handlers = {
        Refusal: answer_refusal,
        TimbreError: answer_refusal,
        HTTPException: answer_http,
        ClientDisconnect: _nobody_listens,
        Exception: answer_refusal,
    }
    middleware = [Middleware(SameMachine, hosts, _forbidden)] if hosts is not None else []
    routes = [*service.routes(), *static_pages(PAGES)]
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)  # type: ignore[arg-type]
    app.router.redirect_slashes = False
    return LoggedRefusals(SecurityHeaders(app))


class LoggedRefusals:
    """A line in the log for each request that is refused; a failure of the server's own has its lines already."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_log(message: Message) -> None:
            if message["type"] == "http.response.start" and 400 <= message["status"] != 500:
                path = urllib.parse.quote(scope["path"][:SHOWN_PATH], safe="/")  # nothing that ends or colours a line
                log.info("refused: %d %s %s", message["status"], scope["method"][:SHOWN_METHOD], path)
            await send(message)

        await self.app(scope, receive, send_and_log)


def _forbidden(message: str) -> Response:
    return Refusal(403, message).response()


async def _nobody_listens(request: Request, error: Exception) -> Response:
    return Response(status_code=400)


class DrainingServer(uvicorn.Server):
    """Says at once that it is ending, so that whoever shares out requests sends no more."""

    def __init__(self, service: SpeechService, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.service = service
        self.patience: float | None = None  # until when others may end, on the monotonic clock

    async def on_tick(self, counter: int) -> bool:
        """Listens on while somebody is spoken to: who asks meanwhile is told 503, and not left without an answer."""
        ending = await super().on_tick(counter)
        if not ending or self.force_exit:
            return ending
        self.patience = self.patience or time.monotonic() + DRAIN
        return not self.service.voices.engine.busy or time.monotonic() > self.patience

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.service.draining = True
        super().handle_exit(sig, frame)


class SpeechServer(ListeningServer):
    """Speaks for whoever may ask; OSError or OverflowError where the port cannot be used."""

    def __init__(self, service: SpeechService, host: str = "127.0.0.1", port: int = 0) -> None:
        self.service, self.host = service, host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
        taken: int = listening.getsockname()[1]
        names = ("127.0.0.1", "localhost", "[::1]")
        hosts = frozenset(f"{name}:{taken}" for name in names) | frozenset(names if taken == 80 else ())
        guarded = is_loopback(host) and service.keys.names is None
        super().__init__(
            application(service, hosts if guarded else None), listening, DRAIN, partial(DrainingServer, service)
        )

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def stop(self) -> None:
        self.service.draining = True
        super().stop()

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        self.service.voices.close()
