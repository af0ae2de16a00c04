"""Home Assistant's way to a speech server: the bridge `wyoming_openai` in a process of its own, spoken to as it is.

    with bridge(python, server.url, "alloy") as port:
        events = said(port, "The ferry.", "alloy")     # [("audio-start", {"rate": 24000, …}, b""), …]

A Wyoming event is a line of JSON, then as many bytes of data and of sound as it says.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from tests.support.servers import PATIENCE, free_port

PYTHON = "WYOMING_OPENAI_PYTHON"  # environment variable: a Python with the package, which pins an openai of its own


class WyomingEvent(NamedTuple):
    kind: str
    data: dict[str, Any]
    sound: bytes


def bridge_python() -> str | None:
    """None where the package is nowhere."""
    here = sys.executable if importlib.util.find_spec("wyoming_openai") else None
    return os.environ.get(PYTHON) or here


@contextmanager
def bridge(python: str, url: str, *voices: str, log: Path) -> Iterator[int]:
    """Its port, once it answers; it has asked the server by then what kind of server that is."""
    port = free_port()
    command = [
        python, "-m", "wyoming_openai", "--uri", f"tcp://127.0.0.1:{port}", "--languages", "en", "--log-level", "DEBUG",
        "--tts-openai-url", f"{url}/v1", "--tts-models", "tts-1", "--tts-streaming-models", "tts-1",
        "--tts-voices", *voices,
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
    try:
        _wait(port, process, log)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def said(port: int, text: str, voice: str) -> list[WyomingEvent]:
    """All that comes back when Home Assistant asks for a text at once."""
    return _events(port, [("synthesize", {"text": text, "voice": {"name": voice}})], "audio-stop")


def streamed(port: int, words: list[str], voice: str) -> list[WyomingEvent]:
    """Likewise, where a language model gives the text word by word."""
    pieces = [("synthesize-chunk", {"text": word}) for word in words]
    start = ("synthesize-start", {"voice": {"name": voice}})
    return _events(port, [start, *pieces, ("synthesize-stop", {})], "synthesize-stopped")


def described(port: int) -> dict[str, Any]:
    return _events(port, [("describe", {})], "info")[-1].data


def _events(port: int, sent: list[tuple[str, Mapping[str, Any]]], last: str) -> list[WyomingEvent]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        for kind, data in sent:
            connection.sendall(json.dumps({"type": kind, "data": data}).encode() + b"\n")
        events = []
        with connection.makefile("rb") as stream:
            while not events or events[-1].kind not in (last, "error"):
                events.append(_read(stream))
    return events


def _read(stream: IO[bytes]) -> WyomingEvent:
    line = stream.readline()
    assert line, "the bridge hung up"
    head = json.loads(line)
    data = dict(head.get("data") or {})
    if length := head.get("data_length"):
        data |= json.loads(stream.read(length))
    return WyomingEvent(head["type"], data, stream.read(head.get("payload_length") or 0))
