from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbre.core.errors import DataError, TranscriptError
from timbre.core.records import Recording
from timbre.core.text import normalise, words
from timbre.project.transcripts import (
    Draft,
    Line,
    Transcript,
    checked_content,
    parse,
    read_draft,
    read_row,
    render,
    seed_from_draft,
)

HEAD = "start\tend\tspeaker\tflag\ttext\n"
TALK = Recording("talk", "ann", "en", "CC0-1.0", "own voice", "file", "ab" * 32, 16000, 20.0)


def problems(body: str | bytes, seconds: float | None = None) -> list[str]:
    with pytest.raises(TranscriptError) as caught:
        parse(body if isinstance(body, bytes) else body.encode(), "talk.tsv", seconds)
    return str(caught.value).splitlines()


def test_a_transcript_is_read_with_its_comments() -> None:
    text = f"# audio: {'ab' * 32}\n# draft: 77ab\n# my note\n{HEAD}0.40\t3.15\tann\t\tThe tide.\n4\t6.5\tann\tok\t#2\n"
    found = parse(text.encode(), "talk.tsv")
    assert found.lines == (Line(0.4, 3.15, "ann", "", "The tide."), Line(4.0, 6.5, "ann", "ok", "#2"))
    assert (found.audio, found.draft, found.comments[2]) == ("ab" * 32, "77ab", "# my note")


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r"), min_size=1).filter(normalise)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 900), st.sampled_from(["", "ok", "drop"]), TEXT)))
def test_what_is_written_is_read_back_exactly_and_written_again_as_the_same_bytes(rows: list) -> None:  # type: ignore[type-arg]
    lines, at = [], 0
    for gap, length, flag, text in rows:
        lines.append(Line((at + gap) / 100, (at + gap + length) / 100, "ann", flag, text))
        at += gap + length
    transcript = Transcript(tuple(lines), ("# audio: 12", "# ünï"))
    content = render(transcript)
    assert parse(content, "talk.tsv") == transcript
    assert render(parse(content, "talk.tsv")) == content


def test_an_editor_that_writes_a_bom_and_crlf_is_forgiven_and_its_line_ends_are_kept() -> None:
    content = b"\xef\xbb\xbf" + f"# note\n{HEAD}0.00\t1.00\tann\t\thello\n".replace("\n", "\r\n").encode()
    found = parse(content, "talk.tsv")
    assert (found.comments, found.lines[0].text) == (("# note",), "hello")
    assert b"\xef\xbb\xbf" + render(found) == content


def test_every_bad_line_is_told_at_once_with_its_number() -> None:
    body = (
        HEAD
        + "12.40\t12.10\tann\t\tbackwards\n"  # 2
        + "0.00\t2.00\tann\t\tfine\n"  # 3
        + "1.50\t3.00\tann\t\toverlaps\n"  # 4
        + "4.00\t5.00\tann\t\ta\ttab\n"  # 5
        + "4,00\t5.00\tann\t\tcomma\n"  # 6
        + "5.00\t6.00\tann\tmaybe\tflag\n"  # 7
        + "6.00\t7.00\tann\t\t \n"  # 8
        + "7.00 8.00 ann spaces\n"  # 9
        + "8.00\t8.00\t../x\t\tno length\n"  # 10
        + "9.00\t99.00\tann\t\ttoo late\n"  # 11
        + "<<<<<<< HEAD\n=======\n>>>>>>> theirs\n"  # 12-14
        + "# a comment\n"  # 15
        + "nan\t1e3\tann\t\tnumbers\n"  # 16
    )
    expected = {
        2: "end 12.10 is before start 12.40",
        4: "start 1.50 is before 2.00, where the line above ends",
        5: "6 fields instead of 5; a tab in the text?",
        6: "start '4,00' is not a number of seconds",
        7: "flag 'maybe' is none of",
        8: "there is no text",
        9: "1 fields instead of 5; fields are separated by a tab",
        10: "end 8.00 is not after start 8.00; speaker '../x' cannot be an id",
        11: "end 99.00 is beyond the recording, which has 20.00 s",
        12: "a git conflict marker",
        13: "a git conflict marker",
        14: "a git conflict marker",
        15: "a comment; they stand above the header line",
        16: "start 'nan' is not a number",
    }
    found = {int(line.split(":")[1]): line.split(": ", 1)[1] for line in problems(body, 20.0)}
    assert found.keys() == expected.keys()
    for number, text in expected.items():
        assert found[number].startswith(text)


