"""Who asks the review server as a browser would."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from timbre.web.review.transcripts_service import Desk
from timbre.web.review_routes import Server

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        return json.loads(self.body)


class Client:
    def __init__(self, server: Server) -> None:
        self.server = server

    def ask(self, path: str, body: Any = None, *, token: str = "", headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_address[1], timeout=10)
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        own = (JSON if body is not None else {}) | (headers or {})  # what is given wins
        connection.request("GET" if body is None else "POST", f"/{token or self.server.token}/{path}", sent, own)
        answer = connection.getresponse()
        made = Answer(answer.status, dict(answer.getheaders()), answer.read())
        connection.close()
        return made

    def lines(self, name: str = "noon") -> tuple[str, list[list[Any]]]:
        opened = self.ask(f"api/recording/{name}").value
        return opened["digest"], opened["lines"]

    def save(self, digest: str, lines: Any, name: str = "noon") -> Answer:
        return self.ask(f"api/recording/{name}", {"digest": digest, "lines": lines})


@contextlib.contextmanager
def serving(**how: Any) -> Iterator[Client]:
    """A server on the repository in the current folder."""
    server = Server(Desk(), **how)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield Client(server)
    server.shutdown()
    server.server_close()
