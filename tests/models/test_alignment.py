"""Text beside what was heard, sentence by sentence."""

from __future__ import annotations

import pytest

from timbre.asr.alignment import characters, other_numbers, worst

FERRY = ["The night ferry waits at the pier.", "Passengers with coffee go to pier five.", "It is late in the harbour."]


@pytest.mark.parametrize(
    ("heard", "least", "most"),
    [
        (" ".join(FERRY), 0.0, 0.0),
        (f"{FERRY[0]} Seven old wolves are singing now. {FERRY[2]}", 0.6, 1.0),  # the middle one is another
        (f"{FERRY[0]} {FERRY[1]}", 0.9, 1.0),  # the last one was not said
        (f"{FERRY[0]} Passengers with toffee go to pier five. {FERRY[2]}", 0.02, 0.04),
    ],
)
def test_one_wrong_sentence_of_three_is_seen(heard: str, least: float, most: float) -> None:
    assert least <= worst(FERRY, heard) <= most
    assert characters(" ".join(FERRY), heard).rate <= worst(FERRY, heard)


def test_a_sentence_of_one_word_does_not_condemn_a_clip_alone() -> None:
    assert worst(["Yes.", FERRY[0], "No."], f"Yep. {FERRY[0]} Now.") < 0.2
    assert worst([], "anything") == worst(["…"], "") == 0.0


@pytest.mark.parametrize(
    ("text", "heard", "language", "numbers"),
    [
        ("The ferry to pier ten waits.", "The ferry to pier twelve waits.", "en", "10 heard as 12"),
        ("The ferry to pier 10 waits.", "The ferry to pier ten waits.", "en", ""),
        ("It waits at four, for two.", "It waits for for two.", "en", ""),  # a number that sounds like a word
        ("Gleis zwölf um 10 Uhr.", "Gleis elf um zehn Uhr.", "de", "zwölf heard as elf"),
        ("Le train de 21 heures.", "Le train de onze heures.", "fr", "vingt heard as onze"),
        ("", "twelve", "en", ""),
    ],
)
def test_a_number_that_is_heard_as_another_is_named(text: str, heard: str, language: str, numbers: str) -> None:
    assert other_numbers(text, heard, language) == numbers
