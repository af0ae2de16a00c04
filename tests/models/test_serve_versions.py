"""The voices that the speech server serves: consent, speakers, versions that change, traces."""

from __future__ import annotations

import io
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest
import soundfile

from tests.support.speech_client import SAID, ask
from tests.support.speech_server import CLIP, frames_held, speaking_server
from tests.support.tiny_models import SAMPLE_RATE
from tests.support.waiting import until
from timbre.core.errors import SourceError


def test_consent_is_asked_at_the_start_and_while_the_server_runs(served: Path) -> None:
    people = served / "data/speakers.yaml"
    allowed = people.read_text()
    with speaking_server(["models/adapter", "models/third"]) as server:
        assert ask(server, voice="third").status_code == 200
        people.write_text(allowed.replace("revoked: null", "revoked: 2026-02-01", 1))  # ann's
        refused = ask(server, voice="adapter")
        assert refused.status_code == 451
        assert "ann took the consent back on 2026-02-01" in refused.json()["error"]["message"]
        assert ask(server, voice="third").status_code == 200, "bob's is another voice"
    with pytest.raises(SourceError, match="ann took the consent back"), speaking_server():
        pass
    people.write_text(allowed.replace("tests, serve, publish", "tests"))
    with pytest.raises(SourceError, match="ann did not consent to `serve`; add it to the uses"), speaking_server():
        pass
    people.write_text(allowed)
    (served / "models/adapter/training.json").unlink()
    (served / "data/dataset/train.jsonl").unlink()
    with pytest.raises(SourceError, match="whose voice it learnt is not known"), speaking_server():
        pass


def test_a_clip_to_clone_needs_its_speakers_consent_each_time(served: Path) -> None:
    people = served / "data/speakers.yaml"
    allowed = people.read_text()
    with speaking_server(["models/third", "base"]) as server:
        for voice in ("third", "base"):
            people.write_text(allowed)
            assert ask(server, voice=voice, reference=CLIP).status_code == 200
            people.write_text(allowed.replace("revoked: null", "revoked: 2026-02-01", 1))  # ann speaks in it
            assert ask(server, voice=voice, reference=CLIP).status_code == 451
            people.write_text(allowed.replace("tests, serve, publish", "tests", 1))
            assert ask(server, voice=voice, reference=CLIP).status_code == 451


def two_speakers(served: Path) -> None:
    """models/adapter learnt ann and bob, of each of whom there is a clip."""
    row = json.loads((served / "data/dataset/train.jsonl").read_text())
    bobs = row | {"id": "b0b", "audio": "data/clips/b0b.flac", "source": "bob", "number": 1}
    (served / "data/dataset/train.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps(bobs)}\n")
    shutil.copyfile(served / f"data/codes/csm/{CLIP}.safetensors", served / "data/codes/csm/b0b.safetensors")
    (served / "data/clips").mkdir()
    for clip in (CLIP, "b0b"):
        soundfile.write(served / f"data/clips/{clip}.flac", np.zeros(800), SAMPLE_RATE)
    learnt = {"speakers": {"ann": ["talk"], "bob": ["talk"]}, "numbers": {"ann": 0, "bob": 1}}
    (served / "models/adapter/training.json").write_text(json.dumps(learnt))


def test_each_speaker_of_a_voice_is_a_voice(served: Path) -> None:
    two_speakers(served)
    with speaking_server(["models/adapter", "base"]) as server:
        voices = httpx.get(f"{server.url}/v1/audio/voices").json()["voices"]
        assert [(voice["id"], voice.get("speaker")) for voice in voices] == [
            ("adapter", None), ("adapter:ann", "ann"), ("adapter:bob", "bob"), ("base", None),
        ]  # fmt: skip
        ann, bob = (ask(server, voice=f"adapter:{name}").content for name in ("ann", "bob"))
        assert ann == ask(server, voice="adapter").content, "the first, where nobody says"
        assert bob == ask(server, voice="adapter", speaker="bob").content != ann, "by the number alone"
        cloned = ask(server, voice="adapter:bob", reference="b0b").content
        assert cloned not in (bob, ask(server, voice="adapter:ann", reference=CLIP).content)
        assert ask(server, voice="base", speaker="bob").content == ask(server, voice="base", reference="b0b").content
        for wrong, told in (
            ({"voice": "adapter:eve"}, "adapter: has no speaker eve; it learnt ann, bob"),
            ({"voice": "adapter:ann", "speaker": "bob"}, "the voice says ann, the field `speaker` bob"),
            ({"voice": "adapter:bob", "reference": CLIP}, "the clip is of ann, not of bob"),
            ({"voice": "base", "speaker": "eve"}, "eve: no clip of this speaker"),
            ({"voice": "second:bob"}, "there is no voice of this name here"),
        ):
            answer = ask(server, **wrong)
            assert answer.status_code == 400
            assert told in answer.json()["error"]["message"]
    with speaking_server(reference=CLIP) as server:
        assert ask(server, voice="adapter:bob").content == cloned, "where the server clones, each speaker's own clip"
        people = served / "data/speakers.yaml"
        people.write_text(people.read_text().replace("tests, serve, publish", "tests"))
        assert ask(server, voice="adapter:bob").status_code == 451


