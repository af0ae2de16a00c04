"""One normalisation for labels and evaluation: what is said alike is written alike, nothing said is lost."""

from __future__ import annotations

import pytest

from timbre.asr.normalising import normalise
from timbre.evaluation import word_errors

ALIKE: list[tuple[str, ...]] = [
    ("printed in 1455 (by Peter Schoeffer)", "Printed in fourteen fifty-five by Peter Schoeffer."),
    ("the third [and last] part", "The third and last part"),
    ("He left at 10:30 p.m.", "He left at ten thirty pm"),
    ("at 7:00 p.m.", "at seven p.m."),
    ("at seven o'clock", "at 7 o\u2019clock"),
    ("the U.S. and the U.S.A.", "the US and the USA"),
    ("J. R. R. Tolkien", "JRR Tolkien"),
    ("i.e. the letter", "ie the letter"),
    ("psalters, etc., produced", "psalters et cetera produced"),
    ("It cost $5 million.", "it cost five million dollars"),
    ("It cost $5.", "It cost five dollars."),
    ("It cost $1,250.50.", "one thousand two hundred fifty dollars and fifty cents, it cost"),
    ("fifty cents", "50 cents"),
    ("\u00a320", "twenty pounds"),
    ("\u20ac3", "three euros"),
    ("5 %", "five percent"),
    ("13,100 lines", "thirteen thousand one hundred lines"),
    ("nineteen oh five", "1905"),
    ("the twenty-first of May", "the 21st of May"),
    ("the 1960s", "the nineteen sixties"),
    ("three point five", "3.5"),
    ("No. 5", "number five"),
    ("R & D", "R and D"),
    ("70\u00b0", "seventy degrees"),
    ("Mr. Smith, O.K.?", "mister Smith, okay"),
]


OTHERS = {
    "de": [
        ("Das kostet 5 €.", "das kostet fünf Euro"),
        ("Es kostet 3,50 €", "Es kostet drei Euro fünfzig"),
        ("1 Euro", "ein Euro"),
        ("1.250 €", "1250 Euro"),
        ("0,50 €", "fünfzig Cent"),
        ("$20", "zwanzig Dollar"),
        ("Um 10:30 Uhr", "um zehn Uhr dreißig"),
        ("um 1 Uhr", "um ein Uhr"),
        ("um 18.15 Uhr", "um 18:15"),
        ("5 %", "fünf Prozent"),
        ("3,14", "drei Komma eins vier"),
        ("21 Fähren", "einundzwanzig Fähren"),
        ("1995", "neunzehnhundertfünfundneunzig"),
        ("1.000.000 Wörter", "eine million Wörter"),
    ],
    "fr": [
        ("Ça coûte 5 €.", "ça coûte cinq euros"),
        ("1 €", "un euro"),
        ("3,50 €", "trois euros cinquante"),
        ("1 250 €", "1250 euros"),
        ("0,50 €", "cinquante centimes"),
        ("£1", "une livre"),
        ("à 10h30", "à dix heures trente"),
        ("à 10 h 30", "à 10:30"),
        ("à 21 heures", "à vingt-et-une heures"),
        ("1h", "une heure"),
        ("10 hommes", "dix hommes"),
        ("5 %", "cinq pour cent"),
        ("3,05", "trois virgule zéro cinq"),
        ("l\u2019an 2000", "l'an deux mille"),
    ],
}


@pytest.mark.parametrize(
    ("language", "text", "heard"), [(one, *pair) for one, pairs in OTHERS.items() for pair in pairs]
)
def test_numbers_and_money_of_german_and_french_are_no_error_in_either_spelling(
    language: str, text: str, heard: str
) -> None:
    assert word_errors.compare(text, heard, language).errors == 0, (
        normalise(text, language),
        normalise(heard, language),
    )


def test_a_wrong_number_is_an_error_in_every_language() -> None:
    assert word_errors.compare("Es kostet 5 €", "Es kostet sechs Euro", "de").errors == 1
    assert word_errors.compare("à 10h30", "à dix heures vingt", "fr").errors == 1


@pytest.mark.parametrize(("text", "heard"), ALIKE)
def test_two_ways_to_write_what_is_said_are_no_error(text: str, heard: str) -> None:
    assert sorted(normalise(text).split()) == sorted(normalise(heard).split())


def test_words_in_brackets_are_words() -> None:
    assert normalise("one (two) [three] four") == normalise("one two three four")


def test_a_sentence_end_is_no_abbreviation() -> None:
    assert normalise("It was I. He left.") == "it was i he left"


def test_a_compound_may_be_written_apart() -> None:
    assert word_errors.compare("the lower-case letters", "The lowercase letters").errors == 0
    assert word_errors.compare("the lowercase letters", "The lower case letters").errors == 0
    assert word_errors.compare("a sun day", "a moon day").errors == 1


def test_other_languages_keep_their_words_and_say_their_numbers() -> None:
    assert normalise("Im Jahr 1455 (zu Fuß).", "de") == "im jahr vierzehnhundertfünfundfünfzig zu fuß"
    assert normalise("Im Jahr vierzehnhundertfünfundfünfzig, zu Fuß", "de") == normalise("im Jahr 1455 zu Fuß", "de")
    assert normalise("L\u2019an deux mille", "fr") == normalise("l'an 2000", "fr")
    assert normalise("你好，世界", "zh") == "你 好 世 界"
