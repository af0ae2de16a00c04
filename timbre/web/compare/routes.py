"""What the listening page asks for over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute

from timbre.web.compare.sitting import Sitting
from timbre.web.endpoints import RequestBody, json_get, json_post, static_pages
from timbre.web.server import PageServer


class AnswerRequest(RequestBody):
    trial: int
    answer: str
    seconds: float


def compare_routes(sitting: Sitting) -> list[BaseRoute]:
    def answer(body: AnswerRequest) -> dict[str, Any]:
        return {"left": sitting.answer(body.trial, body.answer, body.seconds)}

    def sound(name: str) -> Response:
        content = sitting.sound(name)
        if content is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "there is no such sound")
        return Response(content, media_type="audio/flac")

    return [
        json_get("/api/test", sitting.overview),
        json_get("/api/trial/{number:int}", sitting.screen),
        json_post("/api/answer", AnswerRequest, answer),
        json_get("/sound/{name}", sound),
    ]


def compare_server(sitting: Sitting, port: int = 0) -> PageServer:
    routes = [*static_pages({"/": "compare.html"}), *compare_routes(sitting)]
    return PageServer(routes, command="timbre compare", port=port)
