"""The review page over HTTP, for this machine and for whoever has the token.

It listens on 127.0.0.1 and nowhere else. The first part of every path is a token made for this run; a request without
it, for another Host (a name that was rebound to this machine) or from another Origin (a page that one happens to have
open) is refused. Paths never become file names: a recording is looked up in data/sources.yaml.
"""

from __future__ import annotations

import dataclasses
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

from timbre import replacing
from timbre.edits import ChangedMeanwhile
from timbre.errors import TimbreError
from timbre.review.desk import Desk, lines_from

WEB = Path(__file__).parent.parent / "web"
PAGE = {"": ("review.html", "text/html"), "review.css": ("review.css", "text/css")}
SCRIPTS = ("", "-dom", "-find", "-keys", "-list", "-model", "-saving", "-wave")
PAGE |= {f"review{part}.js": (f"review{part}.js", "text/javascript") for part in SCRIPTS}
MAX_BODY = 8 << 20  # bytes; 30,000 lines are about 3 MB
BLOCK = 1 << 16
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


class Server(ThreadingHTTPServer):
    """Serves one desk; `url` is where the page is."""

    daemon_threads = True

    def __init__(self, desk: Desk, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.desk = desk
        self.token = secrets.token_urlsafe(24)
        self.hosts = {f"{name}:{self.server_address[1]}" for name in ("127.0.0.1", "localhost")}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a player that has heard enough hangs up
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds without a byte

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        pass  # the token would stand in every line

    def _answer(self, act: Callable[[list[str]], None]) -> None:
        try:
            act(self._allowed_path())
        except Refused as refused:
            self.close_connection = True  # a body may be unread
            self._json({"error": str(refused)}, refused.status)
        except TimbreError as error:
            self._json({"error": str(error)}, HTTPStatus.UNPROCESSABLE_ENTITY)

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

    def _get(self, parts: list[str]) -> None:
        desk = self.server.desk
        match parts:
            case [name] if name in PAGE:
                file, kind = PAGE[name]
                self._send((WEB / file).read_bytes(), f"{kind}; charset=utf-8")
            case ["api", "recordings"]:
                self._json([dataclasses.asdict(listed) for listed in desk.listed()])
            case ["api", "recording", name]:
                self._json(self._opened(name))
            case ["api", "digest", name]:
                self._json({"digest": desk.digest(name)})
            case ["api", "peaks", name]:
                self._send(desk.peaks(name), "application/octet-stream")
            case ["audio", name]:
                self._sound(desk.audio(name))
            case _:
                raise Refused(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _post(self, parts: list[str]) -> None:
        body, desk = self._body(), self.server.desk
        match parts, body:
            case ["api", "recording", name], {"digest": str() as digest, "lines": list() as lines}:
                try:
                    self._json({"digest": desk.save(name, digest, lines_from(lines))})
                except ChangedMeanwhile as error:
                    self._json({"error": str(error), "theirs": self._opened(name)}, HTTPStatus.CONFLICT)
            case ["api", "find"], {"old": str() as old, "new": str() as new, "ignore_case": bool() as any_case}:
                found, digests = desk.find(replacing.Search(old, new, any_case))
                self._json({"found": [dataclasses.asdict(line) for line in found], "digests": digests})
            case (
                ["api", "replace"],
                {
                    "old": str() as old,
                    "new": str() as new,
                    "ignore_case": bool() as any_case,
                    "digests": dict() as seen,
                },
            ):
                try:
                    self._json({"places": desk.replace(replacing.Search(old, new, any_case), seen)})
                except ChangedMeanwhile as error:
                    self._json({"error": str(error)}, HTTPStatus.CONFLICT)
            case _:
                raise Refused(HTTPStatus.BAD_REQUEST, "that cannot be asked for")

    def _opened(self, name: str) -> dict[str, Any]:
        opened = self.server.desk.opened(name)
        lines = [[line.start, line.end, line.speaker, line.flag, line.text] for line in opened.lines]
        return {**{f.name: getattr(opened, f.name) for f in dataclasses.fields(opened)}, "lines": lines}

    def _body(self) -> Any:
        if self.headers.get("Content-Type") != "application/json":  # what a form of another page cannot send
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON")
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,12}", length, re.ASCII):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "say how long it is")
        if int(length) > MAX_BODY:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MAX_BODY >> 20} MB are not taken")
        try:
            return json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise Refused(HTTPStatus.BAD_REQUEST, "that is not JSON") from error

    def _json(self, value: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        # a lone surrogate cannot be UTF-8; as an escape it can
        self._send(json.dumps(value).encode(), "application/json", status)

    def _send(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._head(status, {"Content-Type": kind, "Content-Length": str(len(content))})
        self.wfile.write(content)

    def _head(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (SECURITY | headers).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _sound(self, path: Path) -> None:
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
