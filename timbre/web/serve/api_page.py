"""The server's own description: OpenAPI for programs, a plain page for people."""

from __future__ import annotations

import html
from typing import Any

from timbre.audio.containers import TYPES
from timbre.web.serve.speech_request import SpeechRequest

GETS = {
    "/v1/models": "models, as OpenAI lists them",
    "/v1/models/{id}": "one model",
    "/v1/audio/models": "models, as Open WebUI asks for them",
    "/v1/audio/voices": "voices: id, name, version",
    "/v1/trace/{key}": "what a version (X-Timbre-Version) was made from: recordings, lines, licences, consent",
    "/health": "whether the process answers",
    "/ready": "whether a voice is loaded; 503 while it is loaded, or while the server ends",
    "/metrics": "figures for Prometheus",
    "/openapi.json": "this description for programs",
}
STATUSES = {
    400: "a field is wrong; `param` names it",
    401: "no key of this server",
    404: "no such model",
    413: "the body is too large",
    429: "all slots and waiting places are taken; Retry-After says when to ask again",
    451: "a speaker withdrew consent, or did not consent to `serve`",
    503: "the voice is being loaded, or the server is ending",
}


def description() -> dict[str, Any]:
    schema = SpeechRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    parts = schema.pop("$defs", {})
    sound = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in sorted(set(TYPES.values()))}
    sound["text/event-stream"] = {"schema": {"type": "string", "format": "binary"}}
    answers: dict[str, Any] = {"200": {"description": "the sound, while it is spoken", "content": sound}}
    answers |= {str(status): {"description": meaning} for status, meaning in STATUSES.items()}
    body = {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Speech"}}}}
    paths: dict[str, Any] = {
        "/v1/audio/speech": {"post": {"summary": "speak", "requestBody": body, "responses": answers}}
    }
    for path, meaning in GETS.items():
        get: dict[str, Any] = {"summary": meaning, "responses": {"200": {"description": meaning}}}
        if name := path.partition("{")[2].rstrip("}"):
            get["parameters"] = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}}]
        paths[path] = {"get": get}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Timbre", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": {"Speech": schema, **parts},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def page() -> str:
    rows = [("POST", "/v1/audio/speech", "speak"), *(("GET", path, meaning) for path, meaning in GETS.items())]
    paths = "".join(f"<tr><td>{m}<td><code>{html.escape(p)}</code><td>{html.escape(w)}" for m, p, w in rows)
    fields = "".join(
        f"<tr><td><code>{html.escape(name)}</code><td>{html.escape(str(field.default))}"
        for name, field in SpeechRequest.model_fields.items()
    ).replace("PydanticUndefined", "required")
    statuses = "".join(f"<tr><td>{status}<td>{html.escape(meaning)}" for status, meaning in STATUSES.items())
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Timbre: API</title>"
        "<link rel=stylesheet href=/static/serve.css><main class=docs><h1>API</h1>"
        f"<table><tr><th>method<th>path<th>what{paths}</table>"
        f"<h2>Fields of speech</h2><table><tr><th>field<th>default{fields}</table>"
        f"<h2>Errors</h2><table><tr><th>status<th>why{statuses}</table></main></html>"
    )
