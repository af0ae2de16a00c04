"""Requests that nobody sends by mistake: the right status, nothing else, and the next caller is served."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.speech_server import copy_served, served_once, speaking_server
from tests.support.waiting import until
from timbre.web import endpoints
from timbre.web import server as page_server
from timbre.web.serve import reading
from timbre.web.serve.server import SpeechServer
from timbre.web.serve.speech_stream import SHOWN, shown

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpeechServer]:
    template = served_once(tmp_path_factory)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(copy_served(template, tmp_path_factory.mktemp("hostile") / "voice"))
        with speaking_server(slots=2) as server:
            yield server


@pytest.fixture(autouse=True)
def _still_serving(server: SpeechServer) -> Iterator[None]:
    yield
    answer = httpx.post(f"{server.url}/v1/audio/speech", json={"input": "the ferry", "response_format": "pcm"})
    assert answer.status_code == 200
    assert len(answer.content) > 1000


def post(server: SpeechServer, content: Any, headers: dict[str, str] = JSON) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/audio/speech", content=content, headers=headers, timeout=60)


def test_bodies(server: SpeechServer) -> None:
    assert post(server, b"x" * 300_000).status_code == 413
    assert post(server, iter([b"x" * 200_000] * 2)).status_code == 413, "in chunks, without a length"
    assert post(server, b"{}", {"Content-Type": "text/plain"}).status_code == 415
    assert post(server, b"{}", {"Content-Type": "multipart/form-data"}).status_code == 415
    for body in (b"", b"{", b"[" * 100_000, b"\xff\xfe", b"null", b'"text"', b"[]", b'{"input": null}'):
        answer = post(server, body)
        assert answer.status_code == 400
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert post(server, b'{"input": "the ferry", "speed": NaN}').status_code == 400
    assert post(server, b'{"input": "the ferry", "seed": 1e99}').status_code == 400


def test_texts_of_control_characters_and_floods(server: SpeechServer) -> None:
    for text in ("\x00\x1b[31m the ferry \u202e", "\ud800 the ferry", "the [pause:1s" + "[" * 500, "a" * 4096):
        answer = post(server, json.dumps({"input": text, "response_format": "pcm"}))
        assert answer.status_code in (200, 400)
        assert "\x1b" not in str(answer.headers)
    assert post(server, json.dumps({"input": "\x00\x1b\u202e"})).status_code == 400


def test_paths_and_methods(server: SpeechServer) -> None:
    for path in (
        "/../etc/passwd",
        "/static/../server.py",
        "/static/%2e%2e/app.py",
        "/v1/models/../../x",
        "/v1/nothing",
    ):
        assert httpx.get(f"{server.url}{path}").status_code == 404
    answer = httpx.get(f"{server.url}/v1/audio/speech")
    assert (answer.status_code, answer.json()["error"]["type"]) == (405, "invalid_request_error")
    assert httpx.delete(f"{server.url}/v1/models").status_code == 405


POST = b"POST /v1/audio/speech HTTP/1.1\r\nHost: HERE\r\nContent-Type: application/json\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YWFhYQ==\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /health HTTP/1.1\r\nHost: HERE\r\nX: " + b"a" * 2_000_000 + b"\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: HERE\r\n" + b"X: a\r\n" * 60_000 + b"\r\n", 400),
        (b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: HERE\r\n\r\n", 404),
        (b"GET /v1/models/\xff\x1b HTTP/1.1\r\nHost: HERE\r\n\r\n", 400),
        (b"\x1b[31mGET /health HTTP/1.1\r\nHost: HERE\r\n\r\n", 400),
        (b"GET http://elsewhere.example/health HTTP/1.1\r\nHost: HERE\r\n\r\n", 404),
        (b"GET /health HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n", 403),
        (b"GET /v1/models HTTP/1.1\r\nHost: HERE\r\n" + UPGRADE + b"\r\n", 200),
        (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}", 400),
        (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n", 400),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\x07" * 200, 400),
    ],
    ids=[
        "head",
        "heads",
        "path",
        "bytes",
        "method",
        "absolute",
        "host",
        "socket",
        "lengths",
        "smuggled",
        "chunk",
        "tls",
    ],
)
def test_what_is_no_proper_request(server: SpeechServer, sent: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        with contextlib.suppress(ConnectionError):  # the server may have hung up before it has all
            client.sendall(sent.replace(b"HERE", f"127.0.0.1:{server.port}".encode()))
        assert client.recv(100).startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", ".", "", "adapter\0", "a\nb", "\u202e", "%2e%2e%2f"]
)
def test_names_that_would_be_paths(server: SpeechServer, name: str) -> None:
    for field in ("voice", "reference", "speaker", "model"):
        answer = post(server, json.dumps({"input": "the ferry", field: name}))
        assert answer.status_code in (400, 404), field
        assert answer.text.isascii()
        assert answer.text.isprintable()
    assert post(server, json.dumps({"input": "the ferry", "voice": f"adapter:{name}x"})).status_code == 400


def test_a_body_that_stops_half_way_is_given_up(server: SpeechServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SLOWEST", 0.3)
    head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
        slow.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        assert slow.recv(100).startswith(b"HTTP/1.1 408 ")


def test_idle_connections_hold_up_nobody(server: SpeechServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "SILENCE", 3600.0)
    idle = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(300)]
    assert httpx.get(f"{server.url}/health", timeout=60).status_code == 200
    for one in idle:
        one.setblocking(False)
        with one, pytest.raises(BlockingIOError):  # it is open still: nobody waited until the server gave it up
            one.recv(1)


def test_a_head_that_comes_a_byte_at_a_time_is_given_up(server: SpeechServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "SILENCE", 0.5)
    with socket.create_connection(("127.0.0.1", server.port), timeout=0.1) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\nX: ")
        assert any(is_closed(slow) for _ in range(300)), "each byte gave it another while"


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed it; sends one more byte."""
    try:
        connection.sendall(b"a")
        return connection.recv(100) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize("stalled", [0.05, 2.0])  # while the voice still speaks, and when it has said everything
