"""The other engine, at its boundary: what faster-whisper is asked, and what its answer becomes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from stages import transcribe
from timbre.asr import faster_whisper
from timbre.core.errors import ModelError
from timbre.core.records import Recording
from timbre.core.sections import TranscribeParams, WhisperParams

RATE = 16_000
TALK = Recording("talk", "ann", "en", "CC0-1.0", "own voice", "x", "ab" * 32, RATE, 4.0)
PARAMS = TranscribeParams(engine="faster-whisper", batch=4, align=False)


class Engine:
    """As a BatchedInferencePipeline answers: segments as they come, and what it knows of the sound."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        tokens = SimpleNamespace(encode=lambda text, add_special_tokens: SimpleNamespace(ids=text.split()))
        self.model = SimpleNamespace(supported_languages=["en"], hf_tokenizer=tokens, max_length=448)

    def transcribe(self, samples: Any, **options: Any) -> tuple[Any, Any]:
        self.asked = options | {"seconds": len(samples) / RATE}
        said = [SimpleNamespace(start=np.float32(0.5), end=1.25, word=" The", probability=np.float32(0.75))]
        rates = {"avg_logprob": -0.25, "no_speech_prob": 0.01}
        segments = [
            SimpleNamespace(start=0.5, end=1.25, text=" The  tide. ", words=said, **rates),
            SimpleNamespace(start=1.5, end=9.0, text=" Comes in.", words=None, **rates),
            SimpleNamespace(start=9.0, end=9.5, text="  ", words=[], **rates),
        ]
        return iter(segments), SimpleNamespace(language=options["language"])


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Engine:
    made = Engine()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(faster_whisper, "load", lambda _: made)
    soundfile.write("talk.flac", np.full(4 * RATE, 0.1), RATE)
    return made


def drafted(**change: Any) -> dict[str, Any]:
    recording = Recording(**{**vars(TALK), **change})
    transcribe.transcribe_all([recording], Path(), "Marlow", Path("out"), PARAMS, WhisperParams("turbo"))
    found: dict[str, Any] = json.loads(Path("out/talk.json").read_text())
    return found


def test_its_segments_become_a_draft_like_any_other(engine: Engine) -> None:
    draft = drafted()
    assert draft["whisper"] == "faster-whisper turbo"
    assert [(s["start"], s["end"], s["text"]) for s in draft["segments"]] == [
        (0.5, 1.25, "The tide."),
        (1.5, 4.0, "Comes in."),  # not beyond the recording
    ]
    assert draft["segments"][0]["words"] == [{"start": 0.5, "end": 1.25, "word": " The", "probability": 0.75}]
    assert draft["segments"][1]["words"] == []


def test_it_is_asked_for_what_gives_the_same_text_each_time(engine: Engine) -> None:
    drafted()
    asked = {"language": "en", "initial_prompt": "Marlow", "batch_size": 4, "word_timestamps": True, "seconds": 4.0}
    settled = {"temperature": 0.0, "beam_size": 1, "condition_on_previous_text": False, "without_timestamps": True}
    settled["log_progress"] = False  # a bar of a short recording tells nobody anything
    assert engine.asked == asked | settled


def test_a_window_of_two_sentences_is_two_lines(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [
        SimpleNamespace(start=place / 2, end=place / 2 + 0.4, word=f" {word}", probability=0.9)
        for place, word in enumerate(["The", "tide", "turns.", "Boats", "go", "out."])
    ]
    window = SimpleNamespace(
        start=0.0, end=4.0, text=" The tide turns. Boats go out.", words=words, avg_logprob=-0.2, no_speech_prob=0.0
    )
    answer = (iter([window]), SimpleNamespace(language="en"))
    monkeypatch.setattr(engine, "transcribe", lambda samples, **options: answer)
    assert [(s["start"], s["end"], s["text"]) for s in drafted()["segments"]] == [
        (0.0, 1.4, "The tide turns."),
        (1.5, 4.0, "Boats go out."),
    ]


def test_the_library_still_takes_what_it_is_asked(engine: Engine) -> None:
    library = pytest.importorskip("faster_whisper", reason="an optional package")
    import inspect

    drafted()
    known = inspect.signature(library.BatchedInferencePipeline.transcribe).parameters
    assert set(engine.asked) - {"seconds"} <= set(known)


def test_a_language_that_it_lacks_and_a_prompt_that_it_would_cut_are_refused(engine: Engine) -> None:
    with pytest.raises(ModelError, match=r"talk: is in `de`, and whisper\.model does not know it"):
        drafted(language="de")
    with pytest.raises(ModelError, match="the glossary has 300 tokens and Whisper reads 223"):
        faster_whisper.check_prompt(engine, "word " * 300)


def test_a_checkpoint_of_the_other_engine_is_told_apart() -> None:
    with pytest.raises(ModelError, match=r"models/tiny/whisper\.pt is openai-whisper's"):
        faster_whisper.load(WhisperParams("models/tiny/whisper.pt"))


def test_a_converted_model_is_known_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"one")
    before = faster_whisper.fingerprint(WhisperParams(str(tmp_path)))
    (tmp_path / "model.bin").write_bytes(b"two")
    assert faster_whisper.fingerprint(WhisperParams(str(tmp_path))) != before
    assert faster_whisper.fingerprint(WhisperParams("turbo")) == "faster-whisper turbo"
