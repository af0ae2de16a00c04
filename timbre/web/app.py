"""Who may ask this machine something over HTTP, and how it answers: what every page that we serve is built on.

It listens on 127.0.0.1 and nowhere else. The first part of every path is a token made for this run; a request without
it, for another Host (a name that was rebound to this machine) or from another Origin (a page that one happens to have
open) is refused. So is a body that is not of the kind that was asked for, has no length, or is too long.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from timbre.core.errors import TimbreError

BLOCK = 1 << 16
DRAINED = 256 << 20  # bytes of a refused body that are read and thrown away
PATIENCE = 0.5  # seconds without another byte of it
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",  # the token is in the address
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Refused(Exception):
    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class GuardedServer(ThreadingHTTPServer):
    """Listens on this machine; `url` is where its page is."""

    daemon_threads = True

    def __init__(self, handler: type[GuardedHandler], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self.token = secrets.token_urlsafe(24)
        self.hosts = {f"{name}:{self.server_address[1]}" for name in ("127.0.0.1", "localhost")}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a player that has heard enough hangs up
            super().handle_error(request, client_address)


class GuardedHandler(BaseHTTPRequestHandler):
    """A subclass answers `get` and `post`, each given the parts of the path after the token."""

    server: GuardedServer
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds without a byte

    def do_GET(self) -> None:
        self._answer(self.get)

    def do_POST(self) -> None:
        self._answer(self.post)

    def log_message(self, format: str, *args: Any) -> None:
        pass  # the token would stand in every line

    def _answer(self, act: Callable[[list[str]], None]) -> None:
        try:
            act(self._allowed_path())
        except Refused as refused:
            self.close_connection = True  # a body may be unread
            self.json({"error": str(refused)}, refused.status)
            self._drain()
        except TimbreError as error:
            self.json({"error": str(error)}, HTTPStatus.UNPROCESSABLE_ENTITY)

    def _allowed_path(self) -> list[str]:
        """The parts of the path after the token, once all that is asked of a request holds."""
        if self.headers.get("Host") not in self.server.hosts:
            raise Refused(HTTPStatus.FORBIDDEN, "this address is for this machine only")
        origin = self.headers.get("Origin")
        if origin is not None and origin.removeprefix("http://") not in self.server.hosts:
            raise Refused(HTTPStatus.FORBIDDEN, "another page may not ask for this")
        token, *parts = unquote(urlsplit(self.path).path).removeprefix("/").split("/")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            raise Refused(HTTPStatus.FORBIDDEN, "the address is old; take the one that `timbre review` shows now")
        return parts

    def get(self, parts: list[str]) -> None:
        raise NotImplementedError

    def post(self, parts: list[str]) -> None:
        raise NotImplementedError

    def body(self, kind: str, most: int) -> bytes:
        """What was sent, if it is of this kind and has at most so many bytes."""
        if self.headers.get("Content-Type") != kind:  # never one that a form of another page can send
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send {kind}")
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,12}", length, re.ASCII):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "say how long it is")
        if int(length) > most:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {most >> 20} MB are not taken")
        return self.rfile.read(int(length))

    def json_body(self, most: int) -> Any:
        try:
            return json.loads(self.body("application/json", most))
        except (ValueError, RecursionError) as error:
            raise Refused(HTTPStatus.BAD_REQUEST, "that is not JSON") from error

    def _drain(self) -> None:
        """Read on for a while: a browser that is still sending a refused body does not look at the answer before."""
        self.connection.settimeout(PATIENCE)
        with contextlib.suppress(OSError):
            for _ in range(DRAINED // BLOCK):
                if not self.rfile.read1(BLOCK):
                    return

    def json(self, value: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        # a lone surrogate cannot be UTF-8; as an escape it can
        self.send(json.dumps(value).encode(), "application/json", status)

    def send(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._head(status, {"Content-Type": kind, "Content-Length": str(len(content))})
        self.wfile.write(content)

    def _head(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (SECURITY | headers).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def sound(self, path: Path) -> None:
        """The file, or the part of it that a player asks for; it asks for the end first, and again after each seek."""
        try:
            file = path.open("rb")
        except OSError as error:
            raise Refused(HTTPStatus.NOT_FOUND, f"{path}: {error.strerror}; `dvc repro fetch` brings it") from error
        with file:
            size = path.stat().st_size
            first, last = _range(self.headers.get("Range"), size)
            headers = {"Content-Type": "audio/flac", "Accept-Ranges": "bytes", "Content-Length": str(last - first + 1)}
            if "Range" in self.headers:
                headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            self._head(HTTPStatus.PARTIAL_CONTENT if "Range" in self.headers else HTTPStatus.OK, headers)
            file.seek(first)
            left = last - first + 1
            while left and (block := file.read(min(BLOCK, left))):
                self.wfile.write(block)
                left -= len(block)


def _range(asked: str | None, size: int) -> tuple[int, int]:
    """First and last byte."""
    if asked is None:
        return 0, size - 1
    found = re.fullmatch(r"bytes=(\d{0,15})-(\d{0,15})", asked, re.ASCII)
    if not found or not (found[1] or found[2]):
        raise Refused(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "ask for one range of bytes")
    first = int(found[1]) if found[1] else max(0, size - int(found[2]))
    last = min(int(found[2]), size - 1) if found[1] and found[2] else size - 1
    if not first <= last:
        raise Refused(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, f"the file has {size} bytes")
    return first, last
