"""Text as people write it, spelled out as it is said; and the project's own list of pronunciations."""

from __future__ import annotations

from pathlib import Path

import pytest

from timbre.core.errors import DataError
from timbre.project import pronunciations
from timbre.synthesis.written_text import COUNTED, LONGEST, as_spoken, spelled_out


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Dr. Lee pays £3.50 at 14:05.", "Doctor Lee pays three pounds fifty at fourteen oh five."),
        ("$1,234.50 and 5%", "one thousand two hundred and thirty-four dollars fifty and five percent"),
        ("£0.01, $0.99, €5", "one penny, ninety-nine cents, five euros"),
        ("1999 and 2026-03-01", "nineteen ninety-nine and the first of March twenty twenty-six"),
        ("3-5 trains, 10 km/h, -5°C", "three to five trains, ten kilometres per hour, minus five degrees Celsius"),
        ("1 kg or 2.5 kg", "one kilogram or two point five kilograms"),
        ("It opened on 1905-07-01.", "It opened on the first of July nineteen oh five."),
        ("9:05 pm, 7:00", "nine oh five p m, seven o'clock"),
        ("the 21st of B12, v2, 1.2.3", "the twenty-first of B12, v2, one point two point three"),
        ("007", "zero zero seven"),
        ("https://www.example.org/a. x@y.org", "example dot org slash a. x at y dot org"),
        ("nothing to change here", "nothing to change here"),
    ],
)
def test_what_is_written_is_spelled_out(written: str, said: str) -> None:
    assert as_spoken(written) == said


def test_other_languages_have_their_numbers() -> None:
    assert as_spoken("23 Katzen", "de") == "dreiundzwanzig Katzen"
    assert as_spoken("23 x", "tlh") == "23 x", "of a language that nobody knows, digits stay"


@pytest.mark.parametrize("flood", ["9" * 50_000, "1," * 25_000, "1.2." * 12_000, "a@" * 25_000, "http://" * 7_000])
def test_a_flood_of_signs_ends(flood: str) -> None:
    assert as_spoken(flood)


def test_pauses_and_empty_lines_stay_and_the_list_of_pronunciations_is_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    table = tmp_path / "data/pronunciations.tsv"
    table.write_text("language\tword\tspelling\nen\tGIF\tjiff\n*\tNguyen\twin\nde\tGIF\tgief\n")
    assert spelled_out("A gif at 5.\n\nNguyen. [pause:1s] gifs") == "A jiff at five.\n\nwin. [pause:1s] gifs"
    assert pronunciations.read("de-AT")["gif"] == "gief"
    table.write_text("word\tspelling\nen\tGIF\n")
    with pytest.raises(DataError, match=r"(?s)pronunciations\.tsv:1: expected the header.*pronunciations\.tsv:2: "):
        spelled_out("x")


@pytest.mark.parametrize("text", ["3,50", "1.234", "-5", "123456789 am"])
def test_what_another_language_reads_its_own_way_stays(text: str) -> None:
    assert as_spoken(text, "de" if "am" not in text else "am") == text


def test_every_language_that_is_said_knows_each_length() -> None:
    for language in COUNTED:
        for digits in ("0", "12", "1234", "123456789", "9" * LONGEST):
            assert not any(character.isdigit() for character in as_spoken(digits, language)), (language, digits)
