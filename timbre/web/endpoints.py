"""How a page's requests are read and answered; every list of routes is made of these.

json_get("/api/recording/{name}", transcripts.opened)          # opened(name="noon")
json_post("/api/find", FindRequest, transcripts.find)          # find(FindRequest(…))
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).parent / "static"
MAX_JSON = 8 << 20  # bytes; 30,000 lines of a transcript are about 3 MB
SILENCE = 60.0  # seconds without a byte of a request after which its client is given up
Body = TypeVar("Body", bound="RequestBody")


class RequestBody(BaseModel):
    """Base of what a page may send: every field of the right type, none missing, none more."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class NoFields(RequestBody):
    pass


async def read_body(request: Request, kind: str, limit: int) -> bytes:
    """The request's body, if it is of this content type and has at most `limit` bytes.

    A client that hangs up half-way raises ClientDisconnect: half a body is never returned.
    """
    if request.headers.get("content-type") != kind:  # never one that a form of another page can send
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send {kind}")
    length = request.headers.get("content-length", "")
    if not re.fullmatch(r"\d{1,12}", length, re.ASCII):
        raise HTTPException(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length header")
    if int(length) > limit:
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the limit is {limit >> 20} MB")
    parts: list[bytes] = []
    stream = request.stream()
    while True:
        try:
            parts.append(await asyncio.wait_for(anext(stream), SILENCE))
        except StopAsyncIteration:
            return b"".join(parts)
        except TimeoutError as error:
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "the body stopped half-way") from error


async def read_json(request: Request, model: type[Body]) -> Body:
    try:
        return model.model_validate(json.loads(await read_body(request, "application/json", MAX_JSON)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{where}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the body is not JSON") from error


class AsciiJson(JSONResponse):
    """JSON of ASCII alone: a lone surrogate cannot be UTF-8, but can be escaped. Dataclasses become objects."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, default=dataclasses.asdict, allow_nan=False).encode()


def json_get(path: str, answer: Callable[..., Any]) -> Route:
    """GET: the JSON of `answer(**path parameters)`, or the response that it returns; it runs in a thread."""

    def endpoint(request: Request) -> Response:
        return _response(answer(**request.path_params))

    return Route(path, endpoint)


def json_post(path: str, model: type[Body], answer: Callable[..., Any]) -> Route:
    """POST: the JSON of `answer(body, **path parameters)`, or the response that it returns; it runs in a thread."""

    async def endpoint(request: Request) -> Response:
        body = await read_json(request, model)
        return _response(await run_in_threadpool(answer, body, **request.path_params))

    return Route(path, endpoint, methods=["POST"])


def static_pages(files: Mapping[str, str]) -> list[BaseRoute]:
    """Path → file of static/; scripts and styles are under /static."""

    def page(path: str, name: str) -> Route:
        return Route(path, lambda request: FileResponse(STATIC / name))

    return [*(page(path, name) for path, name in files.items()), Mount("/static", StaticFiles(directory=STATIC))]


def flac_file(path: Path) -> FileResponse:
    """The file, or the ranges of it that a player asks for."""
    try:
        return FileResponse(path, media_type="audio/flac", stat_result=path.stat())
    except OSError as error:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"{path}: {error.strerror}; `dvc repro fetch` brings it") from error


def _response(value: Any) -> Response:
    return value if isinstance(value, Response) else AsciiJson(value)
