"""A small body of JSON, of whatever client: with or without a length, in one piece or many, never more than allowed."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from timbre.web import endpoints
from timbre.web.serve.errors import Refusal

SLOWEST = 20.0  # seconds in which a body has to be there


async def read_small(request: Request, limit: int) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # never one that a form of another page can send
        raise Refusal(415, "send application/json", code="unsupported_media_type")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length[:12]) > limit:
        raise Refusal(413, f"the limit is {limit >> 10} KB", code="too_large")
    parts, size = [], 0

    async def collect() -> None:
        nonlocal size
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise Refusal(413, f"the limit is {limit >> 10} KB", code="too_large")
            parts.append(part)

    try:
        await asyncio.wait_for(collect(), min(SLOWEST, endpoints.SILENCE))
    except TimeoutError as error:
        raise Refusal(408, "the body stopped half-way", code="timeout") from error
    return b"".join(parts)
