"""How German and French say what they write in digits and signs: money, decimals, times of day, percentages.

    SAID["de"].amounts("3,50 € um 10:30 Uhr")     # drei euro fünfzig um zehn uhr dreißig
    SAID["fr"].amounts("5 % à 21h")               # cinq pour cent à vingt et une heures

Small letters in, small letters out. What depends on the sentence stays as it is written: the ending of a German ordinal
(3. Mai), and the gender of a one (1 Hund).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

LONGEST = 12  # digits that are said as one number
NUMBER = r"(\d{1,3}(?:[.\u00a0\u202f ]\d{3})+|\d+)"  # with points or spaces between thousands, or without
_MONEY_BEHIND = re.compile(rf"(?<![\d,.]){NUMBER}(?:,(\d\d))?\s?(€|\$|£|euros?\b|dollars?\b|pfund\b)")
_MONEY_BEFORE = re.compile(rf"([€$£])\s?{NUMBER}(?:,(\d\d))?(?!\d)")
_DECIMAL = re.compile(rf"(?<![\d,.]){NUMBER},(\d+)(?![\d,])")
_PERCENT = re.compile(r"\s?%")
_HOUR = r"(?<![\d:.,])([01]?\d|2[0-4])"
_SIGNS = {"e": "€", "d": "$", "p": "£"}  # by the first letter of the word


@dataclass(frozen=True)
class SpokenAmounts:
    language: str
    money: Mapping[str, tuple[str, str, str]]  # sign → after one, after more, one of them
    cent: str
    point: str  # between a number and its decimals
    digits: bool  # whether decimals are said one by one
    percent: str
    clock: re.Pattern[str]  # hours, minutes
    hour: tuple[str, str]  # after one, after more
    feminine_hours: bool

    def amounts(self, text: str) -> str:
        text = self.clock.sub(self._time, text)
        text = _MONEY_BEHIND.sub(lambda m: self._sum(m[1], m[2], _SIGNS.get(m[3][0], m[3])), text)
        text = _MONEY_BEFORE.sub(lambda m: self._sum(m[2], m[3], m[1]), text)
        text = _PERCENT.sub(f" {self.percent}", _DECIMAL.sub(self._decimal, text))
        for sign, (_, many, _) in self.money.items():
            text = text.replace(sign, f" {many} ")
        return text

    def _sum(self, whole: str, cents: str | None, sign: str) -> str:
        units, small = _plain(whole), int(cents or 0)
        if units == "0" and small:
            return f"{self._number(str(small))} {self.cent}"
        one, many, single = self.money[sign]
        few = int(units) < 2 if self.language == "fr" else int(units) == 1
        said = f"{single if units == '1' else self._number(units)} {one if few else many}"
        return f"{said} {self._number(str(small))}" if small else said

    def _decimal(self, found: re.Match[str]) -> str:
        whole, rest = self._number(_plain(found[1])), found[2]
        zeros = len(rest) - len(rest.lstrip("0"))
        parts = list(rest) if self.digits else [*("0" * zeros), *([rest[zeros:]] if rest[zeros:] else [])]
        return f"{whole} {self.point} {' '.join(map(self._number, parts))}"

    def _time(self, found: re.Match[str]) -> str:
        hours, minutes = map(int, (*filter(None, found.groups()), "0")[:2])
        one, many = self.hour
        said = self._number(str(hours))
        if self.feminine_hours and hours % 10 == 1 and hours != 11:
            said += "e"
        elif not self.feminine_hours and hours == 1:
            said = "ein"
        return f"{said} {one if hours < 2 else many}" + (f" {self._number(str(minutes))}" if minutes else "")

    def _number(self, digits: str) -> str:
        return spelt(digits, self.language)


def _plain(digits: str) -> str:
    return re.sub(r"\D", "", digits)


def spelt(digits: str, language: str) -> str:
    """A whole number in words; as it is written where nobody knows them."""
    if len(digits) > LONGEST:
        return digits
    from num2words import num2words

    year = len(digits) == 4 and "1100" <= digits < "2000"
    try:
        return str(num2words(int(digits), lang=language, to="year" if year else "cardinal")).lower()
    except (NotImplementedError, OverflowError, KeyError, IndexError):
        return digits


SAID = {
    "de": SpokenAmounts(
        "de",
        {"€": ("euro", "euro", "ein"), "$": ("dollar", "dollar", "ein"), "£": ("pfund", "pfund", "ein")},
        "cent", "komma", True, "prozent",
        re.compile(rf"{_HOUR}(?:[:.]([0-5]\d))? ?uhr\b|{_HOUR}:([0-5]\d)\b"),
        ("uhr", "uhr"), False,
    ),
    "fr": SpokenAmounts(
        "fr",
        {"€": ("euro", "euros", "un"), "$": ("dollar", "dollars", "un"), "£": ("livre", "livres", "une")},
        "centimes", "virgule", False, "pour cent",
        re.compile(rf"{_HOUR} ?(?:h|heures?)(?: ?([0-5]\d))?\b|{_HOUR}:([0-5]\d)\b"),
        ("heure", "heures"), True,
    ),
}  # fmt: skip
