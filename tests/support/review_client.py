"""Who asks the review server as a browser would."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Any, TypeVar

from timbre.web.pages import review_server
from timbre.web.review.transcripts_service import TranscriptsService
from timbre.web.server import ListeningServer, PageServer

JSON = {"Content-Type": "application/json"}
AnyServer = TypeVar("AnyServer", bound=ListeningServer)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message  # by name in any case
    body: bytes

    @property
    def value(self) -> Any:
        return json.loads(self.body)


class Client:
    def __init__(self, server: PageServer) -> None:
        self.server = server

    def ask(self, path: str, body: Any = None, *, token: str = "", headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        own = (JSON if body is not None else {}) | (headers or {})  # what is given wins
        connection.request("GET" if body is None else "POST", f"/{token or self.server.access.token}/{path}", sent, own)
        answer = connection.getresponse()
        made = Answer(answer.status, answer.headers, answer.read())
        connection.close()
        return made

    def lines(self, name: str = "noon") -> tuple[str, list[list[Any]]]:
        opened = self.ask(f"api/recording/{name}").value
        return opened["digest"], opened["lines"]

    def save(self, digest: str, lines: Any, name: str = "noon") -> Answer:
        return self.ask(f"api/recording/{name}", {"digest": digest, "lines": lines})


@contextlib.contextmanager
def running(server: AnyServer) -> Iterator[AnyServer]:
    """The server answers while this is open, and has ended after."""
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    with server:
        try:
            yield server
        finally:
            server.stop()
            thread.join(60)
    assert not thread.is_alive(), "the server did not end"


@contextlib.contextmanager
def serving(**how: Any) -> Iterator[Client]:
    """A server on the repository in the current folder."""
    with running(review_server(TranscriptsService(), **how)) as server:
        yield Client(server)
