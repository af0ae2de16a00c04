from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbre.core.text import VERSION, ends_sentence, join, normalise, words


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("two  spaces\u00a0and\ttab ", "two spaces and tab"),
        ("cafe\u0301", "caf\u00e9"),
        ("“It’s ‘fine’”", "\"It's 'fine'\""),
        ("well—known – and … so", "well - known - and ... so"),
        ("1939–1945", "1939-1945"),
        ("co\u2010op\u00ad\u200b\ufeff", "co-op"),
        ("a\x00b\x1b[1m", "ab[1m"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("", ""),
    ],
)
def test_normalising_changes_the_writing_and_not_the_words(written: str, same: str) -> None:
    assert normalise(written) == same


@given(st.text())
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.text(st.characters(min_codepoint=0, max_codepoint=127)))
def test_plain_letters_are_normalised_as_they_are_beside_others(text: str) -> None:
    assert normalise(f"{text} é") == f"{normalise(text)} é".strip()


@pytest.mark.parametrize(
    ("text", "following", "ends"),
    [
        ("The tide comes in.", "The boats go out.", True),
        ("The tide comes in.", "", True),
        ("Is it late?", "", True),
        ("I was met by Mr.", "Smith at the pier.", False),
        ("I was met by Mr.", "", False),
        ("the tide", "comes in.", False),
        ("the tide", "", False),
        ('He said "no."', "The rest is silence.", True),
        ("(So it goes.)", "The rest is silence.", True),
        ("and so on…", "Then it stopped.", True),
    ],
)
def test_a_sentence_ends_where_a_reader_would_say_so(text: str, following: str, ends: bool) -> None:
    assert ends_sentence(normalise(text), following) is ends


def test_sentences_end_in_scripts_without_spaces() -> None:
    assert ends_sentence("元気です。", "はい。", "ja")
    assert join(["元気です。", "はい。"], "ja") == "元気です。はい。"
    assert join(["One.", "Two."]) == "One. Two."


def test_words_are_what_is_heard() -> None:
    assert words("It’s — the “well-known” TIDE, no. 9!") == ["it's", "the", "well-known", "tide", "no", "9"]


def test_another_normalisation_comes_with_another_version() -> None:
    written = [
        "“Don’t—stop…” she  said.",
        "10–20 co\u2010op\u200b",
        "e\u0301te\u0301\ttab",
        "‚low‘ „quotes“",
        "سلام\u200cها",
    ]
    digest = hashlib.sha256("\n".join(normalise(each) for each in written).encode()).hexdigest()[:16]
    assert {1: "8527d4a981527216"}[VERSION] == digest, "raise VERSION in timbre/core/text.py and say here what it gives"
