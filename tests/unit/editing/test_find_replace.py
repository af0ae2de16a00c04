"""Find and replace over transcripts, and edits that leave the rest of a file as it is."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbre.commands import cli
from timbre.core.errors import DataError, TranscriptError
from timbre.core.text import normalise
from timbre.editing import find_replace, transcript_edits
from timbre.editing.find_replace import Search
from timbre.editing.owned_files import ChangedMeanwhile
from timbre.project.transcripts import Line, parse

HEAD = "start\tend\tspeaker\tflag\ttext\n"
TALK = (
    f"# audio: 12\n# ünï note\n{HEAD}0.4\t3.15\tann\t\tThe fairy leaves for pier for.\n4\t6.50\tann\tok\tNo change.\n"
)


def found(text: str, old: str, new: str = "NEW", **options: bool) -> str:
    search = Search(old, new, **options)
    return find_replace.apply(text, find_replace.hits(text, search))


@pytest.mark.parametrize(
    ("text", "old", "expected"),
    [
        ("At the pier.", "pier", "At the NEW."),
        ("Piers and pier-heads, the pier's end", "pier", "Piers and pier-heads, the pier's end"),
        ("the pier’s end, the “pier”", "pier", "the pier’s end, the “NEW”"),
        ("pier  for\u00a0us", "pier for us", "NEW"),
        ("it’s late", "it's", "NEW late"),
        ("the cafe\u0301 and the cafe", "cafe", "the cafe\u0301 and the NEW"),
        ("the cafe\u0301", "café", "the NEW"),
        ("5 or 55 or 5.", "5", "NEW or 55 or NEW."),
        ("a+b (c|d) a+b", "(c|d)", "a+b NEW a+b"),
        ("straße STRASSE", "straße", "NEW STRASSE"),
        ("snake_case case", "case", "snake_case NEW"),
    ],
)
def test_only_whole_words_are_found(text: str, old: str, expected: str) -> None:
    assert found(text, old) == expected


def test_new_words_are_taken_literally_and_a_removed_word_takes_a_space_with_it() -> None:
    assert found("the pier", "pier", r"\1 $& \g<0>") == r"the \1 $& \g<0>"
    assert [found(text, "um", "") for text in ("um the um pier", "well um", "um")] == ["the pier", "well", ""]


def test_without_case_a_first_capital_is_kept() -> None:
    assert found("Fairy or fairy", "fairy", "ferry", ignore_case=True) == "Ferry or ferry"
    assert found("Fairy or fairy", "fairy", "ferry") == "Fairy or ferry"


@pytest.fixture
def transcripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data/transcripts"
    folder.mkdir(parents=True)
    (folder / "noon.tsv").write_text(TALK)
    return folder


def test_replace_shows_first_and_writes_only_when_asked(transcripts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["replace", "fairy", "ferry"]) == 0
    said = capsys.readouterr().out
    assert "data/transcripts/noon.tsv:4: The [-fairy-]{+ferry+} leaves for pier for." in said
    assert "found: 1 place in 1 line of 1 file; --write replaces" in said
    assert (transcripts / "noon.tsv").read_text() == TALK
    cli.execute(["replace", "fairy", "ferry", "--write"])
    assert "replaced: 1 place" in capsys.readouterr().out
    assert (transcripts / "noon.tsv").read_text() == TALK.replace("fairy", "ferry"), "4 is not rewritten as 4.00"
    cli.execute(["replace", "fairy", "ferry", "--write"])
    assert "'fairy' is in no line of 1 transcript" in capsys.readouterr().out


def test_a_file_that_cannot_be_read_stops_every_write(transcripts: Path) -> None:
    (transcripts / "night.tsv").write_text(TALK.replace("0.4\t", "9\t"))
    with pytest.raises(TranscriptError, match=r"night\.tsv:4: end 3\.15 is before start"):
        cli.execute(["replace", "fairy", "ferry", "--write"])
    assert (transcripts / "noon.tsv").read_text() == TALK
    assert cli.execute(["replace", "fairy", "ferry", "--write", "--id", "noon"]) == 0
    assert "ferry" in (transcripts / "noon.tsv").read_text()


def test_a_line_is_never_left_without_words(transcripts: Path) -> None:
    with pytest.raises(TranscriptError, match=r"noon\.tsv:5: no words would be left; flag the line drop"):
        cli.execute(["replace", "No change.", "", "--write"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x"], "give the words to find and the words to put"),
        ([" ", "x"], "there is nothing to find"),
        (["a", "b\tc"], "tabs, line breaks"),
        (["a", "b", "--id", "dawn"], r"dawn\.tsv: there is no such transcript"),
        (["a", "b", "--id", "../../etc/passwd"], "cannot be an id"),
        (["--glossary", "--write"], "--glossary only suggests"),
    ],
)
def test_a_mistake_is_told(transcripts: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        cli.execute(["replace", *arguments])


def test_a_file_that_changed_after_the_preview_is_not_overwritten(transcripts: Path) -> None:
    path = transcripts / "noon.tsv"
    (plan,) = find_replace.plan([path], Search("fairy", "ferry"))
    path.write_text(TALK.replace("No change", "A change"))
    with pytest.raises(ChangedMeanwhile, match="changed by somebody else"):
        plan.change.write()
    assert path.read_text() == TALK.replace("No change", "A change")


def test_the_glossary_offers_what_was_nearly_heard(transcripts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = (
        "0\t1\ta\t\tFrom Penzanse to pen zance, near Penzance.\n1\t2\ta\t\tPenzanse and Port Isack, Port Isaac, isaac\n"
    )
    (transcripts / "noon.tsv").write_text(HEAD + body)
    (transcripts.parent / "glossary.txt").write_text("# names\nPenzance\nPort Isaac  # village\nOx\n")
    assert cli.execute(["replace", "--glossary"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "timbre replace Penzanse Penzance --write  # data/transcripts/noon.tsv:2 and 1 place more",
        "timbre replace 'pen zance' Penzance --write  # data/transcripts/noon.tsv:2",
        "timbre replace 'Port Isack' 'Port Isaac' --write  # data/transcripts/noon.tsv:3",
    ]
    (transcripts.parent / "glossary.txt").write_text("# none yet\n")
    cli.execute(["replace", "--glossary"])
    assert "names no terms yet" in capsys.readouterr().out


WORD = st.text(st.characters(categories=["L", "M", "N", "P", "S", "Zs"]), min_size=1, max_size=8).filter(normalise)
PLAIN = st.sampled_from(["pier", "the", "Pier", "it's", "a-b", "cafe\u0301", ",", "\u2028", "pier.", " "])
TEXT = st.lists(st.one_of(PLAIN, WORD), min_size=1, max_size=6).map(" ".join).filter(normalise)
ROWS = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 900), st.sampled_from(["", "ok", "drop"]), TEXT))


def document(rows: list[tuple[int, int, str, str]], newline: str, plain: bool, bom: bool, last: bool) -> bytes:
    """A transcript as some editor wrote it: times short or long, either line end, with or without BOM and last one."""
    at, out = 0, ["# audio: 12", "# my note", HEAD.rstrip("\n")]
    for gap, length, flag, text in rows:
        start, end = at + gap, at + gap + length
        times = (f"{start / 100:g}", f"{end / 100:g}") if plain else (f"{start / 100:.2f}", f"{end / 100:.2f}")
        out.append("\t".join((*times, "ann", flag, text)))
        at = end
    body = newline.join(out) + (newline if last else "")
    return (b"\xef\xbb\xbf" if bom else b"") + body.encode()


@given(ROWS, st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans(), st.booleans(), PLAIN, WORD)
def test_replace_never_touches_times_comments_flags_or_line_ends(
    rows: list[tuple[int, int, str, str]], newline: str, plain: bool, bom: bool, last: bool, old: str, new: str
) -> None:
    content = document(rows, newline, plain, bom, last)
    before = parse(content, "talk").lines
    if not old.split():
        return
    search = Search(old, new)
    after = [replace(line, text=find_replace.apply(line.text, find_replace.hits(line.text, search))) for line in before]
    made = transcript_edits.splice(content, after, "talk")
    for row, other in zip(content.split(b"\n"), made.split(b"\n"), strict=True):
        assert row.split(b"\t")[:4] == other.split(b"\t")[:4]
        assert row.endswith(b"\r") == other.endswith(b"\r")
    assert transcript_edits.splice(content, before, "talk") == content
    assert [(x.start, x.end, x.speaker, x.flag) for x in parse(made, "talk").lines] == [
        (x.start, x.end, x.speaker, x.flag) for x in before
    ]


@given(TEXT, st.one_of(PLAIN, WORD))
def test_what_is_not_found_stays_and_what_is_found_reads_as_asked(text: str, old: str) -> None:
    if not old.split():
        return
    for hit in find_replace.hits(text, Search(old, "x")):
        written = unicodedata.normalize("NFC", " ".join(text[hit.start : hit.end].split()))
        assert normalise(written) == normalise(old)


def test_a_spliced_file_keeps_empty_lines_and_takes_new_ones() -> None:
    content = f"# n\r\n\r\n{HEAD}0\t1\ta\t\tone\r\n\r\n2\t3\ta\t\ttwo".replace("text\n", "text\r\n").encode()
    lines = parse(content, "talk").lines
    more = [lines[0], Line(1.2, 1.6, "a", "ok", "new"), lines[1]]
    assert transcript_edits.splice(content, more, "talk") == content.replace(
        b"one\r\n\r\n", b"one\r\n\r\n1.20\t1.60\ta\tok\tnew\r\n"
    )
    assert transcript_edits.splice(content, lines[:1], "talk").endswith(b"one\r\n")
    assert transcript_edits.splice(content, [*lines, Line(4, 5, "a", "", "x")], "talk").endswith(
        b"two\r\n4.00\t5.00\ta\t\tx"
    )
    for bad in (Line(0, 1, "a", "", "tab\there"), Line(0, 1, "a", "", "break\nhere"), Line(0, 1, "A b", "", "x")):
        with pytest.raises(TranscriptError):
            transcript_edits.splice(content, [bad], "talk")