def test_who_takes_nothing_of_an_answer_is_given_up(
    server: SpeechServer, monkeypatch: pytest.MonkeyPatch, stalled: float
) -> None:
    monkeypatch.setattr(page_server, "STALLED", stalled)
    server._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)  # of the connections that it accepts
    text = "the ferry. [pause:10s] " * 4  # many times what the system then keeps for a client that reads nothing
    body = json.dumps({"input": text, "response_format": "pcm", "speed": 0.25}).encode()
    head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: application/json\r\n"
    before = hung_up(server)
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", server.port))
        deaf.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: hung_up(server) > before)
    until(lambda: not server.service.voices.engine.speaking)


def hung_up(server: SpeechServer) -> float:
    (line,) = (
        line for line in server.service.figures.text().decode().splitlines() if line.startswith("timbre_hung_up_total")
    )
    return float(line.split()[1])


def test_of_too_many_connections_the_longest_idle_ends(server: SpeechServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_server, "most_connections", lambda: 20)
    looked, idle_now = Counter[str](), page_server.PatientProtocol.idle.fget

    def counted(protocol: Any) -> bool:
        looked["at"] += 1
        return bool(idle_now(protocol))

    monkeypatch.setattr(page_server.PatientProtocol, "idle", property(counted))
    idle = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(40)]
    assert httpx.get(f"{server.url}/health", timeout=60).status_code == 200
    assert idle[0].recv(100) == b""
    assert looked["at"] < 40, "each new one looked at all that are there: 1,000 too many held up everybody for a minute"
    for one in idle:
        one.close()


def test_a_header_that_shows_the_text_ends_in_no_space() -> None:
    assert shown("the ferry " + " " * SHOWN + "waits") == "the ferry", "HTTP allows none there: the answer was lost"


def test_a_second_origin_is_looked_at_too(server: SpeechServer) -> None:
    origins = [("Origin", server.url), ("Origin", "http://evil.example")]
    assert httpx.get(f"{server.url}/health", headers=origins).status_code == 403


def test_a_refused_request_is_one_line_in_the_log(server: SpeechServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "timbre.serve")
    hostile = "a%0d%0a2026-01-01 refused: 200%1b[31m" + "x" * 500
    assert httpx.get(f"{server.url}/v1/models/{hostile}").status_code == 404
    assert post(server, b'{"input": ""}').status_code == 400
    assert httpx.get(f"{server.url}/health", headers={"Host": "evil"}).status_code == 403
    for junk in (b"\x16\x03\x01 hello\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\x1b[31m\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as stranger:
            stranger.sendall(junk)
            assert stranger.recv(100).startswith(b"HTTP/1.1 400 ")
    assert httpx.get(f"{server.url}/health").status_code == 200
    lines = [record.getMessage() for record in caplog.records if record.name == "timbre.serve"]
    assert [line[:13] for line in lines] == [
        "refused: 404 ", "refused: 400 ", "refused: 403 ", "refused: 400,", "refused: 400,",
    ]  # fmt: skip
    assert all(line.isprintable() and len(line) < 400 for line in lines)


def test_nobody_learns_of_files_from_what_a_request_names(server: SpeechServer) -> None:
    for field in ("voice", "model", "reference"):
        answer = post(server, json.dumps({"input": "the ferry", field: "../../etc/passwd"}))
        assert answer.status_code in (400, 404)
        assert str(Path.cwd()) not in answer.text
