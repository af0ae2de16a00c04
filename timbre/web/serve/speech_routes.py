"""What the server answers: speech, the lists that clients ask for first, health, figures, its own description."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from timbre.audio.containers import encoder_of
from timbre.audio.emitting import Emission
from timbre.core.errors import DataError
from timbre.core.params import read
from timbre.core.sections import GenerateParams
from timbre.exchange.model_cards import mark_of
from timbre.exchange.served_voices import SPEAKER_MARK, ServedVoices
from timbre.exchange.voice_card import named
from timbre.exchange.voice_versions import VoiceVersion
from timbre.project.permissions import Permissions
from timbre.synthesis.engine import Draining, NotReady, SpeechJob
from timbre.synthesis.narration import Manner, Narration, manner_of, passages
from timbre.synthesis.spoken_log import SpokenLog
from timbre.synthesis.written_text import spelled_out
from timbre.web.endpoints import AsciiJson
from timbre.web.serve import api_page
from timbre.web.serve.errors import Refusal, refusal_of
from timbre.web.serve.figures import Figures
from timbre.web.serve.keys import ApiKeys
from timbre.web.serve.reading import read_small
from timbre.web.serve.speech_request import MOST, SpeechRequest, parse
from timbre.web.serve.speech_stream import SpeechStream, shown

KEY = re.compile(r"[0-9a-f]{6,32}")  # of a version, or its beginning, which commands print
MODEL = "timbre"
OPENAI_MODELS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
CREATED = 1_790_000_000  # Unix seconds; OpenAI's clients want a number


@dataclass
class SpeechService:
    """All that the routes need."""

    voices: ServedVoices
    keys: ApiKeys
    reference: str | None = None  # clip that a request clones from which names none
    log: SpokenLog = field(default_factory=SpokenLog)
    params: GenerateParams = field(default_factory=lambda: read().generate)
    draining: bool = False
    trace: Callable[[str], str | None] = lambda key: None  # of a version's key: what it was made from

    def __post_init__(self) -> None:
        self.figures = Figures(self.voices)
        self.tracing = asyncio.Semaphore(1)  # it reads git: one at a time, so that it holds up no speech

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/v1/audio/speech", self.speech, methods=["POST"]),
            Route("/v1/models", self.models),
            Route("/v1/models/{name}", self.model),
            Route("/v1/audio/models", self.audio_models),
            Route("/v1/audio/voices", self.audio_voices),
            Route("/v1/trace/{key}", self.traced),
            Route("/health", self.health),
            Route("/ready", self.ready),
            Route("/metrics", self.metrics),
            Route("/openapi.json", lambda request: AsciiJson(api_page.description())),
            Route("/docs", lambda request: HTMLResponse(api_page.page())),
        ]

    async def speech(self, request: Request) -> Response:
        try:
            key = self.keys.name_of(request.headers.get("authorization", ""))
            if self.draining:
                raise Draining
            wanted = parse(await read_small(request, MOST))
            answer = await run_in_threadpool(self._prepared, wanted, key)
        except Exception as error:
            self.figures.requests.labels(str(refusal_of(error).status)).inc()
            raise
        return AsgiAnswer(answer)

    def _prepared(self, wanted: SpeechRequest, key: str) -> ASGIApp:
        """Everything that can be wrong is found before the first byte."""
        if wanted.model not in (MODEL, *OPENAI_MODELS, *self.voices.versions):
            raise Refusal(
                404, "there is no model of this name here; `timbre` is", param="model", code="model_not_found"
            )
        if wanted.instructions and wanted.instructions.strip():
            raise Refusal(400, "this voice cannot follow instructions; leave them out", param="instructions")
        name, speaker = self._asked(wanted)
        version = self.voices.find(name)
        self.voices.check_language(wanted.language)
        text = self._spoken(wanted)
        try:
            parts = passages(text, wanted.language)
            encoder_of(wanted.response_format, 24_000)  # is there one?
        except DataError as error:
            raise Refusal(400, str(error)) from error
        if not self.voices.engine.ready:
            raise Refusal(503, "the voice is being loaded, or the server is ending; ask again in a moment",
                          code="not_ready", headers={"Retry-After": "1"})  # fmt: skip
        return self._answer(wanted, version, text, Narration(parts, self._manner(wanted, version, speaker)), key)

    def _asked(self, wanted: SpeechRequest) -> tuple[str, str | None]:
        """The voice and which of its speakers; who names no voice may name one as the model."""
        if wanted.voice_name is None:
            return (wanted.model if wanted.model in self.voices.versions else self.voices.default.id), wanted.speaker
        if wanted.voice_name in self.voices.versions:
            return wanted.voice_name, wanted.speaker
        name, _, speaker = wanted.voice_name.partition(SPEAKER_MARK)
        if speaker and wanted.speaker not in (None, speaker):
            raise Refusal(400, f"the voice says {speaker}, the field `speaker` {wanted.speaker}", param="speaker")
        return name, speaker or wanted.speaker

    def _spoken(self, wanted: SpeechRequest) -> str:
        return spelled_out(wanted.input, wanted.language) if wanted.normalize else wanted.input

    def _manner(self, wanted: SpeechRequest, version: VoiceVersion, speaker: str | None) -> Manner:
        if (slots := self.voices.engine.slots) is None:
            raise NotReady("the voice is being loaded; ask again in a moment")
        return manner_of(
            slots, self.params, seed=secrets.randbits(62) if wanted.seed is None else wanted.seed,
            reference=version.as_learnt(self.voices.reference_for(version, speaker, wanted.reference, self.reference)),
            like=self.voices.speaker(version, wanted.language, speaker),
            adapter=version.key if version.adapter else None, temperature=wanted.temperature, top_p=wanted.top_p,
        )  # fmt: skip

    def _answer(
        self, wanted: SpeechRequest, version: VoiceVersion, text: str, script: Narration, key: str
    ) -> SpeechStream:
        held, engine = ExitStack(), self.voices.engine
        headers = {"x-timbre-text": shown(text), "x-timbre-version": version.key}
        ask: Callable[[str], list[str]] = getattr(self.voices.voice, "unknown_words", lambda text: [])
        unknown = ask(" ".join(part.text for part in script.parts))  # without the marks of pauses
        if unknown:
            headers["x-timbre-warning"] = shown("words that this voice does not know: " + ", ".join(unknown))

        def start(listen: object) -> SpeechJob:
            self.keys.begin(key)
            held.callback(self.keys.end, key)
            held.enter_context(self.voices.speaking(version))
            return engine.submit(script, listen)  # type: ignore[arg-type]

        def spoken(seconds: float, status: str) -> None:
            self.log.add(
                door="serve", version=version.key, key=key, text=wanted.input, seconds=seconds, status=status,
                format=wanted.response_format, cut=len(script.cut), repeated=script.repeated,
            )  # fmt: skip

        def tokens(seconds: float) -> dict[str, int]:
            said, frames = len(text.split()), round(seconds * script.manner.frame_rate)
            return {"input_tokens": said, "output_tokens": frames, "total_tokens": said + frames}

        rate = engine.slots.sample_rate if engine.slots else 24_000
        emission = Emission(wanted.response_format, rate, mark_of(version.key), wanted.speed)
        return SpeechStream(
            start, engine.cancel, emission, wanted.response_format, sse=wanted.stream_format == "sse",
            headers=headers, tokens=tokens, figures=self.figures, held=held, spoken=spoken,
        )  # fmt: skip

    def models(self, request: Request) -> Response:
        self.keys.name_of(request.headers.get("authorization", ""))
        return AsciiJson({"object": "list", "data": [self._model(name) for name in (MODEL, *self.voices.versions)]})

    def model(self, request: Request) -> Response:
        self.keys.name_of(request.headers.get("authorization", ""))
        name = request.path_params["name"]
        if name not in (MODEL, *OPENAI_MODELS, *self.voices.versions):
            raise Refusal(404, "there is no model of this name here", param="model", code="model_not_found")
        return AsciiJson(self._model(name))

    def _model(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": CREATED, "owned_by": "timbre"}

    def audio_models(self, request: Request) -> Response:
        """Without a key: some versions of Open WebUI send none here."""
        return AsciiJson({"models": [{"id": MODEL, "name": "Timbre"}]})

    def audio_voices(self, request: Request) -> Response:
        rows = [
            {"id": name, "name": name, "version": version.key, "run": version.run}
            | ({"speaker": speaker} if speaker else {})
            for name, version, speaker in self.voices.names()
        ]
        return AsciiJson({"voices": rows})

    async def traced(self, request: Request) -> Response:
        """From what one hears to the version, its clips, the lines and who consented."""
        self.keys.name_of(request.headers.get("authorization", ""))
        key = self._whole(request.path_params["key"])
        async with self.tracing:
            text = await run_in_threadpool(self._trace_of, key)
        if text is None:
            message = "no version has this id here; X-Timbre-Version and /v1/audio/voices have those that are served"
            raise Refusal(404, message, code="no_version")
        return AsciiJson({"version": key, "text": text})

    def _whole(self, key: str) -> str:
        """The id of the version that is served and begins so, else what was asked."""
        served = {version.key for version in self.voices.versions.values() if KEY.fullmatch(key)}
        meant = [whole for whole in served if whole.startswith(key)]
        return meant[0] if len(meant) == 1 else key

    def _trace_of(self, key: str) -> str | None:
        """Of a version that is served and in no commit, what the server itself knows."""
        text = self.trace(key) if KEY.fullmatch(key) else None
        served = next((version for version in self.voices.versions.values() if version.key == key), None)
        return text or (about(served) if served else None)

    def health(self, request: Request) -> Response:
        """The process answers; no more."""
        return AsciiJson({"status": "ok"})

    def ready(self, request: Request) -> Response:
        if self.voices.engine.ready and not self.draining:
            return AsciiJson({"status": "ready"})
        return AsciiJson({"status": "ending" if self.draining else "loading"}, 503, {"Retry-After": "1"})

    def metrics(self, request: Request) -> Response:
        self.keys.name_of(request.headers.get("authorization", ""))
        return Response(self.figures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def about(version: VoiceVersion) -> str:
    base = f"base {named(version)}"
    if version.adapter is None:
        return f"{base}, which learnt nothing here"
    people = Permissions().people
    lines = [f"{version.key}, spoken with as {version.id}; no commit that can be read here has it", base]
    for speaker, recordings in version.speakers.items():
        given = str(people[speaker].consent) if speaker in people else "no consent is known"
        lines.append(f"voice {speaker}; {given}; learnt from: {', '.join(recordings)}")
    return "\n".join(lines)


class AsgiAnswer(Response):
    """An answer that sends itself."""

    def __init__(self, answer: ASGIApp) -> None:
        self.answer, self.background = answer, None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.answer(scope, receive, send)
