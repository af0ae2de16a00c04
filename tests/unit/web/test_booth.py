"""Recording oneself: what is kept of each take, what is refused, and the files that a finished session becomes."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.review_client import Client, serving
from timbre import audio
from timbre.commands import cli
from timbre.core.errors import AudioError, DataError, SourceError, TimbreError
from timbre.project import sources, speakers
from timbre.project.transcripts import Line, parse
from timbre.web.booth import microphone_takes
from timbre.web.booth.recording_sessions import Booth, BoothSession, key
from timbre.web.server import PageServer

CONSENT = {"name": "Ann", "by": "Ann Other", "when": "2026-11-21", "for": "her own voice", "evidence": ""}
SENTENCES = ("The tide comes in at noon.", "Boats leave from pier four.", "We wait for the ferry.")
SPEAKERS, SOURCES = Path("data/speakers.yaml"), Path("data/sources.yaml")


def wav(
    seconds: float = 1.5,
    rate: int = 16_000,
    lead: float = 0.5,
    tail: float = 0.5,
    level: float = 0.3,
    noise: float = 0.0005,
    click: float = 0.0,
    kind: str = "PCM_16",
) -> bytes:
    """A hum that comes and goes like syllables, in a room with a little noise."""
    before, body, after = (round(part * rate) for part in (lead, seconds, tail))
    time = np.arange(body) / rate
    voice = level * np.sin(2 * np.pi * 180 * time) * np.sin(2 * np.pi * 4 * time) ** 2
    samples = np.concatenate([np.zeros(before), voice, np.zeros(after)])
    samples += noise * np.random.default_rng(0).standard_normal(len(samples))
    samples[round(0.02 * rate) : round(0.03 * rate)] += click
    out = io.BytesIO()
    soundfile.write(out, np.clip(samples, -1, 1), rate, format="WAV", subtype=kind)
    return out.getvalue()


@pytest.fixture
def booth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Booth:
    monkeypatch.chdir(tmp_path)
    return Booth()


def begun(booth: Booth, *sentences: str) -> BoothSession:
    return booth.begin(BoothSession("ann-1", "ann", "en", "CC0-1.0", sentences or SENTENCES), CONSENT)


def measured(text: str = SENTENCES[0], **how: Any) -> microphone_takes.MeasuredTake:
    return microphone_takes.measure(*microphone_takes.read(wav(**how)), text)


def test_a_session_becomes_a_recording_a_transcript_and_an_entry(booth: Booth) -> None:
    session = begun(booth)
    for text, seconds in zip(SENTENCES[:2], (1.5, 1.3333), strict=True):
        booth.keep("ann-1", key(text), wav(seconds))
    made = booth.finish("ann-1")
    (source,) = sources.read(SOURCES)
    assert (source.id, source.file, source.speaker) == ("ann-1", made.recording, "ann")
    facts = audio.to_flac(Path(made.recording), Path("raw.flac"), name="ann-1")  # as `fetch` does
    transcript = parse(Path(made.transcript).read_bytes(), made.transcript, facts.seconds)
    assert transcript.audio == facts.sha256, "the transcript knows the audio that fetch will bring"
    assert [(line.flag, line.text) for line in transcript.lines] == [("ok", text) for text in SENTENCES[:2]]
    assert session.sentences == SENTENCES
    assert booth.sessions() == [], "it is declared, and over"


@given(st.lists(st.floats(0.5, 3.0), min_size=1, max_size=4), st.sampled_from([16_000, 22_050, 44_100, 48_000]))
@settings(max_examples=15, deadline=None)
def test_the_times_are_exact_at_every_sample_rate(tmp_path_factory: Any, lengths: list[float], rate: int) -> None:
    folder = tmp_path_factory.mktemp("takes")
    spoken = []
    for number, seconds in enumerate(lengths):
        path = folder / f"{number}.flac"
        path.write_bytes(audio.flac_bytes(*microphone_takes.read(wav(seconds, rate))))
        spoken.append((SENTENCES[0], path))
    lines, digest, seconds = microphone_takes.joined(spoken, target := folder / "all.flac", "ann")
    samples, own = audio.read(target)
    assert (own, digest, len(samples) / own) == (rate, audio.sha256(samples), seconds)
    silent = samples.copy()
    for line, length in zip(lines, lengths, strict=True):
        assert line.end - line.start == pytest.approx(length + 2 * microphone_takes.MARGIN, abs=0.06)
        silent[round(line.start * rate) : round(line.end * rate)] = 0
    assert audio.peak(silent) < 0.02, "no voice outside the lines"


@pytest.mark.parametrize(
    ("how", "warning"),
    [
        ({}, None),
        ({"click": 0.3}, None),
        ({"level": 1.5}, "clipped"),
        ({"level": 0.01}, "too quiet"),
        ({"noise": 0.03}, "noisy"),
        ({"lead": 0.0}, "the first word may be cut"),
        ({"tail": 0.0}, "the last word may be cut"),
        ({"seconds": 0.5}, "too short for this sentence"),
        ({"seconds": 12.0}, "too long for this sentence"),
    ],
)
def test_what_is_wrong_with_a_take_is_told(how: dict[str, float], warning: str | None) -> None:
    take = measured(**how)
    assert [w for w in take.warnings if not warning or not w.startswith(warning)] == []
    assert bool(take.warnings) == bool(warning)
    assert take.start == pytest.approx(how.get("lead", 0.5), abs=0.05), "a key's click is no voice"


@pytest.mark.parametrize(
    ("upload", "message"),
    [
        (b"", "nothing was recorded"),
        (b"RIFF" + b"\0" * 60, "not a WAV file"),
        (b"\x1aE\xdf\xa3 webm", "not a WAV file"),
        (wav(level=0, noise=0), "nothing was heard; is the microphone muted"),
        (wav(rate=8000), "8000 Hz, too narrow"),
        (wav(61), "at most 60 seconds"),
    ],
)
def test_an_upload_without_a_voice_is_refused_in_one_line(booth: Booth, upload: bytes, message: str) -> None:
    begun(booth)
    with pytest.raises(AudioError, match=message) as told:
        booth.keep("ann-1", key(SENTENCES[0]), upload)
    assert "\n" not in str(told.value)
    assert booth.take("ann-1", key(SENTENCES[0])) is None


def test_a_take_is_kept_at_once_and_is_there_after_a_kill(booth: Booth) -> None:
    begun(booth)
    booth.keep("ann-1", key(SENTENCES[1]), wav())
    again = Booth()  # nothing is held in memory
    assert again.sessions() == ["ann-1"]
    assert again.take("ann-1", key(SENTENCES[1])) is not None
    more = again.begin(BoothSession("ann-1", "ann", "en", "CC0-1.0", ("Another one.", SENTENCES[2])))
    assert more.sentences == (SENTENCES[1], "Another one.", SENTENCES[2]), "what was spoken stays"
    again.remove("ann-1", key(SENTENCES[1]))
    with pytest.raises(DataError, match="nothing was recorded yet"):
        again.finish("ann-1")


def test_a_finish_that_was_cut_short_is_finished_by_another(booth: Booth, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(booth)
    booth.keep("ann-1", key(SENTENCES[0]), wav())
    with monkeypatch.context() as patch:
        patch.setattr(
            "timbre.web.booth.recording_sessions.write_all", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            booth.finish("ann-1")
    assert Path("data/recordings/ann-1.flac").exists()
    assert not SOURCES.exists()
    assert booth.finish("ann-1").lines == 1


@pytest.mark.parametrize("path", ["data/recordings/ann-1.flac", "data/transcripts/ann-1.tsv"])
def test_nothing_that_is_there_is_overwritten(booth: Booth, path: str) -> None:
    begun(booth)
    booth.keep("ann-1", key(SENTENCES[0]), wav())
    Path(path).parent.mkdir(parents=True)
    Path(path).write_text("mine")
    with pytest.raises(TimbreError, match="is there already, and stays"):
        booth.finish("ann-1")
    assert Path(path).read_text() == "mine"
    assert not SOURCES.exists()


def test_who_has_no_consent_written_down_cannot_begin_and_who_gave_it_is_kept(booth: Booth) -> None:
    SPEAKERS.parent.mkdir()
    SPEAKERS.write_text("# who may be heard\nspeakers:\n")
    asked = BoothSession("ann-1", "ann", "en", "CC0-1.0", SENTENCES)
    with pytest.raises(SourceError, match="no entry for ann"):
        booth.begin(asked)
    with pytest.raises(SourceError, match="say for what the voice may be used"):
        booth.begin(asked, CONSENT | {"for": ""})
    with pytest.raises(SourceError, match="does not exist"):
        booth.begin(asked, CONSENT | {"evidence": "paper.pdf"})
    assert SPEAKERS.read_text() == "# who may be heard\nspeakers:\n"
    booth.begin(asked, CONSENT)
    assert speakers.read(SPEAKERS)["ann"].consent.use == "her own voice"
    assert SPEAKERS.read_text().startswith("# who may be heard\n")
    booth.keep("ann-1", key(SENTENCES[0]), wav())
    SPEAKERS.write_text(SPEAKERS.read_text().replace("revoked: null", "revoked: 2026-11-22"))
    with pytest.raises(SourceError, match="ann took the consent back on 2026-11-22"):
        booth.finish("ann-1")


def test_sentences_that_cannot_be_learnt_are_told_all_at_once(booth: Booth) -> None:
    Path("data").mkdir()
    Path("data/prompts.tsv").write_text("id\tkind\ttext\nnoon\tdomain\tThe tide comes in.\n")
    with pytest.raises(DataError) as told:
        begun(booth, "# a comment", "the TIDE comes in!", "...", "x" * 401, "Fine.", " fine ", "")
    first, second, third = str(told.value).splitlines()
    assert "sentence 2 is one of data/prompts.tsv" in first
    assert "sentence 3 has no words" in second
    assert "sentence 4 has 401 characters" in third
    assert begun(booth, "Fine.", " fine ", "", "# a comment").sentences == ("Fine.",)
    with pytest.raises(DataError, match="nothing to read"):
        Booth().begin(BoothSession("ann-2", "ann", "en", "CC0-1.0", ("",)))


@pytest.fixture
def client(booth: Booth) -> Iterator[Client]:
    begun(booth)
    with serving() as client:
        yield client


def test_the_server_keeps_takes_and_refuses_what_is_huge_empty_or_of_another_kind(client: Client) -> None:
    kind = {"Content-Type": "audio/wav"}
    path = f"api/take/ann-1/{key(SENTENCES[0])}"
    for headers, body, status in [
        (kind, b"", 422),
        (kind | {"Content-Length": str(microphone_takes.MAX_BYTES + 1)}, b"", 413),
        (kind, b"no sound", 422),
        ({"Content-Type": "text/plain"}, wav(), 415),
        ({"Content-Type": "multipart/form-data"}, wav(), 415),
    ]:
        answer = client.ask(path, body, headers=headers)
        assert answer.status == status
        assert len(answer.value["error"].splitlines()) == 1
    assert client.ask(path, b"\0" * (microphone_takes.MAX_BYTES + 1), headers=kind).status == 413, "the answer is heard"
    assert client.ask(path, wav(), headers=kind).value["warnings"] == []
    assert client.ask(path.removeprefix("api/")).body[:4] == b"fLaC"
    for bad in ("api/take/ann-1/..%2f..%2fx", "api/take/ann-1/0123456789abcdef", "api/take/..%2fann-1/x"):
        assert client.ask(bad, wav(), headers=kind).status in (404, 415, 422)
    assert sorted(p.name for p in Path(".timbre/takes/ann-1").iterdir()) == sorted(
        ["session.json", f"{key(SENTENCES[0])}.flac"]
    )
    assert client.ask("api/finish/ann-1", {}).value["lines"] == 1
    assert [one["id"] for one in client.ask("api/recordings").value] == ["ann-1"], "the review page has it too"


def test_the_command_tells_a_wrong_flag_before_a_page_opens(booth: Booth) -> None:
    Path("words.txt").write_text("# mine\nOne sentence.\n...\n")
    for flags, message in [
        (["--speaker", "ann"], "name it with --record ID"),
        (["--record", "../x"], "cannot be an id"),
        (["--record", "ann-1", "--prompts", "none.txt"], r"none\.txt: cannot be read"),
        (["--record", "ann-1", "--prompts", "words.txt"], "sentence 2 has no words"),
    ]:
        with pytest.raises(DataError, match=message):
            cli.execute(["review", "--no-browser", *flags])


def test_the_command_opens_the_booth_in_a_repository_without_recordings(
    booth: Booth, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[dict[str, Any]] = []

    serve = PageServer.serve

    def ask_once(server: PageServer) -> None:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        seen.append(Client(server).ask("api/booth").value["wanted"])
        server.stop()
        thread.join()
        raise KeyboardInterrupt

    monkeypatch.setattr(PageServer, "serve", ask_once)
    Path("words.txt").write_text("# mine\nOne sentence.\n")
    flags = ["--record", "ann-1", "--speaker", "ann", "--licence", "CC0-1.0", "--prompts", "words.txt"]
    assert cli.execute(["review", "--no-browser", *flags]) == 0
    assert "/record#ann-1\n" in capsys.readouterr().out
    expected = {"id": "ann-1", "speaker": "ann", "language": "en", "licence": "CC0-1.0"}
    assert seen == [{**expected, "sentences": "One sentence."}], "the form begins with what was said"


def test_a_take_with_a_warning_stays_unreviewed(booth: Booth) -> None:
    begun(booth)
    booth.keep("ann-1", key(SENTENCES[0]), wav())
    assert booth.keep("ann-1", key(SENTENCES[1]), wav(0.5)).warnings == (
        "too short for this sentence: are all its words there?",
    )
    finished = booth.finish("ann-1")
    lines = parse(Path(finished.transcript).read_bytes(), "x").lines
    assert [line.flag for line in lines] == ["ok", ""], "nobody has heard that the second is right"
    assert (finished.lines, finished.unreviewed) == (2, 1)


def test_a_line_begins_and_ends_with_the_voice(booth: Booth) -> None:
    begun(booth)
    booth.keep("ann-1", key(SENTENCES[0]), wav(1.5, lead=2.0, tail=3.0))
    made = booth.finish("ann-1")
    (line,) = parse(Path(made.transcript).read_bytes(), "x").lines
    assert line == Line(0.3, pytest.approx(1.88, abs=0.03), "ann", "ok", SENTENCES[0])
    assert made.seconds == pytest.approx(1.5 + 2 * microphone_takes.AROUND, abs=0.05), (
        "silence that nobody needs is left out"
    )


def test_a_take_of_somebody_who_took_the_consent_back_is_not_played(client: Client, booth: Booth) -> None:
    take = f"take/ann-1/{key(SENTENCES[0])}"
    booth.keep("ann-1", key(SENTENCES[0]), wav())
    assert client.ask(take).status == 200
    path = Path("data/speakers.yaml")
    path.write_text(path.read_text().replace("revoked: null", "revoked: 2026-04-01"))
    refused = client.ask(take)
    assert refused.status == 422
    assert b"took the consent back" in refused.body
