"""The base of every page that Timbre serves: who may ask, and what goes with every answer.

    access = LocalAccess(hosts, token, command="timbre review")
    app = create_app(routes, access.middleware())

`review/`, `booth/`, `compare/` and `serve/` each make a list of routes, with the helpers of `endpoints`. `create_app`
turns such a list into an application that sends security headers with every answer and tells a user's mistake as
`{"error": "one line"}`. A page for this machine alone is run by `server.PageServer`, which asks for the token of
`LocalAccess`; a server that other machines may reach brings middleware of its own, such as a check of API keys.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from timbre.core.errors import TimbreError
from timbre.core.running import explained
from timbre.core.safe_text import redacted
from timbre.web.endpoints import AsciiJson

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",  # the token is in the address
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def create_app(routes: Sequence[BaseRoute], middleware: Sequence[Middleware] = ()) -> ASGIApp:
    """An application of these routes. `middleware` decides who may ask; the first of it is asked first."""
    handlers = {
        TimbreError: _user_mistake,
        OSError: _system_refuses,
        UnicodeError: _system_refuses,
        HTTPException: _http_error,
        ClientDisconnect: _nobody_listens,
    }
    app = Starlette(routes=list(routes), middleware=list(middleware), exception_handlers=handlers)  # type: ignore[arg-type]
    app.router.redirect_slashes = False
    return SecurityHeaders(app)


@dataclass
class LocalAccess:
    """Access from this machine, by whoever was given the address with the token."""

    hosts: frozenset[str]  # values of the Host header that mean this server
    token: str  # first part of every path
    command: str  # that shows the address

    def middleware(self) -> list[Middleware]:
        return [Middleware(SameMachine, self.hosts, _refusal), Middleware(PathToken, self)]


class SecurityHeaders:
    """Adds the headers that keep foreign scripts, frames and caches away to every answer, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class SameMachine:
    """Refuses a foreign Host (a name that was rebound to this machine) and a foreign Origin (another site's page)."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], refusal: Callable[[str], Response]) -> None:
        """`hosts` are the values of the Host header that mean this server; `refusal` is the answer to others."""
        self.app, self.hosts, self.refusal = app, hosts, refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        own = {f"http://{host}" for host in self.hosts}
        if headers.get("host") not in self.hosts:
            await self.refusal("this address is for this machine only")(scope, receive, send)
        elif any(origin not in own for origin in headers.getlist("origin")):
            await self.refusal("another page may not ask for this")(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class PathToken:
    """Refuses every path that does not begin with the token; what follows the token is routed."""

    def __init__(self, app: ASGIApp, access: LocalAccess) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _, token, *_ = f"{scope['path']}/".split("/")
        if secrets.compare_digest(token.encode(errors="replace"), self.access.token.encode()):
            await self.app({**scope, "root_path": f"{scope['root_path']}/{token}"}, receive, send)
        else:
            message = f"the address is old; take the one that `{self.access.command}` shows now"
            await _refusal(message)(scope, receive, send)


def _refusal(message: str) -> AsciiJson:
    return AsciiJson({"error": message}, HTTPStatus.FORBIDDEN)


async def _user_mistake(request: Request, error: TimbreError) -> Response:
    return AsciiJson({"error": redacted(str(error))}, HTTPStatus.UNPROCESSABLE_ENTITY)


async def _system_refuses(request: Request, error: Exception) -> Response:
    """A disk that is full or read-only, a name that no file can have: told in the page, and no traceback here."""
    return AsciiJson({"error": explained(error)}, HTTPStatus.UNPROCESSABLE_ENTITY)


async def _http_error(request: Request, error: HTTPException) -> Response:
    return AsciiJson({"error": error.detail}, error.status_code, error.headers)


async def _nobody_listens(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=HTTPStatus.BAD_REQUEST)
