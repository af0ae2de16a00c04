"""English as it is said: numbers, money and short forms in words, for models that know letters or phones.

    as_said("Dr. Smith paid $3.50 in 1984.")   # Doctor Smith paid three dollars fifty in nineteen eighty-four.

inflect, which does this, takes 9 s to import; num2words knows no money, clock or short form. What `timbre say` spells
out for a user (timbre/synthesis/written_text.py) says its English numbers by the functions here.
"""

from __future__ import annotations

import re
from collections.abc import Callable

VERSION = 1  # raised when the same text gives other words: models then hear something else
WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety"
)
SMALL, TENS = WORDS.split()[:20], WORDS.split()[20:]
GROUPS = ("", "thousand", "million", "billion", "trillion")
ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip
MONEY = {"$": ("dollar", "dollars"), "£": ("pound", "pounds"), "€": ("euro", "euros")}
SHORT = {
    "mr": "mister", "mrs": "missus", "dr": "doctor", "st": "saint", "co": "company", "jr": "junior", "sr": "senior",
    "prof": "professor", "gen": "general", "rev": "reverend", "lt": "lieutenant", "sgt": "sergeant", "capt": "captain",
    "col": "colonel", "ltd": "limited", "ft": "fort", "vs": "versus", "etc": "et cetera",
}  # fmt: skip
SYMBOLS = {"&": "and", "%": "percent", "@": "at", "#": "hash", "+": "plus", "=": "equals", "°": "degrees"}
FIRST_YEAR, LAST_YEAR = 1100, 2099  # four digits that are said in pairs


def as_said(text: str) -> str:
    for pattern, words in RULES:
        text = pattern.sub(words, text)
    return " ".join(text.split())


def cardinal(number: int) -> str:
    if number < 20:
        return SMALL[number]
    if number < 100:
        rest = number % 10
        return TENS[number // 10 - 2] + (f"-{SMALL[rest]}" if rest else "")
    if number < 1000:
        rest = number % 100
        return f"{SMALL[number // 100]} hundred" + (f" and {cardinal(rest)}" if rest else "")
    if number >= 1000 ** len(GROUPS):
        return digits(str(number))
    return _in_groups(number)


def _in_groups(number: int) -> str:
    parts: list[str] = []
    for place in reversed(range(len(GROUPS))):
        group = number // 1000**place % 1000
        if group:
            joint = "and " if place == 0 and group < 100 and parts else ""
            parts.append(f"{joint}{cardinal(group)} {GROUPS[place]}".strip())
    return " ".join(parts)


def ordinal(number: int) -> str:
    *before, last = re.split(r"([ -])", cardinal(number))
    regular = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return "".join((*before, ORDINALS.get(last, regular)))


def year(number: int) -> str:
    century, rest = divmod(number, 100)
    if not century or (century % 10 == 0 and rest < 10):
        return cardinal(number)  # sixty-six, two thousand and five
    if not rest:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def digits(number: str) -> str:
    return " ".join(SMALL[int(digit)] for digit in number)


def _money(match: re.Match[str]) -> str:
    one, many = MONEY[match[1]]
    whole, cents = int(match[2].replace(",", "")), match[3] and int(match[3])
    spoken = f"{cardinal(whole)} {one if whole == 1 else many}"
    return f"{spoken} {cardinal(cents)}" if cents else spoken


def _whole(match: re.Match[str]) -> str:
    written = match[0]
    number = int(written.replace(",", ""))
    if written[0] == "0" and len(written) > 1:
        return digits(written)
    return year(number) if "," not in written and FIRST_YEAR <= number <= LAST_YEAR else cardinal(number)


def _fraction(match: re.Match[str]) -> str:
    return f"{cardinal(int(match[1].replace(',', '')))} point {digits(match[2])}"


def _clock(match: re.Match[str]) -> str:
    hours, minutes = int(match[1]), int(match[2])
    if not minutes:
        return f"{cardinal(hours)} o'clock" if 0 < hours <= 12 else f"{cardinal(hours)} hundred"
    return f"{cardinal(hours)} {'oh ' if minutes < 10 else ''}{cardinal(minutes)}"


Rule = Callable[[re.Match[str]], str]
NUMBER = r"\d{1,3}(?:,\d{3})+|\d+"
RULES: list[tuple[re.Pattern[str], Rule]] = [
    (re.compile(rf"\b({'|'.join(SHORT)})\.(?=\s|$)", re.I), lambda match: SHORT[match[1].lower()]),
    (re.compile(rf"([$£€])({NUMBER})(?:\.(\d\d))?(?!\d)"), _money),
    (re.compile(r"\b([01]?\d|2[0-3]):([0-5]\d)\b"), _clock),
    (re.compile(rf"({NUMBER})(?:st|nd|rd|th)\b", re.I), lambda match: ordinal(int(match[1].replace(",", "")))),
    (re.compile(rf"({NUMBER})\.(\d+)"), _fraction),
    (re.compile(r"(?<![\w.])-(?=\d)"), lambda match: "minus "),
    (re.compile(r"(?<=\d)\s*-\s*(?=\d)"), lambda match: " to "),
    (re.compile(NUMBER), _whole),
    (re.compile("[" + re.escape("".join(SYMBOLS)) + "]"), lambda match: f" {SYMBOLS[match[0]]} "),
]  # fmt: skip
