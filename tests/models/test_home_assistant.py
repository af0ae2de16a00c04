"""Home Assistant speaks through wyoming_openai: the bridge itself, and what it sends where it is not installed."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import numpy as np
import openai
import pytest

from tests.support.own_loop import run_apart
from tests.support.speech_server import copy_served, served_once, speaking_server
from tests.support.tiny_models import SAMPLE_RATE
from tests.support.wyoming_bridge import PYTHON, WyomingEvent, bridge, bridge_python, described, said, streamed
from timbre.web.serve.server import SpeechServer

SAID = "the ferry to Oslo."
CHUNK = 2048  # bytes that the bridge reads at once
LONG = 0.6  # seconds of each sentence here


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpeechServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(copy_served(served_once(tmp_path_factory), tmp_path_factory.mktemp("home") / "voice"))
        with speaking_server(["models/adapter", "models/second"]) as server:
            yield server


def test_the_bridge_takes_the_server_for_openais(server: SpeechServer) -> None:
    """It asks LocalAI's, Speaches' and Kokoro's paths first; an answer that one of them gives would be misread."""
    for path in ("/v1/readyz", "/readyz", "/v1/test"):
        assert httpx.get(f"{server.url}{path}").status_code == 404
    assert httpx.get(f"{server.url}/health").text != "OK"


def test_what_the_bridge_sends_is_spoken_as_it_reads_it(server: SpeechServer) -> None:
    """openai's asynchronous client without a key, a streamed WAV in small chunks, read by its header alone."""
    heads: list[str] = []

    async def ask() -> bytes:
        watched = httpx.AsyncClient(event_hooks={"request": [sent]})
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="unused", http_client=watched)
        async with client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="alloy", input=SAID, response_format="wav", speed=openai.omit,
            instructions=openai.omit, extra_headers={"Authorization": openai.omit},
        ) as answer:  # fmt: skip
            return b"".join([chunk async for chunk in answer.iter_bytes(CHUNK)])

    async def sent(request: httpx.Request) -> None:
        heads.extend(request.headers)

    content = run_apart(ask())
    assert "authorization" not in heads
    with wave.open(io.BytesIO(content)) as head:
        assert (head.getframerate(), head.getnchannels(), head.getsampwidth()) == (SAMPLE_RATE, 1, 2)
    start = content.index(b"data") + 8
    assert len(content) - start == 2 * round(LONG * SAMPLE_RATE)


def test_the_bridge_itself_speaks(server: SpeechServer, tmp_path: Path) -> None:
    python = bridge_python()
    if python is None:
        pytest.skip(f"wyoming-openai is not installed; give a Python that has it in {PYTHON}")
    log = tmp_path / "log"
    with bridge(python, server.url, "alloy", "second", log=log) as port:
        (program,) = described(port)["tts"]
        assert [voice["name"] for voice in program["voices"]] == ["alloy", "second"]
        at_once = {voice: said(port, SAID, voice) for voice in ("alloy", "second")}
        word_by_word = streamed(port, ["the ferry ", "to Oslo. ", "The green ", "train waits."], "alloy")
    for events in at_once.values():
        assert [event.kind for event in events if event.kind != "audio-chunk"] == ["audio-start", "audio-stop"]
        assert events[0].data["rate"] == SAMPLE_RATE
        assert len(sound_of(events)) == round(LONG * SAMPLE_RATE)
    assert (sound_of(at_once["alloy"]) != sound_of(at_once["second"])).any()
    assert len(sound_of(word_by_word)) >= 2 * round(LONG * SAMPLE_RATE), "two sentences, each by a request of its own"
    text = log.read_text()
    assert "Traceback" not in text
    assert "ERROR" not in text


def sound_of(events: list[WyomingEvent]) -> np.ndarray:
    return np.frombuffer(b"".join(event.sound for event in events), "<i2")
