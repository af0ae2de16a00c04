"""`timbre add`: a URL or file becomes a recording of data/sources.yaml, and nothing else there changes."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import numpy as np
import pytest

from timbre.audio import flac_bytes
from timbre.commands import add, cli
from timbre.core.errors import AudioError, DataError, SourceError
from timbre.editing import yaml_entries
from timbre.project import sources, speakers
from timbre.project.speakers import Consent

WHO = ["--speaker", "ann", "--language", "en", "--licence", "CC0-1.0", "--consent", "hers, by e-mail"]
EVIDENCE = ["--for", "a talk", "--evidence", "https://example.org/yes"]
NOON = flac_bytes(np.float32(0.3) * (np.arange(201 * 16_000) % 80 < 40), 16_000)
SOUND = flac_bytes(np.float32(0.3) * (np.arange(201 * 16_000) % 100 < 50), 16_000)  # 201 s of one tone
OLD = """# One entry per recording.
- id: noon
  file: data/recordings/noon.flac   # or url
  speaker: ann
  language: en   # as Whisper names it
  licence: 'CC0-1.0'
  consent: "own voice: yes"
  # start: / end: seconds, optional"""


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data/recordings").mkdir(parents=True)
    (tmp_path / "data/recordings/noon.flac").write_bytes(NOON)
    (tmp_path / "data/sources.yaml").write_text(OLD)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/My Tälk (1).M4A").write_bytes(SOUND)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> int:
    return cli.execute(["add", *arguments])


def untouched(root: Path) -> bool:
    files = sorted(path.name for path in (root / "data").rglob("*") if path.is_file())
    return files == ["noon.flac", "sources.yaml"] and (root / "data/sources.yaml").read_text() == OLD


def test_a_file_is_copied_and_declared_below_what_people_wrote(repository: Path) -> None:
    assert run("elsewhere/My Tälk (1).M4A", *WHO, "--start", "1:30", "--end", "200.5") == 0
    text = (repository / "data/sources.yaml").read_text()
    assert text.startswith(OLD + "\n- id: my-talk-1\n  file: data/recordings/my-talk-1.m4a\n  speaker: ann\n")
    source = sources.read(Path("data/sources.yaml"))[1]
    assert (source.start, source.end, source.consent) == (90.0, 200.5, "hers, by e-mail")
    assert (repository / "data/recordings/my-talk-1.m4a").read_bytes() == SOUND
    assert len(list((repository / "data").rglob("*"))) == 5, "no temporary file stays"


def test_where_the_demos_models_are_configured_that_is_told(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / "models").mkdir()
    (repository / "models/corpus.json").write_text('{"words": ["ferry", "pier"]}')
    (repository / "params.yaml").write_text("whisper: {model: turbo}\nvoice: {base: models/csm}\n")
    run("https://example.org/a.mp3", *WHO)
    assert "note: models/csm knows only the 2 words of the demo, and" in capsys.readouterr().out
    (repository / "params.yaml").write_text("whisper: {model: turbo}\nvoice: {base: sesame/csm-1b}\n")
    run("https://example.org/b.mp3", *WHO)
    assert "note:" not in capsys.readouterr().out


PEOPLE = """# Whose voices they are.
speakers:
    bob:   # since March
        name: Bob
        consent: {by: Bob, when: 2026-03-01, for: ads, evidence: null, revoked: 2026-04-01}
"""


