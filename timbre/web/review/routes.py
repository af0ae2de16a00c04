"""What the review page asks for over HTTP. A name in a path is looked up in data/sources.yaml, never used as a path."""

from __future__ import annotations

import dataclasses
from http import HTTPStatus
from typing import Any

from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute

from timbre.editing.find_replace import Search
from timbre.editing.owned_files import ChangedMeanwhile
from timbre.web.endpoints import AsciiJson, RequestBody, flac_file, json_get, json_post
from timbre.web.review.transcripts_service import TranscriptsService, lines_from


class SaveRequest(RequestBody):
    digest: str  # of the content that was edited
    lines: list[Any]  # each [start, end, speaker, flag, text]


class DismissRequest(RequestBody):
    draft: str
    names: list[Any]


class FindRequest(RequestBody):
    old: str
    new: str
    ignore_case: bool

    @property
    def search(self) -> Search:
        return Search(self.old, self.new, self.ignore_case)


class ReplaceRequest(FindRequest):
    digests: dict[str, str]  # recording → content that the preview showed


class ReplaceAgainRequest(RequestBody):
    redo: bool  # else undo
    open: str  # recording whose lines the page itself takes back


def review_routes(transcripts: TranscriptsService) -> list[BaseRoute]:
    def opened(name: str) -> dict[str, Any]:
        recording = transcripts.opened(name)
        fields = {field.name: getattr(recording, field.name) for field in dataclasses.fields(recording)}
        return fields | {"lines": [[x.start, x.end, x.speaker, x.flag, x.text] for x in recording.lines]}

    def save(body: SaveRequest, name: str) -> Any:
        try:
            return {"digest": transcripts.save(name, body.digest, lines_from(body.lines))}
        except ChangedMeanwhile as error:
            return AsciiJson({"error": str(error), "theirs": opened(name)}, HTTPStatus.CONFLICT)

    def dismiss(body: DismissRequest, name: str) -> dict[str, Any]:
        transcripts.dismiss(name, body.draft, body.names)
        return {}

    def find(body: FindRequest) -> dict[str, Any]:
        previews, digests = transcripts.find(body.search)
        return {"found": previews, "digests": digests}

    def replace(body: ReplaceRequest) -> Any:
        try:
            places, number = transcripts.replace(body.search, body.digests)
            return {"places": places, "number": number}
        except ChangedMeanwhile as error:
            return AsciiJson({"error": str(error)}, HTTPStatus.CONFLICT)

    def replace_again(body: ReplaceAgainRequest, number: int) -> dict[str, Any]:
        return {"changed_since": transcripts.replace_again(number, redo=body.redo, besides=body.open)}

    def glossary_offers() -> list[dict[str, Any]]:
        return [{"written": o.written, "term": o.term, "places": len(o.places)} for o in transcripts.offers()]

    def peaks(name: str) -> Response:
        return Response(transcripts.peaks(name), media_type="application/octet-stream")

    def sound(name: str) -> FileResponse:
        return flac_file(transcripts.playable(name))

    return [
        json_get("/api/recordings", transcripts.summaries),
        json_get("/api/recording/{name}", opened),
        json_post("/api/recording/{name}", SaveRequest, save),
        json_post("/api/dismissed/{name}", DismissRequest, dismiss),
        json_get("/api/digest/{name}", lambda name: {"digest": transcripts.digest(name)}),
        json_get("/api/offers", glossary_offers),
        json_post("/api/find", FindRequest, find),
        json_post("/api/replace", ReplaceRequest, replace),
        json_post("/api/replace/{number:int}", ReplaceAgainRequest, replace_again),
        json_get("/api/peaks/{name}", peaks),
        json_get("/api/sound/{name}", transcripts.heard_in),
        json_get("/audio/{name}", sound),
    ]
