"""The speech server as its clients use it: openai-python itself, and what others send, over a random CSM."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import openai
import pytest

from tests.support.paths import ROOT
from tests.support.speech_client import SAID, ask, client_of, samples
from tests.support.speech_server import CLIP, copy_served, frames_held, speaking_server
from tests.support.tiny_models import SAMPLE_RATE
from tests.support.waiting import until
from timbre.commands import cli
from timbre.core.errors import DataError
from timbre.synthesis.spoken_log import SpokenLog
from timbre.web.serve.server import SpeechServer


@pytest.fixture(scope="module")
def shared(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpeechServer]:
    """One server for all tests that change nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(copy_served(template, tmp_path_factory.mktemp("shared") / "voice"))
        with speaking_server(["models/adapter", "models/second", "base"]) as server:
            yield server


def test_openai_python_gets_every_format(shared: SpeechServer) -> None:
    client = client_of(shared)
    begins = {"mp3": b"ID3", "opus": b"OggS", "flac": b"fLaC", "wav": b"RIFF", "aac": b"\xff\xf1"}
    for kind, start in begins.items():
        answer = client.audio.speech.create(model="timbre", voice="adapter", input=SAID, response_format=kind)  # type: ignore[arg-type]
        assert answer.content.startswith(start)
    pcm = client.audio.speech.create(model="tts-1", voice="alloy", input=SAID, response_format="pcm").content
    assert len(pcm) == 2 * round(0.6 * 24_000), "s16le mono at 24 kHz, whatever the voice's own rate"


def test_openai_python_streams_and_reads_events(shared: SpeechServer) -> None:
    client = client_of(shared)
    wanted: dict[str, Any] = {"model": "tts-1", "voice": "alloy", "input": SAID, "extra_body": {"seed": 1}}
    with client.audio.speech.with_streaming_response.create(**wanted, response_format="wav") as answer:
        pieces = list(answer.iter_bytes())
    whole = ask(shared).content
    assert b"".join(pieces) == whole
    assert len(pieces) > 1
    with client.audio.speech.with_streaming_response.create(
        **wanted, response_format="wav", stream_format="sse"
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    assert b"".join(base64.b64decode(event["audio"]) for event in events[:-1]) == whole
    assert events[-1] == {
        "type": "speech.audio.done",
        "usage": {"input_tokens": 4, "output_tokens": 15, "total_tokens": 19},
    }


def test_eight_callers_at_once_get_what_each_gets_alone(shared: SpeechServer) -> None:
    wanted = [
        {"seed": i, "voice": ["adapter", "second", "base"][i % 3], "temperature": [0.4, 0.7, 1.2][i % 3],
         "reference": [CLIP, "none"][i % 2], "response_format": ["wav", "pcm", "flac"][i % 3]}
        for i in range(8)
    ]  # fmt: skip
    alone = [ask(shared, **one).content for one in wanted]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda one: ask(shared, **one).content, wanted))
    assert together == alone
    assert len(set(alone)) == 8


def test_speed_pauses_and_long_texts_change_the_length(shared: SpeechServer) -> None:
    plain = samples(ask(shared).content)
    assert len(samples(ask(shared, speed=2.0).content)) == round(len(plain) / 2)
    two = samples(ask(shared, input=f"{SAID}. [pause:1s] {SAID}.").content)
    silent = np.flatnonzero(np.convolve(np.abs(two) > 0, np.ones(SAMPLE_RATE), "valid") == 0)
    assert len(silent), "a second of silence"
    assert len(two) == round((0.6 + 0.2 + 1.0 + 0.6) * SAMPLE_RATE)


def test_the_answer_says_what_was_spoken_and_which_words_are_unknown(shared: SpeechServer) -> None:
    answer = ask(shared, input="the ferry at 9:05 & zebra")
    assert answer.headers["x-timbre-text"] == "the ferry at nine oh five and zebra"
    assert "zebra" in answer.headers["x-timbre-warning"]
    assert "x-timbre-warning" not in ask(shared, input="the ferry [pause:1s] to Oslo").headers, "a mark is no word"
    raw = ask(shared, input="the ferry at 9", normalize=False)
    assert raw.headers["x-timbre-text"] == "the ferry at 9"
    assert len(answer.headers["x-timbre-version"]) == 32