def test_a_new_speaker_gets_an_entry_below_the_others(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speakers.PATH.write_text(PEOPLE)
    run(
        "elsewhere/My Tälk (1).M4A",
        *WHO[2:],
        "--speaker",
        "eve",
        "--consent",
        "Eve's mother: yes, 2026-02-03",
        *EVIDENCE,
    )
    assert speakers.PATH.read_text() == PEOPLE + (
        '    eve:\n      name: eve\n      number: 1\n      consent:\n        by: "Eve\'s mother: yes"\n'
        "        when: 2026-02-03\n        for: a talk\n"
        "        evidence: https://example.org/yes\n        revoked: null\n"
    )
    eve = speakers.read()["eve"]
    assert eve.consent == Consent("Eve's mother: yes", "2026-02-03", "a talk", EVIDENCE[-1], None)
    assert "data/speakers.yaml: added eve; see whether it says what was agreed" in capsys.readouterr().out


@pytest.mark.parametrize("text", [None, "", "# nobody yet\n", "speakers:\n", "speakers: {}\n", "{speakers: {}}\n"])
def test_the_first_speaker_makes_the_file(repository: Path, text: str | None) -> None:
    if text is not None:
        speakers.PATH.write_text(text)
    run("elsewhere/My Tälk (1).M4A", *WHO)
    told = speakers.read()["ann"].consent
    assert (told.by, told.when, told.use) == ("hers, by e-mail", datetime.date.today().isoformat(), yaml_entries.USE)
    assert ("# nobody" in speakers.PATH.read_text()) == bool(text and "#" in text)


@pytest.mark.parametrize(
    ("consent", "by"),
    [
        ("Ann, 2026-03-01", "Ann"),
        ("Ann, 2026-03-01, by e-mail", "Ann, by e-mail"),
        ("Ann (2026-03-01)", "Ann"),
        ("Ann signed on 2026-03-01", "Ann signed on 2026-03-01"),
        ("2026-03-01", "2026-03-01"),
    ],
)
def test_the_day_of_a_consent_is_written_once(repository: Path, consent: str, by: str) -> None:
    run("elsewhere/My Tälk (1).M4A", *WHO, "--consent", consent)
    told = speakers.read()["ann"].consent
    assert (told.by, told.when) == (by, "2026-03-01")
    assert sources.read(Path("data/sources.yaml"))[-1].consent == consent


def test_who_is_known_keeps_the_entry_and_who_took_the_consent_back_gets_no_recording(repository: Path) -> None:
    speakers.PATH.write_text(PEOPLE)
    with pytest.raises(SourceError, match=r"speakers\.yaml:3: bob took the consent back on 2026-04-01; nothing was"):
        run("elsewhere/My Tälk (1).M4A", *WHO, "--speaker", "bob")
    speakers.PATH.write_text(PEOPLE.replace("2026-04-01", "null"))
    with pytest.raises(SourceError, match=r"speakers\.yaml:3: knows bob; say there what changed"):
        run("elsewhere/My Tälk (1).M4A", *WHO, "--speaker", "bob", *EVIDENCE)
    assert not Path("data/recordings/my-talk-1.m4a").exists()
    run("elsewhere/My Tälk (1).M4A", *WHO, "--speaker", "bob")
    assert speakers.PATH.read_text() == PEOPLE.replace("2026-04-01", "null")


def test_a_strangers_recording_is_never_filed_under_the_name_of_the_only_speaker(repository: Path) -> None:
    with pytest.raises(SourceError, match=r"my-talk-1: give --speaker too"):
        run("elsewhere/My Tälk (1).M4A", "--licence", "CC0-1.0", "--consent", "the stranger's")
    assert untouched(repository)


def test_a_url_is_declared_and_the_language_is_that_of_all_others(repository: Path) -> None:
    about = ["--speaker", "ann", "--licence", "CC0-1.0", "--consent", "public: domain # yes"]
    run("https://example.org/a/Night%20ferry.mp3", *about)
    source = sources.read(Path("data/sources.yaml"))[1]
    assert (source.id, source.url, source.speaker) == ("night-ferry", "https://example.org/a/Night%20ferry.mp3", "ann")
    assert source.consent == "public: domain # yes"


@pytest.mark.parametrize("text", ["", "# none yet\n", "[]\n"])
def test_the_first_recording_makes_the_file(repository: Path, text: str) -> None:
    Path("data/sources.yaml").write_text(text)
    run("data/recordings/noon.flac", *WHO)
    assert [source.id for source in sources.read(Path("data/sources.yaml"))] == ["noon"]
    if text.startswith("#"):
        assert Path("data/sources.yaml").read_text().startswith(text)


@pytest.mark.parametrize(
    "text",
    [
        OLD.replace("\n", "\r\n") + "\r\n",
        "\n".join("  " + row for row in OLD.splitlines()) + "\n",
        OLD + "\n...\n",
        OLD.replace('"own voice: yes"', "|\n    own voice:\n    yes\n") + "\n\n",
        '[{"id": "noon", "file": "data/recordings/noon.flac", "speaker": "ann", "language": "en", '
        '"licence": "CC0-1.0", "consent": "own"}]  # flow\n',
    ],
    ids=["crlf", "indented", "document end", "block text", "JSON"],
)
def test_any_way_of_writing_the_file_is_kept(text: str) -> None:
    path = Path("data/sources.yaml")
    path.write_text(text, newline="")
    before = sources.read(path)
    run("elsewhere/My Tälk (1).M4A", *WHO)
    after = path.read_bytes().decode()
    assert sources.read(path)[:-1] == before
    for comment in ("# One entry", "# or url", "# as Whisper", "# start: / end", "# flow"):
        assert (comment in text) == (comment in after)
    if text.startswith(("#", " ")) and "..." not in text:
        assert after.startswith(text)
    assert ("\r\n" in text) == ("\r\n" in after)


def test_parts_of_a_recording_that_is_there_already_get_ids_of_their_own(repository: Path) -> None:
    Path("data/sources.yaml").write_text(OLD + "\n  end: 60\n")
    run("data/recordings/noon.flac", *WHO, "--start", "60", "--end", "90")
    run("data/recordings/../recordings/noon.flac", *WHO, "--start", "90")
    found = sources.read(Path("data/sources.yaml"))
    assert len({source.id for source in found}) == 3
    assert {source.file for source in found} == {"data/recordings/noon.flac"}
    with pytest.raises(SourceError, match=r"sources\.yaml:\d+: .* give parts that do not overlap"):
        run("data/recordings/noon.flac", *WHO, "--id", "again")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["elsewhere/none.wav", *WHO], "none.wav: does not exist"),
        (["elsewhere", *WHO], "is a folder; add each of its files"),
        (["elsewhere/My Tälk (1).M4A"], "my-talk-1: give --speaker, --licence, --consent too"),
        (["elsewhere/My Tälk (1).M4A", *WHO, "--id", "../x"], "cannot be an id"),
        (["elsewhere/My Tälk (1).M4A", *WHO, "--id", "noon"], r"sources\.yaml:\d+: id noon is already taken in line 2"),
        (["elsewhere/My Tälk (1).M4A", *WHO, "--start", "soon"], r"sources\.yaml:\d+: start: 'soon' is not a time"),
        (["elsewhere/My Tälk (1).M4A", *WHO, "--start", "9", "--end", "3"], "end 3.00 is not after start"),
        (["elsewhere/My Tälk (1).M4A", *WHO, "--language", "English"], "'English' is no language code"),
        (["elsewhere/My Tälk (1).M4A", *WHO, "--consent", " "], "consent: ' ' is not text"),
        (
            ["elsewhere/My Tälk (1).M4A", *WHO, "--evidence", "data/none.pdf"],
            "--evidence: data/none.pdf does not exist",
        ),
        (["elsewhere/My Tälk (1).M4A", *WHO, "--evidence", "/etc/passwd"], "is neither a file inside the repository"),
        (["https://ann:secret@example.org/a.mp3", *WHO], "holds a user name or password"),
        (["ftp://example.org/a.mp3", *WHO], "is not an http:// or https:// address"),
        (["https://", *WHO], "is not an http:// or https:// address"),
    ],
)
def test_a_mistake_is_told_before_anything_is_written(repository: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        run(*arguments)
    assert untouched(repository)


def test_a_mistake_names_the_place_where_the_file_would_be(repository: Path) -> None:
    with pytest.raises(SourceError) as caught:
        run("elsewhere/My Tälk (1).M4A", *WHO, "--start", "soon")
    assert "candidate" not in str(caught.value)
    assert ".part" not in str(caught.value)


def test_a_file_in_the_folder_is_never_overwritten_and_never_taken_twice(repository: Path) -> None:
    (repository / "data/recordings/my-talk-1.m4a").write_bytes(b"somebody's")
    with pytest.raises(SourceError, match=r"data/recordings/my-talk-1\.m4a: is there already, and stays"):
        run("elsewhere/My Tälk (1).M4A", *WHO)
    shutil.copy("data/recordings/noon.flac", "elsewhere/copy.flac")
    with pytest.raises(SourceError, match=r"is the same file as data/recordings/noon\.flac"):
        run("elsewhere/copy.flac", *WHO)
    assert (repository / "data/recordings/my-talk-1.m4a").read_bytes() == b"somebody's"


def test_a_broken_file_is_refused_as_it_is(repository: Path) -> None:
    Path("data/sources.yaml").write_text("- id: [\n")
    with pytest.raises(SourceError, match=r"sources\.yaml:\d: not YAML"):
        run("elsewhere/My Tälk (1).M4A", *WHO)


@pytest.mark.parametrize(
    ("content", "flags", "told"),
    [
        (b"a text, and no sound", [], "is not audio"),
        (SOUND[: len(SOUND) // 2], [], "cut short or damaged"),
        (SOUND, ["--start", "300"], "lasts 201.00 s, so it has no part from 300"),
        (flac_bytes(np.zeros(32_000, np.float32), 16_000), [], "is silent"),
    ],
    ids=["text", "half", "beyond", "silent"],
)
def test_what_fetch_would_refuse_is_refused_at_once(
    repository: Path, content: bytes, flags: list[str], told: str
) -> None:
    Path("elsewhere/talk.flac").write_bytes(content)
    with pytest.raises(AudioError, match=f"elsewhere/talk.flac: .*{told}"):
        run("elsewhere/talk.flac", *WHO, *flags)
    assert untouched(repository)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("/x/Guten Morgen.wav", "guten-morgen"),
        ("/x/--.wav", "recording-"),
        ("/x/海.wav", "recording-"),
        ("https://example.org/watch?v=a1", "watch-"),
        ("https://example.org/", "example-org"),
        ("https://example.org/%2e%2e%2fpasswd", "passwd"),
        ("x" * 300, "x" * 48),
    ],
)
def test_ids_are_made_safely(what: str, expected: str) -> None:
    made = add.make_id(what, (), set())
    assert made.startswith(expected)
    assert sources.check_id(made) == made
    assert add.make_id(what, (), {made, expected}) != expected


def test_two_addresses_that_differ_only_in_the_query_get_two_ids() -> None:
    made = {add.make_id(f"https://example.org/watch?v={video}", (), set()) for video in "ab"}
    assert len(made) == 2
