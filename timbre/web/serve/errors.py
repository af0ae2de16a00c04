"""What the server refuses, in the form that OpenAI's clients read."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from timbre.core.errors import DataError, ModelError, SourceError, TimbreError
from timbre.exchange.served_voices import NotServed
from timbre.synthesis.engine import Draining, NotReady, QueueFull
from timbre.web.endpoints import AsciiJson

RETRY = 1  # second after which a client may ask a full server again
KINDS = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error", 451: "permission_error"}


class Refusal(Exception):
    """An answer other than sound."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, object]:
        kind = KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        return AsciiJson(self.body, self.status, self.headers)


def refusal_of(error: Exception) -> Refusal:
    """The answer to what went wrong."""
    if isinstance(error, Refusal):
        return error
    again = {"Retry-After": str(RETRY)}
    if isinstance(error, QueueFull):
        return Refusal(429, str(error), code="queue_full", headers=again)
    if isinstance(error, NotReady | Draining):
        return Refusal(503, str(error), code="not_ready", headers=again)
    if isinstance(error, SourceError):
        return Refusal(451, str(error), code="consent")
    if isinstance(error, NotServed):
        return Refusal(400, str(error), param=error.param, code=error.code)
    if isinstance(error, DataError | ModelError):
        return Refusal(400, str(error))
    if isinstance(error, TimbreError):
        return Refusal(503, str(error), headers=again)
    return Refusal(500, "something went wrong here; the server's log has it")


async def answer_refusal(request: Request, error: Exception) -> Response:
    return refusal_of(error).response()


async def answer_http(request: Request, error: HTTPException) -> Response:
    message = error.detail if error.detail != HTTPStatus(error.status_code).phrase else _plain(request, error)
    return Refusal(error.status_code, message, headers=error.headers).response()


def _plain(request: Request, error: HTTPException) -> str:
    if error.status_code == HTTPStatus.NOT_FOUND:
        return "there is nothing at this path; /docs lists what there is"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return "this path does not take this method; /docs lists what there is"
    return error.detail
