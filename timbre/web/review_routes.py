"""The review page and the recording booth over HTTP, for this machine and for whoever has the token.

Who may ask is `guard`'s; here is what can be asked for. Paths never become file names: a recording is looked up in
data/sources.yaml, a take in its session's list.
"""

from __future__ import annotations

import dataclasses
from http import HTTPStatus
from pathlib import Path
from typing import Any

from timbre.editing import find_replace
from timbre.editing.transcript_edits import ChangedMeanwhile
from timbre.web.app import GuardedHandler, GuardedServer, Refused
from timbre.web.booth import booth, microphone_takes
from timbre.web.booth.booth import Booth, Session
from timbre.web.review.transcripts_service import Desk, lines_from

STATIC = Path(__file__).parent / "static"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
PAGES = {"": "review.html", "record": "record.html"}
PAGES |= {
    path.name: path.name
    for path in STATIC.iterdir()
    if path.stem.startswith(("review", "record")) and path.suffix in (".css", ".js")
}
MAX_BODY = 8 << 20  # bytes; 30,000 lines are about 3 MB


class Server(GuardedServer):
    """Serves one desk and one booth; `wanted` is what the booth's form begins with."""

    def __init__(self, desk: Desk, port: int = 0, wanted: dict[str, Any] | None = None) -> None:
        super().__init__(Handler, port)
        self.desk, self.booth, self.wanted = desk, Booth(), wanted or {}


class Handler(GuardedHandler):
    server: Server

    def get(self, parts: list[str]) -> None:
        desk, booth_ = self.server.desk, self.server.booth
        match parts:
            case [name] if name in PAGES:
                file = STATIC / PAGES[name]
                self.send(file.read_bytes(), f"{KINDS[file.suffix]}; charset=utf-8")
            case ["api", "recordings"]:
                self.json([dataclasses.asdict(listed) for listed in desk.listed()])
            case ["api", "recording", name]:
                self.json(self._opened(name))
            case ["api", "offers"]:
                self.json([{"written": o.written, "term": o.term, "places": len(o.places)} for o in desk.offers()])
            case ["api", "digest", name]:
                self.json({"digest": desk.digest(name)})
            case ["api", "peaks", name]:
                self.send(desk.peaks(name), "application/octet-stream")
            case ["api", "sound", name]:
                self.json(desk.sound(name))
            case ["audio", name]:
                self.sound(desk.audio(name))
            case ["api", "booth"]:
                speakers = [dataclasses.asdict(one) | {"allowed": one.allowed} for one in booth_.people().values()]
                self.json({"wanted": self.server.wanted, "speakers": speakers, "begun": booth_.sessions()})
            case ["api", "booth", name]:
                self.json(booth.state(booth_, name))
            case ["take", name, sentence]:
                self.sound(booth_.sound(name, sentence))
            case _:
                raise Refused(HTTPStatus.NOT_FOUND, "there is nothing here")

    def post(self, parts: list[str]) -> None:
        match parts:
            case ["api", "take", name, sentence]:
                upload = self.body("audio/wav", microphone_takes.MAX_BYTES)
                self.json(dataclasses.asdict(self.server.booth.keep(name, sentence, upload)))
            case ["api", "booth" | "untake" | "finish", *_]:
                self._post_to_booth(parts, self.json_body(MAX_BODY))
            case _:
                self._post_to_desk(parts, self.json_body(MAX_BODY))

    def _post_to_booth(self, parts: list[str], body: Any) -> None:
        booth_ = self.server.booth
        match parts, body:
            case (
                ["api", "booth", name],
                {
                    "speaker": str() as speaker,
                    "language": str() as language,
                    "licence": str() as licence,
                    "sentences": str() as sentences,
                    "consent": None | dict() as consent,
                },
            ):
                asked = Session(name, speaker, language, licence, tuple(sentences.splitlines()))
                booth_.begin(asked, consent)
                self.json(booth.state(booth_, name))
            case ["api", "untake", name, sentence], _:
                booth_.remove(name, sentence)
                self.json({})
            case ["api", "finish", name], _:
                self.json(dataclasses.asdict(booth_.finish(name)))
            case _:
                raise Refused(HTTPStatus.BAD_REQUEST, "that cannot be asked for")

    def _post_to_desk(self, parts: list[str], body: Any) -> None:
        desk = self.server.desk
        match parts, body:
            case ["api", "recording", name], {"digest": str() as digest, "lines": list() as lines}:
                try:
                    self.json({"digest": desk.save(name, digest, lines_from(lines))})
                except ChangedMeanwhile as error:
                    self.json({"error": str(error), "theirs": self._opened(name)}, HTTPStatus.CONFLICT)
            case ["api", "dismissed", name], {"draft": str() as draft, "names": list() as names}:
                desk.dismiss(name, draft, names)
                self.json({})
            case ["api", "find"], {"old": str() as old, "new": str() as new, "ignore_case": bool() as any_case}:
                found, digests = desk.find(find_replace.Search(old, new, any_case))
                self.json({"found": [dataclasses.asdict(line) for line in found], "digests": digests})
            case (
                ["api", "replace"],
                {
                    "old": str() as old,
                    "new": str() as new,
                    "ignore_case": bool() as any_case,
                    "digests": dict() as seen,
                },
            ):
                try:
                    self.json({"places": desk.replace(find_replace.Search(old, new, any_case), seen)})
                except ChangedMeanwhile as error:
                    self.json({"error": str(error)}, HTTPStatus.CONFLICT)
            case _:
                raise Refused(HTTPStatus.BAD_REQUEST, "that cannot be asked for")

    def _opened(self, name: str) -> dict[str, Any]:
        opened = self.server.desk.opened(name)
        lines = [[line.start, line.end, line.speaker, line.flag, line.text] for line in opened.lines]
        return {**{f.name: getattr(opened, f.name) for f in dataclasses.fields(opened)}, "lines": lines}
