"""Numbers, money and short forms in words."""

from __future__ import annotations

import pytest

from timbre.families.english import as_said, cardinal, ordinal, year


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Dr. Smith paid $3.50 in 1984.", "doctor Smith paid three dollars fifty in nineteen eighty-four."),
        ("It costs £1, or €1,250.", "It costs one pound, or one thousand two hundred and fifty euros."),
        ("Track 3 is 4.05 km long.", "Track three is four point zero five km long."),
        ("The 21st of May, the 2nd, the 100th", "The twenty-first of May, the second, the one hundredth"),
        ("At 9:05 or 12:30 or 7:00", "At nine oh five or twelve thirty or seven o'clock"),
        ("5-10 degrees, -3 at night", "five to ten degrees, minus three at night"),
        ("Salt & vinegar, 50%", "Salt and vinegar, fifty percent"),
        ("Agent 007 saw 1,000,001 stars", "Agent zero zero seven saw one million and one stars"),
        ("no numbers here, Mr. Jones", "no numbers here, mister Jones"),
        ("It ended with the bus. St. Mary's", "It ended with the bus. saint Mary's"),
    ],
)
def test_text_as_it_is_said(written: str, said: str) -> None:
    assert as_said(written) == said


def test_numbers_in_words() -> None:
    assert [cardinal(n) for n in (0, 13, 40, 99, 101, 1000, 12_345)] == [
        "zero", "thirteen", "forty", "ninety-nine", "one hundred and one", "one thousand",
        "twelve thousand three hundred and forty-five",
    ]  # fmt: skip
    assert [ordinal(n) for n in (1, 12, 20, 33, 1000)] == [
        "first",
        "twelfth",
        "twentieth",
        "thirty-third",
        "one thousandth",
    ]
    assert [year(n) for n in (1984, 1900, 1905, 2000, 2005, 2024)] == [
        "nineteen eighty-four", "nineteen hundred", "nineteen oh five", "two thousand", "two thousand and five",
        "twenty twenty-four",
    ]  # fmt: skip
    assert cardinal(10**15).startswith("one zero zero")