def test_text_that_is_not_utf8_is_told_with_its_place() -> None:
    (line,) = problems(HEAD.encode() + "0.00\t1.00\tann\t\tcafé\n".encode("latin-1"))
    assert line == "talk.tsv:2: byte 19 (0xe9) is not UTF-8; save the file as UTF-8"
    assert problems(HEAD.encode("utf-16")) == ["talk.tsv: is UTF-16; save it as UTF-8"]


@pytest.mark.parametrize("around", ["\x1c", "\x1f", "\u2003", "\x85"], ids=repr)
def test_a_number_between_odd_spaces_is_read_as_the_number_it_is(around: str) -> None:
    line, problem = read_row(f"1.0{around}\t{around}2.5\tann\tok\tHello.")
    assert (problem, line and (line.start, line.end)) == ("", (1.0, 2.5))


@pytest.mark.parametrize("body", ["", "# only a note\n", "start,end,text\n", "0.00\t1.00\tann\t\tno header\n"])
def test_a_missing_or_bad_header_is_told(body: str) -> None:
    assert "expected the header line start<tab>end" in problems(body)[0]


@pytest.mark.parametrize("text", ["a\tb", "a\nb", "a\rb", "", "\ud800"])
def test_a_transcript_that_could_not_be_read_back_is_not_written(text: str) -> None:
    with pytest.raises(TranscriptError):
        checked_content(Transcript((Line(0.0, 1.0, "ann", "", text),)), Path("talk.tsv"))


def test_a_draft_becomes_a_valid_transcript_that_keeps_every_word() -> None:
    draft = Draft(
        TALK.sha256,
        (
            (1.0, 1.0, " Before"),  # no length, and nothing above it
            (1.2, 3.456, " the tide\tcomes "),
            (3.0, 5.0, " and overlaps."),
            (5.0, 5.001, " Then"),  # no length
            (6.0, 7.0, " "),
            (18.0, 31.0, " runs over the end."),
            (30.0, 31.0, " Beyond."),
        ),
    )
    transcript = seed_from_draft(draft, TALK)
    assert parse(render(transcript), "talk.tsv", TALK.seconds) == transcript
    assert [word for line in transcript.lines for word in words(line.text)] == [
        word for _, _, text in draft.lines for word in words(text)
    ]
    assert (transcript.audio, transcript.draft) == (TALK.sha256, draft.key)
    assert seed_from_draft(Draft("x", ((0.0, 0.0, "alone"),)), TALK).lines == (Line(0.0, 20.0, "ann", "", "alone"),)


def test_a_drafts_lines_say_how_sure_whisper_was_and_a_persons_do_not(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    said = [{"start": 1, "end": 2, "word": " in", "probability": p} for p in (0.9, 0.4)]
    segments = [{"start": 1, "end": 2, "text": "Comes in.", "words": said}, {"start": 3, "end": 4, "text": "Hm."}]
    path.write_text(json.dumps({"audio_sha256": TALK.sha256, "segments": segments}))
    transcript = seed_from_draft(read_draft(path), TALK)
    assert [line.confidence for line in transcript.lines] == [0.65, None]
    assert {line.confidence for line in parse(render(transcript), "talk.tsv").lines} == {None}
    assert seed_from_draft(replace(read_draft(path), confidences=()), TALK) == transcript


def test_a_damaged_draft_is_told_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    with pytest.raises(DataError, match=r"talk\.json: cannot be read .*`dvc repro transcribe` makes it"):
        read_draft(path)
    path.write_text(json.dumps({"segments": [{"start": 0}]}))
    with pytest.raises(DataError, match=r"talk\.json: not a draft"):
        read_draft(path)


def test_a_part_of_a_sentence_with_hardly_any_words_is_as_sure_as_its_neighbours(tmp_path: Path) -> None:
    def line(start: float, text: str, *probabilities: float) -> dict[str, object]:
        words = [{"probability": one} for one in probabilities]
        return {"start": start, "end": start + 1, "text": text, "words": words}

    said = [
        line(0, "And so my friends", 0.9, 0.9, 0.9, 0.9),
        line(1, "ask not", 0.4, 0.4),
        line(2, "what it does for you.", 0.8, 0.8, 0.8, 0.8, 0.8),
        line(3, "Thank you.", 0.3, 0.3),
        line(4, "Ask what is done.", 0.7, 0.7, 0.7, 0.7),
    ]
    path = tmp_path / "talk.json"
    path.write_text(json.dumps({"audio_sha256": "a", "language": "en", "segments": said}))
    assert read_draft(path).confidences == (0.9, 0.764, 0.8, 0.3, 0.7), "a sentence of its own is judged by itself"
