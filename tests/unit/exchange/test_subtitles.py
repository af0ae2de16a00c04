"""Subtitles and Whisper's JSON as the transcript of one recording: `timbre import talk.srt`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_outputs import voice
from timbre.audio import sha256
from timbre.commands import cli
from timbre.core.errors import DataError
from timbre.core.text import normalise
from timbre.exchange import subtitles
from timbre.project import sources, transcripts

WHO = ["--language", "en", "--licence", "CC0-1.0", "--consent", "hers"]
SRT = """1
00:00:00,500 --> 00:00:01,900
The <i>tide</i>
comes in.

2
00:00:02,000 --> 00:00:03,020
{\\an8}<font color="#ff0">Ships &amp; boats</font>, 3 < 4.

3
00:00:03,000 --> 00:00:03,500
[music] ♪
4
00:00:04,000 --> 00:00:09,000
They go

out.
"""
VTT = """\ufeffWEBVTT - a talk

STYLE
::cue { color: red }

NOTE
This is no --
cue.

intro
00:00.500 --> 00:01.900 align:start position:0%
<v Ann Smith>The <c.loud>tide</c> <00:00:01.200>comes in.

00:00:02.000 --> 00:00:03.000
<v.shout Bob>&lt;i&gt; is a tag.</v>
"""


@pytest.fixture(autouse=True)
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    soundfile.write("talk.wav", voice(5.0, 1), 16_000)
    Path("talk.srt").write_text(SRT)
    Path("talk.vtt").write_text(VTT)
    return tmp_path


def run(*arguments: str) -> int:
    return cli.execute(["import", *arguments])


def lines(name: str = "talk") -> list[tuple[float, float, str, str, str]]:
    read = transcripts.read(Path(f"data/transcripts/{name}.tsv"), 5.0)
    return [(line.start, line.end, line.speaker, line.flag, line.text) for line in read.lines]


def test_a_recording_and_its_subtitles_come_in_together(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("talk.srt", "--audio", "talk.wav", "--speaker", "ann", *WHO)
    assert lines() == [
        (0.5, 1.9, "ann", "ok", "The tide comes in."),
        (2.0, 3.0, "ann", "ok", "Ships & boats, 3 < 4."),
        (3.0, 3.5, "ann", "drop", "[music] ♪"),
        (4.0, 5.0, "ann", "ok", "They go out."),
    ]
    (source,) = sources.read(Path("data/sources.yaml"))
    assert (source.id, source.speaker, source.file) == ("talk", "ann", "data/recordings/talk.wav")
    assert Path("data/recordings/talk.wav").read_bytes() == Path("talk.wav").read_bytes()
    assert not Path("data/recordings/talk.wav").samefile("talk.wav"), "a copy of its own"
    read = transcripts.read(Path("data/transcripts/talk.tsv"))
    assert read.audio == sha256(soundfile.read("talk.wav", dtype="float32")[0])
    told = capsys.readouterr().out
    assert "4 lines, 0.1 min of speech in 0.1 min, ann" in told
    assert "1 of them only tell a sound, such as [music], and are flagged drop" in told
    assert not sources.read(Path("data/sources.yaml"))[0].draft, "its words are known"
    run("talk.srt", "--audio", "talk.wav", "--speaker", "ann", *WHO)
    assert "it is here already" in capsys.readouterr().out
    Path("talk.srt").write_text(SRT.replace("tide", "time"))
    with pytest.raises(DataError, match="talk is declared already"):
        run("talk.srt", "--audio", "talk.wav", "--speaker", "ann", *WHO)


def test_tags_and_notes_of_webvtt_are_not_words_and_its_voices_are_speakers(talk: Path) -> None:
    run("talk.vtt", "--audio", "talk.wav", *WHO)
    assert lines() == [
        (0.5, 1.9, "ann-smith", "ok", "The tide comes in."),
        (2.0, 3.0, "bob", "ok", "<i> is a tag."),
    ]
    with pytest.raises(DataError, match="the data name 2 voices"):
        run("talk.vtt", "--audio", "talk.wav", "--speaker", "ann", "--name", "other", *WHO)
    run("talk.vtt", "--audio", "talk.wav", "--speaker", "ann", "--speaker-column", "", "--name", "other", *WHO)
    assert {line[2] for line in lines("other")} == {"ann"}


def declare(seconds: float = 5.0) -> None:
    run("talk.srt", "--audio", "talk.wav", "--speaker", "ann", *WHO)
    Path("data/transcripts/talk.tsv").unlink()
    Path("data/raw").mkdir()
    soundfile.write("data/raw/talk.flac", voice(5.0, 1), 16_000)
    who = {"id": "talk", "speaker": "ann", "language": "en", "licence": "CC0-1.0", "consent": "hers", "origin": "x"}
    facts = {"sha256": "ab" * 32, "sample_rate": 16_000, "seconds": seconds}
    Path("data/raw/talk.json").write_text(json.dumps({"key": "k", "recording": {**who, **facts}}))


def test_a_declared_recording_gets_its_transcript_and_none_is_replaced(talk: Path) -> None:
    declare()
    run("talk.srt", "--recording", "talk", "--speaker", "ann")
    assert len(lines()) == 4
    assert transcripts.read(Path("data/transcripts/talk.tsv")).audio == "ab" * 32
    Path("data/transcripts/talk.tsv").write_text("mine")
    with pytest.raises(DataError, match=r"talk\.tsv: is there already, and yours"):
        run("talk.srt", "--recording", "talk", "--speaker", "ann")
    assert Path("data/transcripts/talk.tsv").read_text() == "mine"
    with pytest.raises(DataError, match=r"noon: no such recording in data/sources\.yaml; there are talk"):
        run("talk.srt", "--recording", "noon", "--speaker", "ann")


def test_whispers_json_is_a_draft_that_nobody_has_heard(talk: Path) -> None:
    segments = [
        {"start": 0.5, "end": 2.0, "text": " The tide"},
        {"start": 1.9, "end": 3.0, "text": " comes in.", "words": []},
        {"start": 3.0, "end": 7.0, "text": " It goes."},
    ]
    Path("talk.json").write_text(json.dumps({"text": "…", "segments": segments, "language": "en"}))
    run("talk.json", "--audio", "talk.wav", "--speaker", "ann", *WHO)
    assert lines() == [
        (0.5, 2.0, "ann", "", "The tide"),
        (2.0, 3.0, "ann", "", "comes in."),
        (3.0, 5.0, "ann", "", "It goes."),
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("00:00:01,900", "00:00:00,500", r"talk\.srt:2: ends at 0\.50 s, not after its start at 0\.50"),
        ("00:00:02,000", "00:00:00,300", r"talk\.srt:7: begins at 0\.30 s, before line 2 \(0\.50\)"),
        ("00:00:01,900", "00:00:02,400", r"talk\.srt:7: begins at 2\.00 s, and line 2 lasts until 2\.40; mend it"),
        ("00:00:02,000", "0:61:02,000", r"talk\.srt:7: is not a time such as"),
        ("00:00:04,000", "00:00:05,000", r"talk\.srt:14: begins at 5\.00 s, and talk ends at 5\.00 s"),
        ("00:00:02,000", "2", r"talk\.srt:7: is not a time such as"),
    ],
)
def test_times_that_cannot_be_are_told_with_their_line(talk: Path, old: str, new: str, message: str) -> None:
    Path("talk.srt").write_text(SRT.replace(old, new))
    with pytest.raises(DataError, match=message):
        run("talk.srt", "--audio", "talk.wav", "--speaker", "ann", *WHO)
    assert not Path("data").exists()


def test_overlaps_are_trimmed_where_that_is_asked_for(talk: Path) -> None:
    Path("talk.srt").write_text(SRT.replace("00:00:01,900", "00:00:02,400"))
    run("talk.srt", "--audio", "talk.wav", "--speaker", "ann", "--trim-overlaps", *WHO)
    assert lines()[0][:2] == (0.5, 2.0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.srt", b"", "holds no subtitles"),
        ("a.vtt", b"WEBVTT\n", "holds no subtitles"),
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\né\n".encode("latin-1"), "a.srt:3: byte 0xe9 is not utf-8"),
        ("a.json", b"{", "is not Whisper's JSON"),
        ("a.json", b'{"segments": [{"start": 1}]}', "is not Whisper's JSON"),
        ("a.json", b'{"segments": [{"start": 1, "end": 2, "text": " "}]}', "holds no words"),
        ("a.json", b'{"segments": [{"start": 1, "end": 2, "text": "a\\ud800"}]}', "is not Whisper's JSON"),
    ],
)
def test_files_that_hold_no_words_are_refused(talk: Path, name: str, content: bytes, message: str) -> None:
    Path(name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        run(name, "--audio", "talk.wav", "--speaker", "ann", *WHO)
    assert not Path("data").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--speaker", "ann", *WHO], "are words without sound; say of which"),
        (["--audio", "none.wav", "--speaker", "ann", *WHO], "none.wav: does not exist"),
        (["--audio", "talk.srt", "--speaker", "ann", *WHO], "talk.srt: is not audio that can be read"),
        (["--audio", "talk.wav", "--speaker", "ann"], "add --language, --licence, --consent"),
        (["--audio", "talk.wav", *WHO], "4 sentences do not say who speaks; add --speaker"),
        (["--audio", "talk.wav", "--speaker", "ann", *WHO, "--language", "English"], "no language code"),
    ],
)
def test_what_is_missing_is_asked_for(talk: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        run("talk.srt", *arguments)
    assert not Path("data").exists()


_WORDS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="<>&{}[]()♪♫-"), min_size=1).filter(
    lambda text: normalise(text) and not text.isdecimal()
)


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 400), _WORDS), min_size=1, max_size=6), st.booleans())
def test_words_and_times_come_out_as_they_went_in(cues: list[tuple[int, int, str]], vtt: bool) -> None:
    mark, rows, wanted, at = "." if vtt else ",", ["WEBVTT\n"] if vtt else [], [], 0
    for number, (length, pause, text) in enumerate(cues, 1):
        start, end = at + pause, at + pause + length
        at = end
        times = [f"{t // 360000:02}:{t // 6000 % 60:02}:{t // 100 % 60:02}{mark}{t % 100:02}0" for t in (start, end)]
        rows.append(f"{number}\n{times[0]} --> {times[1]}\n{text}\n")
        wanted.append((start / 100, end / 100, text))
    path = Path("made.vtt" if vtt else "made.srt")
    path.write_text("\n".join(rows), encoding="utf-8")
    assert [(round(c.start, 2), round(c.end, 2), c.text) for c in subtitles.read(path)] == wanted
