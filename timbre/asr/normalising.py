"""What was said and what was heard, written the same way before they are compared: one way for labels and evaluation.

    normalise("He left at 10:30 p.m. (on foot), with $5.")    # he left at 1030 pm on foot with $5

Around openai-whisper's normaliser, for what it gets wrong: it deletes what stands in brackets, which a reader reads; it
tells `p.m.` from `pm`, and 10:30 from ten thirty. Languages other than English lose case and punctuation, as by
Whisper's normaliser for them, and keep what stands in brackets; their whole numbers are spelt out where num2words knows
how. German and French say money, decimals, times of day and percentages, too (timbre/asr/amounts.py).
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import re
import sys
import unicodedata
from pathlib import Path
from typing import Any

from timbre.asr.amounts import SAID, spelt
from timbre.core.text import UNSPACED

VERSION = 1  # raise when the same text gives other words: rates of two versions cannot be compared
OTHER_VERSION = 2  # the same for languages other than English

_MARKS = str.maketrans(dict.fromkeys("()[]{}<>", " ") | {"\u2019": "'", "\u2018": "'", "\u02bc": "'"})
_ABBREVIATED = re.compile(r"\b(?:[^\W\d_]\. ?)+[^\W\d_]\.(?!\w)")  # p.m., U.S., J. R. R.
_CLOCK = re.compile(r"\b(\d{1,2}):(\d\d)\b")
_O_CLOCK = re.compile(r"(?<=\w) o'clock\b")
_SIGNS = {"&": " and ", "@": " at ", "+": " plus ", "=": " equals ", "°": " degrees "}
_NUMBERED = re.compile(r"(?:\bno\.|\bnos\.|#|№)\s*(?=\d)")
_MONEY = re.compile(r"([$£€])\s?(\d[\d,]*(?:\.\d+)?) (hundred|thousand|million|billion|trillion)\b")
_UNITS = {"$": "dollars", "£": "pounds", "€": "euros"}
_SHORT = {"ok": "okay", "etc.": "et cetera", "vs.": "versus", "co.": "company", "ltd.": "limited"}
_SHORTENED = re.compile("|".join(rf"\b{re.escape(short)}(?!\w)" for short in _SHORT))
_DIGITS = re.compile(r"\d+")
_THOUSANDS = re.compile(r"(?<=\d)[.,\u00a0\u202f ](?=\d{3}\b)")
_SPELT = {"ca", "cs", "da", "de", "es", "fi", "fr", "hu", "id", "it", "nl", "no", "pl", "pt", "ro", "sv", "tr", "uk"}


@functools.cache  # asking for a package's version reads its files
def normaliser(language: str = "en") -> str:
    """Which normaliser it is: rates of two versions of it cannot be compared."""
    if language.split("-")[0] != "en":
        return f"timbre {OTHER_VERSION}, num2words {importlib.metadata.version('num2words')}"
    return f"timbre {VERSION}, openai-whisper {importlib.metadata.version('openai-whisper')}"


def counts(language: str) -> bool:
    """Whether a number in digits is the same as the number in words."""
    return language.split("-")[0] in {"en", *_SPELT}


@functools.lru_cache(maxsize=64)  # a text is asked for as a whole, by its sentences and by its numbers
def normalise(text: str, language: str = "en") -> str:
    """Words alone, as word error rates are counted: no case, no punctuation, `twenty` and 20 the same."""
    text = " ".join(unicodedata.normalize("NFC", text).translate(_MARKS).split()).lower()
    text = _ABBREVIATED.sub(_joined, text)
    return _english(text) if language.split("-")[0] == "en" else _other(text, language.split("-")[0])


def _joined(found: re.Match[str]) -> str:
    return found[0].replace(".", "").replace(" ", "")


def _english(text: str) -> str:
    text = _CLOCK.sub(lambda found: found[1] + (found[2] if found[2] != "00" else ""), text)
    text = _MONEY.sub(lambda found: f"{found[2]} {found[3]} {_UNITS[found[1]]}", text)
    text = _NUMBERED.sub("number ", _O_CLOCK.sub("", text))
    text = _SHORTENED.sub(lambda found: _SHORT[found[0]], text)
    for sign, word in _SIGNS.items():
        text = text.replace(sign, word)
    text = text.replace(" %", "%")
    return str(_whisper()(text)).strip()


def _other(text: str, language: str) -> str:
    if language in SAID:
        text = SAID[language].amounts(text)
    if language in _SPELT:
        text = _DIGITS.sub(lambda found: spelt(found[0], language), _THOUSANDS.sub("", text))
    kept = "".join(" " if unicodedata.category(c)[0] in "PSZ" else c for c in unicodedata.normalize("NFKC", text))
    if language in UNSPACED:
        kept = " ".join(character for character in kept if not character.isspace())
    return " ".join(kept.split())


@functools.cache
def _whisper() -> Any:
    """Whisper's normaliser by itself: `import whisper` loads torch, for which a word's edit has no use."""
    name = "whisper.normalizers"
    if "whisper" in sys.modules:
        return importlib.import_module(name).EnglishTextNormalizer()
    whisper = importlib.util.find_spec("whisper")
    assert whisper, "openai-whisper is installed"
    assert whisper.submodule_search_locations, "it is a package"
    folder = Path(whisper.submodule_search_locations[0]) / "normalizers"
    alone = importlib.util.spec_from_file_location(
        name.replace(".", "_"), folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert alone, "it has normalisers"
    assert alone.loader, "they are files"
    module = importlib.util.module_from_spec(alone)
    sys.modules[alone.name] = module
    alone.loader.exec_module(module)
    return module.EnglishTextNormalizer()
