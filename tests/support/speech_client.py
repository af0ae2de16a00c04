"""How the tests of the speech server ask it."""

from __future__ import annotations

import io
from typing import Any

import httpx2 as httpx
import openai
import soundfile

from tests.support.tiny_models import SAMPLE_RATE
from timbre.web.serve.server import SpeechServer

SAID = "the ferry to Oslo"


def client_of(server: SpeechServer, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=60)


def ask(server: SpeechServer, **body: Any) -> httpx.Response:
    sent = {"input": SAID, "model": "tts-1", "voice": "alloy", "seed": 1, "response_format": "wav", **body}
    return httpx.post(f"{server.url}/v1/audio/speech", json=sent, timeout=60)


def samples(content: bytes) -> Any:
    found, rate = soundfile.read(io.BytesIO(content), dtype="int16")
    assert rate == SAMPLE_RATE
    return found