@pytest.mark.parametrize(
    ("body", "status", "param", "told"),
    [
        ({"input": ""}, 400, "input", "at least 1"),
        ({"input": "x" * 4097}, 400, "input", "at most 4096"),
        ({"input": "... !"}, 400, None, "nothing to say"),
        ({"input": 5}, 400, "input", "string"),
        ({"voice": "nobody"}, 400, "voice", "no voice of this name"),
        ({"voice": "../../etc/passwd"}, 400, "voice", "no voice of this name"),
        ({"model": "gpt-5"}, 404, "model", "no model"),
        ({"response_format": "ogg"}, 400, "response_format", "'mp3', 'opus'"),
        ({"speed": 4.5}, 400, "speed", "less than or equal to 4"),
        ({"speed": "fast"}, 400, "speed", "number"),
        ({"stream_format": "websocket"}, 400, "stream_format", "'audio' or 'sse'"),
        ({"instructions": "whisper"}, 400, "instructions", "cannot follow instructions"),
        ({"reference": "../secret"}, 400, "reference", "no clip of this id"),
        ({"seed": -1}, 400, "seed", "greater than or equal to 0"),
        ({"temperature": 9}, 400, "temperature", "less than or equal to 2"),
        ({"language": "../x"}, 400, "language", "pattern"),
    ],
)
def test_a_wrong_field_is_told_in_openais_form(
    shared: SpeechServer, body: dict[str, Any], status: int, param: str | None, told: str
) -> None:
    answer = ask(shared, **body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert told in error["message"]
    if status == 400:
        with pytest.raises(openai.BadRequestError):
            client_of(shared).audio.speech.create(
                **{"model": "tts-1", "voice": "alloy", "input": SAID, **known(body)}, extra_body=body
            )


def known(body: dict[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in ("input",) if isinstance(body.get(name), str)}


def test_a_client_that_hangs_up_frees_its_slot(shared: SpeechServer) -> None:
    long = json.dumps({"input": f"{SAID}. " * 100, "voice": "alloy", "response_format": "pcm"})
    gone = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=20)
    gone.request("POST", "/v1/audio/speech", long, {"Content-Type": "application/json"})
    assert gone.getresponse().read(100)
    assert shared.service.voices.engine.speaking
    gone.close()
    until(lambda: not shared.service.voices.engine.speaking)
    until(lambda: "timbre_hung_up_total 1.0" in httpx.get(f"{shared.url}/metrics").text)


def test_the_figures_count_what_was_answered(shared: SpeechServer) -> None:
    ask(shared)
    text = httpx.get(f"{shared.url}/metrics").text
    for name in ("waiting", "speaking", "first_sound_seconds_bucket", "real_time_factor_bucket", "underruns_total"):
        assert f"timbre_{name}" in text
    assert float(re.findall(r'timbre_requests_total{status="200"} (\S+)', text)[0]) >= 1


def test_a_full_server_says_when_to_ask_again(served: Path) -> None:
    with speaking_server(slots=1, waiting=1, per_key=2) as server, ThreadPoolExecutor(4) as pool:
        engine = server.service.voices.engine
        with frames_held(engine):
            asked = [pool.submit(ask, server)]
            until(lambda: bool(engine.speaking))  # the first is in its slot before the second asks
            asked.append(pool.submit(ask, server))
            until(lambda: bool(engine.queue))
            refused = ask(server)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert refused.json()["error"]["type"] == "rate_limit_error"
            server.service.keys.per_key = 99
            refused = ask(server)
            assert refused.json()["error"]["code"] == "queue_full"
        assert [one.result().status_code for one in asked] == [200, 200]


def test_the_server_describes_itself_to_programs_and_people(shared: SpeechServer) -> None:
    described = httpx.get(f"{shared.url}/openapi.json").json()
    assert {"/v1/audio/speech", "/v1/models", "/v1/audio/voices", "/health", "/ready", "/metrics"} <= set(
        described["paths"]
    )
    assert set(described["components"]["schemas"]["Speech"]["required"]) == {"input"}
    for path, methods in described["paths"].items():
        told = {parameter["name"] for method in methods.values() for parameter in method.get("parameters", [])}
        assert told == set(re.findall(r"{(\w+)}", path)), path
    for path, methods in described["paths"].items():
        if "get" in methods and "{" not in path:
            assert httpx.get(f"{shared.url}{path}").status_code == 200
    page = httpx.get(f"{shared.url}/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "response_format" in page.text


def test_the_text_is_logged_only_if_asked(served: Path) -> None:
    with speaking_server(log=SpokenLog(with_text=True)) as server:
        assert ask(server).status_code == 200
    (line,) = (json.loads(line) for line in (served / ".timbre/spoken.jsonl").read_text().splitlines())
    assert line["text"] == SAID
    assert cli.parser(["serve"]).parse_args(["serve", "--log-text"]).log_text
    assert not cli.parser(["serve"]).parse_args(["serve"]).log_text


def test_sigterm_ends_the_server_once_everybody_has_heard(served: Path, warm: Path, tmp_path: Path) -> None:
    (served / "dvc.yaml").touch()
    command = [warm / "python", "-m", "timbre.commands.cli", "serve", "--port", "0", "--slots", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WARM_PROCESS": str(tmp_path / "process")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout is not None
            url = next(line.split()[1] for line in server.stdout if line.startswith("serving "))
            sent = {"input": f"{SAID}. " * 4, "voice": "alloy", "response_format": "pcm", "seed": 1}
            with httpx.stream("POST", f"{url}/v1/audio/speech", json=sent, timeout=120) as answer:
                pieces = answer.iter_bytes()
                first = next(pieces)
                os.kill(int((tmp_path / "process").read_text()), signal.SIGTERM)
                heard = first + b"".join(pieces)
            assert len(heard) == 2 * round((0.6 * 4 + 0.2 * 3) * 24_000)
            assert server.wait(timeout=120) == 0
        finally:
            server.kill()


def test_a_server_that_ends_refuses_whoever_comes_and_speaks_on_for_whoever_is_there(served: Path) -> None:
    with speaking_server() as server, ThreadPoolExecutor(1) as pool:
        expected = ask(server).content
        engine = server.service.voices.engine
        with frames_held(engine, after=1):
            speaking = pool.submit(ask, server)
            until(lambda: bool(engine.speaking))
            server.stop()
            for _ in range(5):  # each over a connection of its own, over more than one look at whether to end
                time.sleep(0.1)
                late = ask(server)
                assert (late.status_code, late.headers["retry-after"]) == (503, "1")
                assert "the server is ending" in late.json()["error"]["message"]
                assert httpx.get(f"{server.url}/ready").status_code == 503
        assert speaking.result().content == expected
    with pytest.raises(httpx.ConnectError):
        ask(server)


def test_a_key_file_lets_in_whoever_has_a_key(served: Path) -> None:
    keys = served / "keys.txt"
    keys.write_text("# who  key\nkitchen 0123456789abcdef-kitchen\n")
    with speaking_server(key_file=keys) as server:
        client = client_of(server, "0123456789abcdef-kitchen")
        assert client.audio.speech.create(model="tts-1", voice="alloy", input=SAID).content
        for wrong in ("0123456789abcdef-garden", "x", "é"):
            answer = httpx.get(f"{server.url}/v1/models", headers={"Authorization": f"Bearer {wrong}".encode()})
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        assert ask(server).status_code == 401
        assert httpx.get(f"{server.url}/metrics").status_code == 401
        assert httpx.get(f"{server.url}/v1/audio/voices").status_code == 200
    lines = (served / ".timbre/spoken.jsonl").read_text()
    assert json.loads(lines.splitlines()[0])["key"] == "kitchen"
    assert SAID not in lines, "the text is not written"
    assert "0123456789abcdef" not in lines
    keys.write_text("kitchen short\n")
    with (
        pytest.raises(DataError, match=r"keys\.txt:1: expected a name and a key of at least 16"),
        speaking_server(key_file=keys),
    ):
        pass


def test_a_key_that_asks_too_much_at_once_is_told_and_holds_up_no_other(served: Path) -> None:
    (served / "keys.txt").write_text("kitchen 0123456789abcdef-kitchen\ngarden 0123456789abcdef-garden\n")
    with speaking_server(per_key=1, key_file=served / "keys.txt") as server, ThreadPoolExecutor(2) as pool:

        def said(name: str) -> httpx.Response:
            key = {"Authorization": f"Bearer 0123456789abcdef-{name}"}
            body = {"input": SAID, "voice": "alloy", "seed": 1, "response_format": "wav"}
            return httpx.post(f"{server.url}/v1/audio/speech", json=body, headers=key, timeout=60)

        engine = server.service.voices.engine
        with frames_held(engine):
            first = pool.submit(said, "kitchen")
            until(lambda: bool(engine.speaking))
            refused = said("kitchen")
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert refused.json()["error"]["code"] == "rate_limit_exceeded"
            other = pool.submit(said, "garden")
            until(lambda: len(engine.speaking) == 2)
        assert first.result().content == other.result().content
        until(lambda: not server.service.keys.speaking)  # an answer is whole a moment before its place is free
        assert said("kitchen").status_code == 200


def test_other_machines_need_a_key_file(served: Path) -> None:
    with pytest.raises(DataError, match=r"--host 0\.0\.0\.0: other machines can reach it, so it needs keys"):
        cli.execute(["serve", "--host", "0.0.0.0"])


def test_only_this_machines_own_page_may_ask(shared: SpeechServer) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        answer = httpx.get(f"{shared.url}/v1/models", headers=headers)
        assert answer.status_code == 403
    assert httpx.get(f"{shared.url}/v1/models", headers={"Origin": shared.url}).status_code == 200
