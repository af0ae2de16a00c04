"""Requests to the review page and the recording page, asked of the app without a socket."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import soundfile

from tests.attack.hostile import Hostile
from tests.attack.project import RATE, unchanged, voice_like
from tests.support.own_loop import run_apart
from timbre.web.app import create_app
from timbre.web.booth.recording_sessions import Booth
from timbre.web.booth.routes import booth_routes
from timbre.web.review.routes import review_routes
from timbre.web.review.transcripts_service import TranscriptsService

PATHS = (
    "/api/recordings", "/api/recording/noon", "/api/digest/noon", "/api/offers", "/api/peaks/noon", "/api/sound/noon",
    "/audio/noon", "/api/booth", "/api/booth/new", "/api/find", "/api/replace", "/api/replace/1", "/take/new/abc",
    "/api/dismissed/noon", "/api/finish/new", "/api/take/new/abc", "/api/untake/new/abc",
)  # fmt: skip
BODIES: dict[str, Any] = {
    "/api/recording/noon": {"digest": "", "lines": [[0.0, 1.0, "marina", "", "A"]]},
    "/api/dismissed/noon": {"draft": "a", "names": ["a"]},
    "/api/find": {"old": "fish", "new": "bread", "ignore_case": False},
    "/api/replace": {"old": "fish", "new": "bread", "ignore_case": False, "digests": {"noon": ""}},
    "/api/replace/1": {"redo": False, "open": "noon"},
    "/api/booth/new": {"speaker": "marina", "language": "en", "licence": "x", "sentences": "One.", "consent": None},
    "/api/finish/new": {}, "/api/untake/new/abc": {},
}  # fmt: skip


def requests() -> Callable[[Hostile], None]:
    app = create_app([*review_routes(TranscriptsService()), *booth_routes(Booth(), {})])

    def attack(hostile: Hostile) -> None:
        path = hostile.rng.choice(PATHS)
        body = b""
        kind = b"application/json"
        if path in BODIES and hostile.rng.random() < 0.9:
            good = BODIES[path]
            body = json.dumps(hostile.values(good) if hostile.rng.random() < 0.8 else good).encode()
            body = hostile.text(body.decode()) if hostile.rng.random() < 0.2 else body
        elif path.startswith("/api/take"):
            made = io.BytesIO()
            soundfile.write(made, voice_like(hostile.rng.choice((0.008, 1.0))), RATE, format="WAV")
            body, kind = hostile.binary(made.getvalue()), b"audio/wav"
        if hostile.rng.random() < 0.3:
            path = f"{path.rpartition('/')[0]}/{hostile.piece()[:3000]}"
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        if hostile.rng.random() < 0.1:
            headers.append(
                (
                    hostile.rng.choice((b"range", b"content-length", b"content-type")),
                    hostile.piece().encode(errors="replace")[:200],
                )
            )
        with unchanged(Path("data/sources.yaml"), Path("data/speakers.yaml"), Path("data/transcripts/noon.tsv")):
            respond(app, path, body, headers)

    return attack


def respond(app: Any, path: str, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    usual = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    status = run_apart(_ask(app, "POST" if body else "GET", path, usual if headers is None else headers, body))
    assert status < 500, f"{path} answered {status}"


async def _ask(app: Any, method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> int:
    status = 0
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
             "raw_path": quote(path, errors="replace").encode(), "root_path": "", "query_string": b"",
             "headers": headers, "scheme": "http", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1)}  # fmt: skip
    await app(scope, receive, send)
    return status
