"""Text as people write it, spelled out as it is said: numbers, money, times, dates, units, abbreviations, addresses.

    as_spoken("Dr. Lee pays £3.50 at 14:05.", "en")   # "Doctor Lee pays three pounds fifty at fourteen oh five."

families/english.py says the numbers of English, num2words the whole numbers of some forty other languages; dates,
units and abbreviations are those of English. What looks like a code or a name (`B12`, `v2`) stays as it is. Each
pattern looks at a piece of bounded length, so a flood of digits takes no longer than other text of its length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from timbre.core.text import normalise
from timbre.families import english
from timbre.project import pronunciations

LONGEST = 15  # digits of a number that is said as one; a longer one is said digit by digit
# languages whose whole numbers num2words says, all up to that length and in no time; in others it fails, or never ends
COUNTED = (
    "ar", "az", "be", "bn", "ca", "ce", "cs", "cy", "da", "de", "en", "eo", "es", "fa", "fi", "fr", "he", "hu", "id",
    "is", "it", "ja", "ko", "kz", "lt", "lv", "nl", "no", "pl", "pt", "ro", "ru", "sk", "sl", "sr", "sv", "tg", "th",
    "tr", "uk", "vi",
)  # fmt: skip
CURRENCIES = {"$": ("dollar", "cent"), "€": ("euro", "cent"), "£": ("pound", "penny")}
PLURALS = {"penny": "pence", "foot": "feet", "inch": "inches"}
UNITS = {
    "km/h": "kilometre per hour", "mph": "mile per hour", "km": "kilometre", "cm": "centimetre", "mm": "millimetre",
    "m": "metre", "kg": "kilogram", "mg": "milligram", "g": "gram", "ml": "millilitre", "l": "litre", "°C": "degree",
    "°F": "degree", "kHz": "kilohertz", "Hz": "hertz", "kB": "kilobyte", "MB": "megabyte", "GB": "gigabyte",
    "min": "minute", "s": "second", "h": "hour", "ft": "foot", "lb": "pound",
}  # fmt: skip
AFTER = {"°C": " Celsius", "°F": " Fahrenheit"}
UNCHANGED = {"hertz", "kilohertz"}
ABBREVIATIONS = {
    "dr.": "Doctor", "mr.": "Mister", "mrs.": "Missus", "ms.": "Miz", "prof.": "Professor", "st.": "Saint",
    "e.g.": "for example", "i.e.": "that is", "etc.": "et cetera", "vs.": "versus", "approx.": "approximately",
}  # fmt: skip
SIGNS = {"&": " and ", "%": " percent", "+": " plus ", "=": " equals ", "@": " at "}
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_KEPT = re.compile(r"(\s{0,9}\[pause:[^\]\n]{1,20}\]\s{0,9}|[ \t]{0,9}\n[ \t]{0,9}\n\s{0,9})")
_NUMBER = r"\d{1,3}(?:,\d{3}){1,4}(?!\d)(?:\.\d{1,15})?|\d{1,400}(?:\.\d{1,15})?"
_URL = re.compile(r"(?:https?://|www\.)[^\s<>\"]{1,200}|[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}", re.IGNORECASE)
_DATE = re.compile(r"(?<![\w-])(\d{4})-(\d{2})-(\d{2})(?![\w-])")
_TIME = re.compile(r"(?<![\w:.])([01]?\d|2[0-3]):([0-5]\d)(?:\s?([ap])\.?m\b\.?)?(?![\w:])", re.IGNORECASE)
_MONEY = re.compile(rf"([$€£])\s?({_NUMBER})(?![\w])")
_UNIT = re.compile(
    rf"(?<![\w.,-])(-?)({_NUMBER})\s?({'|'.join(map(re.escape, sorted(UNITS, key=len, reverse=True)))})(?!\w)"
)
_ORDINAL = re.compile(r"(?<![\w.,])(\d{1,6})(?:st|nd|rd|th)(?!\w)", re.IGNORECASE)
_RANGE = re.compile(rf"(?<![\w.,-])({_NUMBER})-({_NUMBER})(?![\w-])")
_VERSION = re.compile(r"(?<![\w.,])\d{1,6}(?:\.\d{1,6}){2,6}(?![\w])")
_PLAIN = re.compile(rf"(?<![\w.,])(-?)({_NUMBER})(?!\w)")
_ABBREVIATION = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, ABBREVIATIONS))})(?!\w)", re.IGNORECASE)
_SIGN = re.compile("|".join(map(re.escape, SIGNS)))


def as_spoken(text: str, language: str = "en", spellings: Mapping[str, str] | None = None) -> str:
    """The text as it is given to the voice; `spellings` are those of data/pronunciations.tsv."""
    text = pronunciations.apply(normalise(text), spellings or {})
    mine = language.split("-")[0].lower()
    for pattern, rewrite in (ENGLISH if mine == "en" else OTHERS).items():
        text = pattern.sub(lambda match, rewrite=rewrite: rewrite(match, mine), text)  # type: ignore[misc]
    return normalise(text)


def spelled_out(text: str, language: str = "en") -> str:
    """A whole text by data/pronunciations.tsv and `as_spoken`; its empty lines and `[pause:1s]` stay."""
    spellings = pronunciations.read(language)
    parts = _KEPT.split(text)
    return "".join(part if number % 2 else as_spoken(part, language, spellings) for number, part in enumerate(parts))


def number(digits: str, language: str) -> str:
    """As one number, or digit by digit where it is too long or begins with a zero."""
    digits = digits.replace(",", "")
    whole, _, part = digits.partition(".")
    if len(whole) > LONGEST or (len(whole) > 1 and whole.startswith("0")):
        spoken = " ".join(number(digit, language) for digit in whole)
    else:
        spoken = _cardinal(int(whole), language)
    return f"{spoken} point {' '.join(number(digit, language) for digit in part)}" if part else spoken


def _cardinal(whole: int, language: str) -> str:
    if language == "en":
        return english.cardinal(whole)
    from num2words import num2words

    return str(num2words(whole, lang=language)).replace(",", "")


def _url(match: re.Match[str], language: str) -> str:
    address = re.sub(r"^https?://(?:www\.)?", "", match[0], flags=re.IGNORECASE)
    end = address[-1] if address[-1] in ".,;:!?)" else ""
    address = address[: len(address) - len(end)].rstrip("/")
    for sign, name in {".": "dot", "/": "slash", "@": "at", "-": "dash", "_": "underscore", ":": "colon"}.items():
        address = address.replace(sign, f" {name} ")
    return f"{address}{end}"


def _date(match: re.Match[str], language: str) -> str:
    month, day = int(match[2]), int(match[3])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    return f"the {english.ordinal(day)} of {MONTHS[month - 1]} {english.year(int(match[1]))}"


def _time(match: re.Match[str], language: str) -> str:
    hour, minute = int(match[1]), int(match[2])
    half = f" {match[3].lower()} m" if match[3] else ""
    if minute == 0:
        return number(str(hour), language) + (half or " o'clock" if 0 < hour <= 12 else " hundred")
    minutes = number(str(minute), language) if minute > 9 else f"oh {number(str(minute), language)}"
    return f"{number(str(hour), language)} {minutes}{half}"


def _money(match: re.Match[str], language: str) -> str:
    coin, small = CURRENCIES[match[1]]
    whole, _, part = match[2].replace(",", "").partition(".")
    spoken = f"{number(whole, language)} {plural(coin, whole)}"
    if len(part) == 2 and int(part):
        rest = str(int(part))
        return (
            f"{number(rest, language)} {plural(small, rest)}"
            if not int(whole)
            else f"{spoken} {number(rest, language)}"
        )
    return spoken if not part.strip("0") else f"{number(f'{whole}.{part}', language)} {plural(coin, '2')}"


def _unit(match: re.Match[str], language: str) -> str:
    first, _, rest = UNITS[match[3]].partition(" ")
    sign = "minus " if match[1] else ""
    several = plural(first, match[2])
    return f"{sign}{number(match[2], language)} {several}{' ' + rest if rest else ''}{AFTER.get(match[3], '')}"


def plural(name: str, amount: str) -> str:
    return name if amount == "1" or name in UNCHANGED else PLURALS.get(name, f"{name}s")


def _ordinal(match: re.Match[str], language: str) -> str:
    return english.ordinal(int(match[1]))


def _range(match: re.Match[str], language: str) -> str:
    return f"{_said(match[1], language)} to {_said(match[2], language)}"


def _version(match: re.Match[str], language: str) -> str:
    return " point ".join(number(part, language) for part in match[0].split("."))


def _plain(match: re.Match[str], language: str) -> str:
    if language == "en":
        return f"{'minus ' if match[1] else ''}{_said(match[2], language)}"
    goes_on = re.match(r"[.,]\d", match.string[match.end() : match.end() + 2])  # how it is read, the language says
    whole = match[0].isdecimal() and not goes_on and language in COUNTED
    return _said(match[0], language) if whole else match[0]


def _said(digits: str, language: str) -> str:
    """Four digits from 1100 to 2099 are a year."""
    if language == "en" and re.fullmatch(r"1[1-9]\d\d|20\d\d", digits):
        return english.year(int(digits))
    return number(digits, language)


Said = Callable[[re.Match[str], str], str]
OTHERS: dict[re.Pattern[str], Said] = {_PLAIN: _plain}
ENGLISH: dict[re.Pattern[str], Said] = {
    _URL: _url,
    _ABBREVIATION: lambda match, language: ABBREVIATIONS[match[0].lower()],
    _DATE: _date,
    _TIME: _time,
    _MONEY: _money,
    _UNIT: _unit,
    _ORDINAL: _ordinal,
    _RANGE: _range,
    _VERSION: _version,
    _PLAIN: _plain,
    _SIGN: lambda match, language: SIGNS[match[0]],
}
