"""Programs that people point at the server, with the settings that docs/serving.md gives: each request as the program's
own source builds it (Open WebUI, LiveKit Agents 1.8, SillyTavern; wyoming-openai 0.8 is in test_home_assistant.py)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Literal

import httpx2 as httpx
import openai
import pytest

from tests.support.own_loop import run_apart
from tests.support.paths import ROOT
from tests.support.speech_client import SAID, ask, client_of
from tests.support.speech_server import copy_served, served_once, speaking_server
from timbre.web.serve.server import SpeechServer

DOCUMENTED = "http://127.0.0.1:8000"  # where docs/serving.md has the server
MP3 = (b"ID3", b"\xff\xfb")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpeechServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(copy_served(served_once(tmp_path_factory), tmp_path_factory.mktemp("programs") / "voice"))
        with speaking_server(["models/adapter", "models/second", "base"]) as server:
            yield server


def settings_of(program: str, server: SpeechServer) -> dict[str, str]:
    """The lines `name: value` or `name="value"` of the program's block in the page, for this server."""
    page = (ROOT / "docs/serving.md").read_text()
    (block,) = re.findall(rf"^{re.escape(program)}.*?^```\w*\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    pairs = re.findall(r"^ *([\w -]+?)(?:: |=)\"?([^\",\n]+)\"?,?$", block, re.MULTILINE)
    return {name: value.replace(DOCUMENTED, server.url) for name, value in pairs}


def test_open_webui_fills_its_lists_and_speaks(server: SpeechServer) -> None:
    """Its backend asks for the lists without a key, and sends on what its page sent, with the model of its settings."""
    settings = settings_of("Open WebUI", server)
    base = settings["API Base URL"]
    assert settings["TTS Model"] in {model["id"] for model in httpx.get(f"{base}/audio/models").json()["models"]}
    voices = {voice["id"]: voice["name"] for voice in httpx.get(f"{base}/audio/voices").json()["voices"]}
    assert settings["TTS Voice"] in voices
    answer = httpx.post(
        f"{base}/audio/speech",
        json={"input": SAID, "voice": settings["TTS Voice"], "model": settings["TTS Model"]},
        headers={"Authorization": f"Bearer {settings['API Key']}", "X-OpenWebUI-User-Name": "Ann"},
    )
    assert answer.status_code == 200
    assert answer.content.startswith(MP3), "kept as a file that ends in mp3"
    wrong = httpx.post(f"{base}/audio/speech", json={"input": SAID, "voice": "nobody", "model": "tts-1"})
    assert wrong.json()["error"]["message"], "which it shows"


@pytest.mark.parametrize("model", ["", "tts-1"])
def test_livekit_prewarms_and_reads_events_or_sound(server: SpeechServer, model: str) -> None:
    """Of models but tts-1 and tts-1-hd it wants events; it decodes what the type of the answer says."""
    settings = settings_of("LiveKit Agents", server)
    chosen = model or settings["model"]

    async def speak() -> tuple[str, bytes]:
        client = openai.AsyncClient(max_retries=0, api_key=settings["api_key"], base_url=settings["base_url"])
        with pytest.raises(openai.NotFoundError):  # it opens the connection, and ignores the answer
            await client.get("/", cast_to=str)
        events: Literal["audio", "sse"] = "audio" if chosen in ("tts-1", "tts-1-hd") else "sse"
        async with client.audio.speech.with_streaming_response.create(
            input=SAID, model=chosen, voice=settings["voice"], response_format="mp3", speed=1.0,
            instructions=openai.omit, stream_format=events, timeout=30,
        ) as answer:  # fmt: skip
            kind = answer.headers["content-type"].split(";")[0]
            if kind != "text/event-stream":
                return kind, b"".join([chunk async for chunk in answer.iter_bytes()])
            told = [json.loads(line[6:]) async for line in answer.iter_lines() if line.startswith("data: ")]
            assert told[-1]["type"] == "speech.audio.done"
            assert told[-1]["usage"]["output_tokens"] > 0
            return kind, b"".join(base64.b64decode(event["audio"]) for event in told[:-1])

    kind, sound = run_apart(speak())
    assert kind == ("audio/mpeg" if model else "text/event-stream")
    assert sound.startswith(MP3)


def test_sillytavern_speaks_without_a_key(server: SpeechServer) -> None:
    """Its own server asks for it; where no key was given, `Bearer` with nothing after it."""
    settings = settings_of("SillyTavern", server)
    body = {"input": SAID, "response_format": "mp3", "voice": settings["Available Voices"].split(",")[0], "speed": 1,
            "model": settings["Model"]}  # fmt: skip
    answer = httpx.post(settings["Provider Endpoint"], json=body, headers={"Authorization": "Bearer"})
    assert answer.status_code == 200
    assert answer.content.startswith(MP3)


def test_pipecat_reads_raw_samples(server: SpeechServer) -> None:
    body = {"input": SAID, "model": "gpt-4o-mini-tts", "voice": "marin", "response_format": "pcm"}
    answer = httpx.post(f"{server.url}/v1/audio/speech", json=body)
    assert answer.headers["content-type"] == "audio/pcm"
    assert len(answer.content) == 2 * round(0.6 * 24_000)


def test_paths_that_tell_programs_what_server_this_is(server: SpeechServer) -> None:
    def get(path: str) -> httpx.Response:
        return httpx.get(f"{server.url}{path}")

    assert get("/").status_code == 200
    assert ask(server).headers["x-accel-buffering"] == "no"
    assert get("/readyz").status_code == 404
    assert get("/health").json() == {"status": "ok"}
    assert get("/ready").json() == {"status": "ready"}
    names = [model.id for model in client_of(server).models.list()]
    assert names == ["timbre", "adapter", "second", "base"]
    assert client_of(server).models.retrieve("second").id == "second"