def test_another_version_takes_its_place_without_stopping_anybody(served: Path) -> None:
    from dataclasses import replace

    from timbre.exchange import voice_versions

    with speaking_server() as server, ThreadPoolExecutor(1) as pool:
        voices, before = server.service.voices, ask(server).content
        alone = ask(server, input=f"{SAID}. " * 6).content
        with frames_held(voices.engine, after=3):
            long = pool.submit(ask, server, input=f"{SAID}. " * 6)
            until(lambda: bool(voices.engine.speaking))
            voices.exchange(replace(voice_versions.find("models/second"), name="models/adapter"))
        after = ask(server).content
        assert after != before
        assert long.result().content == alone, "who began with the first version hears it to the end"
        until(lambda: not any(voices.used.values()))  # an answer is whole a moment before its voice is let go
        voices._forget_unused()
        assert list(voices.loaded) == [voices.default.key]
        voices.exchange(voice_versions.find("models/adapter"))
        assert ask(server).content == before


def test_after_a_failure_every_voice_speaks_with_its_own_weights(served: Path) -> None:
    from dataclasses import replace

    from timbre.exchange import voice_versions

    first = voice_versions.find("models/adapter")
    second = replace(voice_versions.find("models/second"), name="models/adapter")

    def broken() -> Any:
        raise RuntimeError("the device is gone")

    with speaking_server() as server:
        voices, engine = server.service.voices, server.service.voices.engine
        alone = {first.key: ask(server).content}
        voices.exchange(second)
        alone[second.key] = ask(server).content
        base = voices.voice
        engine.between_frames(lambda slots: setattr(slots, "step", broken))
        failed = ask(server)
        assert failed.status_code == 503
        assert failed.headers["retry-after"] == "1"
        until(lambda: bool(engine.restarts))
        engine.wait_until_ready()
        assert voices.voice is not base, "the base is loaded from its files again"
        assert ask(server).content == alone[second.key]
        voices.exchange(first)  # was loaded before the failure, and is not now
        assert ask(server).content == alone[first.key]


def test_while_the_model_is_loaded_again_requests_are_told_to_come_back(
    served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from timbre import families

    go, load = threading.Event(), families.load_anew

    def slowly(*what: Any) -> Any:
        assert go.wait(60)
        return load(*what)

    with speaking_server() as server:
        engine, before = server.service.voices.engine, ask(server).content
        monkeypatch.setattr(families, "load_anew", slowly)
        engine.between_frames(lambda slots: setattr(slots, "step", lambda: 1 / 0))
        assert ask(server).status_code == 503, "who was speaking"
        refused, ready = ask(server), httpx.get(f"{server.url}/ready")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["error"]["code"] == "not_ready"
        assert (ready.status_code, ready.json()) == (503, {"status": "loading"})
        assert httpx.get(f"{server.url}/health").status_code == 200
        go.set()
        engine.wait_until_ready()
        assert ask(server).content == before


def test_an_answer_names_the_card_of_a_version_that_was_pushed(served: Path) -> None:
    from timbre.exchange import model_cards

    def about() -> dict[str, Any]:
        with soundfile.SoundFile(io.BytesIO(ask(server, response_format="flac").content)) as file:
            return dict(json.loads(file.comment))

    with speaking_server() as server:
        key = server.service.voices.default.key
        assert about() == {"synthetic": True, "generator": "timbre", "voice": key}
        model_cards.remember(key, "https://hub.example/ann/harbour")
        assert about()["card"] == "https://hub.example/ann/harbour"
        model_cards.PATH.write_text("[]")
        assert "card" not in about(), "a damaged list stops nobody"


def test_a_version_is_traced_to_what_it_was_made_from(served: Path) -> None:
    keys = served / "keys.txt"
    keys.write_text("kitchen 0123456789abcdef-kitchen\n")
    known = {"ab" * 16: "the clips of it"}
    headers = {"Authorization": "Bearer 0123456789abcdef-kitchen"}
    with speaking_server(["models/adapter", "base"], key_file=keys, trace=known.get) as server:
        trace = lambda key, **more: httpx.get(f"{server.url}/v1/trace/{key}", **more)  # noqa: E731
        assert trace("ab" * 16).status_code == 401, "it names people"
        assert trace("ab" * 16, headers=headers).json() == {"version": "ab" * 16, "text": "the clips of it"}
        consent = "voice ann; consent for: tests, serve, publish; given by: Ann; on: 2026-01-01"
        for name, told in (("adapter", consent), ("base", "learnt nothing here")):
            key = server.service.voices.versions[name].key
            assert told in trace(key, headers=headers).json()["text"], "in no commit: what the server knows"
            short = trace(key[:8], headers=headers).json()
            assert short == trace(key, headers=headers).json(), "as commands print it"
        for unknown in ("cd" * 16, "..%2F..%2Fetc", "x" * 5000, "%00"):
            assert trace(unknown, headers=headers).status_code == 404
