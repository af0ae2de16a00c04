"""What the recording booth's page asks for over HTTP. A take is looked up in its session's list of sentences."""

from __future__ import annotations

import dataclasses
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from timbre.web.booth import microphone_takes
from timbre.web.booth.recording_sessions import Booth, BoothSession, session_state
from timbre.web.endpoints import AsciiJson, NoFields, RequestBody, flac_file, json_get, json_post, read_body


class BeginRequest(RequestBody):
    speaker: str
    language: str
    licence: str
    sentences: str  # one per line
    consent: dict[str, Any] | None  # for a speaker who has no entry yet


def booth_routes(booth: Booth, form: dict[str, Any]) -> list[BaseRoute]:
    """`form` is what the page's form begins with."""

    def overview() -> dict[str, Any]:
        speakers = [dataclasses.asdict(one) | {"allowed": one.allowed} for one in booth.speakers().values()]
        return {"wanted": form, "speakers": speakers, "begun": booth.sessions()}

    def begin(body: BeginRequest, name: str) -> dict[str, Any]:
        sentences = tuple(body.sentences.splitlines())
        booth.begin(BoothSession(name, body.speaker, body.language, body.licence, sentences), body.consent)
        return session_state(booth, name)

    async def keep(request: Request) -> Response:
        upload = await read_body(request, "audio/wav", microphone_takes.MAX_BYTES)
        return AsciiJson(await run_in_threadpool(booth.keep, upload=upload, **request.path_params))

    def remove(body: NoFields, name: str, sentence: str) -> dict[str, Any]:
        booth.remove(name, sentence)
        return {}

    def sound(name: str, sentence: str) -> FileResponse:
        return flac_file(booth.sound(name, sentence))

    return [
        json_get("/api/booth", overview),
        json_get("/api/booth/{name}", lambda name: session_state(booth, name)),
        json_post("/api/booth/{name}", BeginRequest, begin),
        Route("/api/take/{name}/{sentence}", keep, methods=["POST"]),
        json_post("/api/untake/{name}/{sentence}", NoFields, remove),
        json_post("/api/finish/{name}", NoFields, lambda body, name: booth.finish(name)),
        json_get("/take/{name}/{sentence}", sound),
    ]
