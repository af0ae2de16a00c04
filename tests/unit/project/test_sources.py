"""data/sources.yaml is read strictly: every mistake at once, each with its line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from timbre.core.errors import SourceError
from timbre.core.records import Recording
from timbre.project import sources
from timbre.project.sources import Source, read, recordings

PATH = Path("data/sources.yaml")
ENTRY = "  speaker: marina\n  language: en\n  licence: CC0-1.0\n  consent: own voice\n"


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/recordings").mkdir(parents=True)
    Path("data/recordings/talk.wav").touch()
    Path("elsewhere.wav").touch()


def mistakes(text: str) -> list[str]:
    PATH.write_text(text)
    with pytest.raises(SourceError) as caught:
        read(PATH)
    return str(caught.value).splitlines()


def test_an_entry_becomes_a_source() -> None:
    PATH.write_text(f"- id: talk\n  file: data/recordings/talk.wav\n{ENTRY}  start: 2\n  end: 1:30:05.5\n")
    assert read(PATH) == [
        Source("talk", "marina", "en", "CC0-1.0", "own voice", "data/recordings/talk.wav", None, 2.0, 5405.5)
    ]


def test_a_recording_may_go_without_a_draft() -> None:
    rows = [
        f"- id: {name}\n  url: https://a.b/{name}\n{ENTRY}{more}"
        for name, more in (("a", ""), ("b", "  draft: false\n"))
    ]
    PATH.write_text("".join(rows))
    assert [source.draft for source in read(PATH)] == [True, False]


def test_without_mistakes_no_line_is_looked_for_and_nothing_else_differs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = (
        "# one\n- {id: talk, file: data/recordings/talk.wav, speaker: no, language: no, licence: '1.0', consent: a}\n"
    )
    rest = f"- id: b\n  url: https://a.b/c\n{ENTRY}  start: 1_0\n  end: 1:30\n  draft: false\n"
    PATH.write_text(entry + rest)
    with monkeypatch.context() as patched:
        patched.setattr(sources, "_faultless", lambda text: [])
        slow = read(PATH)
    monkeypatch.setattr(sources, "line_of", None)
    assert read(PATH) == slow
    assert [source.speaker for source in slow] == ["no", "marina"]


def test_yaml_is_read_as_dvc_reads_it() -> None:
    PATH.write_text("- {id: a, url: 'https://a.b/c', speaker: s, language: no, licence: no, consent: yes}\n")
    assert (read(PATH)[0].language, read(PATH)[0].consent) == ("no", "yes")


@pytest.mark.parametrize("bad", ["a/b", "..", "a b", "-a", "A", "é", "a" * 65])
def test_an_id_that_is_no_file_name_is_refused(bad: str) -> None:
    [line] = mistakes(f'- id: "{bad}"\n  url: https://a.b/c\n{ENTRY}')
    assert line.startswith(f"data/sources.yaml:1: id: {bad!r} cannot be an id")


@pytest.mark.parametrize(
    ("keys", "line", "problem"),
    [
        ("  file: elsewhere.wav\n", 2, "file: elsewhere.wav is outside data/recordings"),
        ("  file: data/recordings/../../elsewhere.wav\n", 2, "is outside data/recordings"),
        ("  file: data/recordings/none.wav\n", 2, "file: data/recordings/none.wav does not exist"),
        ("  url: ftp://a.b/c\n", 2, "url: ftp://a.b/c is not an http:// or https:// address"),
        ("  url: 'https://a.b/c d'\n", 2, "is not an http:// or https:// address"),
        ("  url: ~\n", 2, "url: nothing is not text"),
        ("", 1, "give either `file` or `url`"),
        ("  url: https://a.b/c\n  file: data/recordings/talk.wav\n", 1, "either `file` or `url`, not both"),
        ("  url: https://a.b/c\n  start: 5\n  end: 5\n", 4, "end 5.00 is not after start 5.00"),
        ("  url: https://a.b/c\n  start: -5\n", 3, "start: -5 is not a time"),
        ("  url: https://a.b/c\n  end: .inf\n", 3, "end: inf is not a time"),
        ("  url: https://a.b/c\n  draft: never\n", 3, "draft: 'never' is neither true nor false"),
        ("  url: https://a.b/c\n  voice: x\n", 3, "unknown key `voice`"),
    ],
)
def test_a_wrong_value_is_told_with_its_line(keys: str, line: int, problem: str) -> None:
    [told] = mistakes(f"- id: talk\n{keys}{ENTRY}")
    assert told.startswith(f"data/sources.yaml:{line}: ")
    assert problem in told


def test_all_mistakes_are_told_at_once() -> None:
    lines = mistakes("- id: -a\n  url: https://a.b/c\n- talk\n- id: b\n  file: /x\n  start: x\n" + ENTRY)
    assert [line.split(": ")[0].split(":")[1] for line in lines] == ["1", "1", "1", "1", "1", "3", "5", "6"]


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        ("- id: a\n  url: https://a.b/other\n", "id a is already taken in line 1"),
        ("- id: b\n  url: https://a.b/c\n", "https://a.b/c is already in line 1 as a"),
        ("- id: b\n  url: https://a.b/c\n  start: 3\n", "is already in line 1 as a"),
    ],
)
def test_a_source_twice_is_refused(second: str, problem: str) -> None:
    [line] = mistakes(f"- id: a\n  url: https://a.b/c\n{ENTRY}{second}{ENTRY}")
    assert line.startswith("data/sources.yaml:7: ")
    assert problem in line


def test_parts_of_one_recording_may_be_two_sources() -> None:
    PATH.write_text(
        f"- id: a\n  url: https://a.b/c\n  end: 3\n{ENTRY}- id: b\n  url: https://a.b/c\n  start: 3\n{ENTRY}"
    )
    assert [source.id for source in read(PATH)] == ["a", "b"]


@pytest.mark.parametrize("text", ["", "id: a\n", "- id: [a\n", "- id: a\n  id: b\n"])
def test_a_file_that_is_no_list_of_recordings_is_one_line(text: str) -> None:
    [line] = mistakes(text)
    assert line.startswith("data/sources.yaml:")


def test_a_file_in_another_encoding_is_one_line() -> None:
    PATH.write_bytes("- id: café".encode("latin-1"))
    with pytest.raises(SourceError, match="is not UTF-8"):
        read(PATH)


def test_a_declared_recording_that_was_not_fetched_is_an_error_whatever_lies_there() -> None:
    raw = Path("data/raw")
    raw.mkdir()
    sources = [Source(id, "s", "en", "l", "c", url=f"https://a.b/{id}") for id in ("here", "gone", "broken")]
    fields = ["here", "s", "en", "l", "c", "https://a.b/here", "0", 16000, 1.0]
    record = dict(zip((field.name for field in dataclasses.fields(Recording)), fields, strict=True))
    (raw / "here.json").write_text(json.dumps({"key": "k", "recording": record}))
    (raw / "here.flac").touch()
    (raw / "broken.json").write_text("{}")
    assert [r.id for r in recordings(sources[:1], raw)] == ["here"]
    with pytest.raises(SourceError) as caught:
        recordings(sources, raw)
    gone, broken = str(caught.value).splitlines()
    assert gone.startswith("gone: not in data/raw")
    assert broken.startswith("data/raw/broken.json: not a Recording")
