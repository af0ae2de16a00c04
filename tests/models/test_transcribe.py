"""Drafts: what Whisper hears, with times that are in order, made again only when they could be different."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from stages import transcribe
from tests.support.paths import ROOT
from tests.support.tiny_models import random_whisper
from timbre import asr, audio
from timbre.asr import HeardUtterance, Word
from timbre.audio import speech_activity
from timbre.core.errors import DataError, ModelError
from timbre.core.records import Recording
from timbre.core.sections import ComputeParams, TranscribeParams, WhisperParams
from timbre.mapping import batch
from timbre.project import glossary
from timbre.project.known_words import KnownWords
from timbre.project.transcripts import read as read_transcript

RATE = 16_000
RAW, OUT = Path("data/raw"), Path("data/drafts")
PARAMS = TranscribeParams(engine="openai-whisper", batch=1, align=False)
MODEL = WhisperParams("whisper.pt")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_whisper(tmp_path_factory.mktemp("model") / "whisper.pt", babbles=True)


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    monkeypatch.chdir(tmp_path)
    RAW.mkdir(parents=True)
    Path("whisper.pt").symlink_to(checkpoint)


def recording(id: str, seconds: float = 1.0, pitch: float = 220) -> Recording:
    samples = (0.3 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)
    (RAW / f"{id}.flac").write_bytes(audio.flac_bytes(samples, RATE))
    return Recording(id, "marina", "en", "CC0-1.0", "own voice", "x", audio.sha256(samples), RATE, seconds)


def drafted(
    *recordings: Recording, prompt: str = "", out: Path = OUT, engine: ComputeParams = batch.HERE
) -> list[dict[str, Any]]:
    transcribe.transcribe_all(recordings, RAW, prompt, out, PARAMS, MODEL, engine)
    return [json.loads((out / f"{r.id}.json").read_bytes()) for r in recordings]


def utterance(start: float, end: float, *words: tuple[float, float]) -> HeardUtterance:
    return HeardUtterance(start, end, "text", -0.5, 0.0, [Word(a, b, " w", 0.9) for a, b in words])


def test_a_draft_names_its_audio_and_model_and_holds_words_in_order() -> None:
    source = recording("talk")
    [draft] = drafted(source)
    assert draft["audio_sha256"] == source.sha256
    assert draft["whisper"] == asr.fingerprint(MODEL)
    assert draft["language"] == "en"
    assert draft["segments"], "the untrained model says something"
    for segment in draft["segments"]:
        assert list(segment) == ["start", "end", "text", "avg_logprob", "no_speech_prob", "words"]
        times = [segment["start"], *(t for w in segment["words"] for t in (w["start"], w["end"])), segment["end"]]
        assert times == sorted(times)
        assert segment["end"] <= source.seconds


def test_aligned_lines_lie_in_the_recording_and_have_a_key_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    source = recording("talk", 2.0)
    [plain] = drafted(source)
    monkeypatch.setitem(globals(), "PARAMS", replace(PARAMS, align=True))
    [aligned] = drafted(source)
    assert aligned["key"] != plain["key"]
    assert [s["text"] for s in aligned["segments"]] == [s["text"] for s in plain["segments"]]
    times = [time for s in aligned["segments"] for time in (s["start"], s["end"])]
    assert times == sorted(times)
    assert times[-1] <= source.seconds


def test_where_the_voice_stops_a_line_of_the_draft_does() -> None:
    """Whisper's times are early; those of the voice are known."""
    path = ROOT / "data/recordings/harbour-noon.flac"
    spoken = read_transcript(ROOT / "data/transcripts/harbour-noon.tsv").lines[:4]
    early = []
    for one in spoken:
        words = (one.start, one.start + 0.3), (one.end - 0.6, one.end - 0.25)
        early.append(replace(utterance(one.start, one.end - 0.25, *words), text=one.text))
    moved = transcribe.settled(early, path, 122.2)
    activity = speech_activity.of_recording(path, "silero")
    for after, before in zip(moved[:-1], early, strict=False):
        assert after.end > before.end
        assert not activity.speaks(after.end + 0.01, after.end + 0.05).any(), "the voice has stopped"
        assert activity.speaks(after.end - 0.1, after.end).any(), "and not long ago"


def test_only_what_could_be_different_is_heard_again(capsys: pytest.CaptureFixture[str]) -> None:
    one, two = recording("one", pitch=200), recording("two", pitch=300)
    drafted(one, two)
    drafted(replace(one, licence="CC-BY-4.0", speaker="nele"), two)
    drafted(recording("one", pitch=250), two)
    drafted(recording("one", pitch=250), two, prompt="Penzance")
    told = [line for line in capsys.readouterr().out.splitlines() if "computed" in line]
    assert [line.split(",")[0] for line in told] == [
        "transcribe: 2 computed",
        "transcribe: 0 computed",
        "transcribe: 1 computed",
        "transcribe: 2 computed",
    ]


