"""The review page and the recording booth, as `timbre review` serves them."""

from __future__ import annotations

from typing import Any

from timbre.web.booth.recording_sessions import Booth
from timbre.web.booth.routes import booth_routes
from timbre.web.endpoints import static_pages
from timbre.web.review.routes import review_routes
from timbre.web.review.transcripts_service import TranscriptsService
from timbre.web.server import PageServer

PAGES = {"/": "review.html", "/record": "record.html"}


def review_server(transcripts: TranscriptsService, port: int = 0, form: dict[str, Any] | None = None) -> PageServer:
    """`form` is what the booth's form begins with."""
    routes = [*static_pages(PAGES), *review_routes(transcripts), *booth_routes(Booth(), form or {})]
    return PageServer(routes, command="timbre review", port=port)