def test_a_recording_whose_words_are_known_gets_no_draft(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = "{{id: {0}, url: 'https://a.b/{0}', speaker: marina, language: en, licence: CC0-1.0, consent: hers{1}}}"
    Path("data/sources.yaml").write_text(f"[{entry.format('one', '')}, {entry.format('two', ', draft: false')}]\n")
    for one in (recording("one"), recording("two")):
        (RAW / f"{one.id}.json").write_text(json.dumps({"key": "k", "recording": asdict(one)}))
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    Path("data/glossary.txt").touch()
    drafted: list[Recording] = []
    monkeypatch.setattr(transcribe, "transcribe_all", lambda recordings, *_: drafted.extend(recordings))
    transcribe.main(Path("data/sources.yaml"), RAW, Path("data/glossary.txt"), OUT, Path("data/turns"))
    assert [recording.id for recording in drafted] == ["one"]
    turns = {path.name: json.loads(path.read_bytes())["turns"] for path in Path("data/turns").iterdir()}
    assert turns == {"one.json": [], "two.json": []}, "who.method is none"


def test_two_processes_write_what_one_writes() -> None:
    recordings = [recording("one", pitch=200), recording("two", pitch=300)]
    assert drafted(*recordings) == drafted(
        *recordings, out=Path("by-two"), engine=ComputeParams("local", 2, None, "auto")
    )


def test_a_recording_in_a_language_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(ModelError, match=r"talk: is in `de`, and whisper\.model knows English only"):
        drafted(replace(recording("talk"), language="de"))


def test_a_glossary_that_whisper_would_cut_is_refused() -> None:
    with pytest.raises(ModelError, match=r"the glossary has \d+ tokens and Whisper reads 11"):
        drafted(recording("talk"), prompt=", ".join(["Penzance"] * 20))


def test_the_glossary_has_a_term_per_line_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "glossary.txt"
    path.write_text("# names\nPenzance  # in Cornwall\n\n Marlow\n")
    assert glossary.terms(path) == ["Penzance", "Marlow"]
    path.write_bytes("Orléans".encode("latin-1"))
    with pytest.raises(DataError, match="byte 3 is not UTF-8"):
        glossary.terms(path)


def test_a_model_that_is_missing_unknown_or_no_model_says_what_to_do() -> None:
    Path("noise.pt").write_bytes(b"noise" * 100)
    for name, told in [
        ("models/none.pt", "models/none.pt: no such Whisper checkpoint"),
        ("turboo", "no model `turboo`; name a .pt file or one of tiny.en"),
        ("noise.pt", "noise.pt: is not a Whisper checkpoint"),
    ]:
        with pytest.raises(ModelError, match=told):
            asr.load(WhisperParams(name))


def test_the_model_is_loaded_once() -> None:
    assert asr.load(MODEL) is asr.load(WhisperParams("whisper.pt"))


def test_words_are_compared_without_case_marks_and_spellings_of_numbers() -> None:
    assert asr.normalise("Twenty-one ferries, please!") == asr.normalise("21 ferries please")


def test_silence_is_an_empty_transcript_or_words_but_no_error() -> None:
    assert isinstance(asr.transcribe(asr.load(MODEL), np.zeros(RATE, np.float32)).text, str)


def test_overlapping_utterances_share_what_both_claim() -> None:
    kept, left_out, moved = transcribe.in_order([utterance(0, 5, (0, 2), (2, 5)), utterance(4, 8, (4, 8))], 10)
    assert [(u.start, u.end) for u in kept] == [(0, 4.5), (4.5, 8)]
    assert [(w.start, w.end) for u in kept for w in u.words] == [(0, 2), (2, 4.5), (4.5, 8)]
    assert (left_out, moved) == ([], 1)


def test_what_lies_after_the_recording_is_cut_and_what_has_no_time_is_told() -> None:
    kept, left_out, moved = transcribe.in_order([utterance(8, 12, (8, 12)), utterance(11, 12), utterance(3, 3)], 10)
    assert [(u.start, u.end, u.words[0].end) for u in kept] == [(8, 10, 10)]
    assert (left_out, moved) == (["text", "text"], 1)


def test_a_draft_of_speech_that_the_model_does_not_know_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def draft(probability: float) -> dict[str, Any]:
        return {"segments": [{"words": [{"probability": probability}]}], "mended": 0, "left_out": []}

    recordings = [recording("noon"), recording("talk")]
    transcribe.tell([draft(0.99), draft(0.4)], recordings, KnownWords("small.pt", frozenset({"ferry"})))
    told = capsys.readouterr().out
    assert "warning: talk: small.pt knows only the 1 words of the demo, and is 40% sure" in told
    assert "noon" not in told
    transcribe.tell([draft(0.99), draft(0.4)], recordings)
    assert "warning" not in capsys.readouterr().out


def test_whatever_whisper_says_comes_out_in_order() -> None:
    rng = random.Random(0)
    for _ in range(500):
        heard = [
            utterance(*(rng.uniform(-1, 12) for _ in "ab"), *((rng.uniform(-1, 12), rng.uniform(-1, 12)) for _ in "ab"))
            for _ in range(rng.randrange(6))
        ]
        kept, left_out, _ = transcribe.in_order(heard, 10.004)
        assert len(kept) + len(left_out) == len(heard)
        times = [t for u in kept for t in (u.start, *(t for w in u.words for t in (w.start, w.end)), u.end)]
        assert times == sorted(times)
        assert all(u.start < u.end <= 10.004 for u in kept)


def test_a_long_recording_is_heard_in_pieces_that_end_in_pauses() -> None:
    samples = 0.3 * np.ones(60 * RATE, np.float32)
    for pause in (17, 38):
        samples[pause * RATE : (pause + 1) * RATE] = 0
    soundfile.write("long.wav", samples, RATE)
    spans = list(transcribe.pieces(Path("long.wav"), 60.0, longest=25, within=15))
    assert [start for start, _ in spans[1:]] == [end for _, end in spans[:-1]]
    assert (spans[0][0], spans[-1][1]) == (0, 60)
    for pause, (_, end) in zip((17, 38), spans, strict=False):
        assert pause + 0.2 < end < pause + 0.8
