"""Words: the one normalisation of what people and Whisper write, sentence ends, and what counts as a word.

`normalise` changes how a text is written and never what is said, so an edit of only spaces or quotation marks gives
the same segments, and the pipeline stops there.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import sentencex

VERSION = 1  # of `normalise`; raised when it gives another text for the same, as tests/golden knows
_HYPHENS = dict.fromkeys("\u2010\u2011\u2043\ufe63\uff0d", "-")  # join two parts of a word
_DASHES = re.compile(r"\s*[\u2012-\u2015]\s*")  # stand between words, or between numbers
_QUOTES = dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u2032", "'") | dict.fromkeys("\u201c\u201d\u201e\u201f", '"')
_WRITTEN = str.maketrans(_HYPHENS | _QUOTES | {"\u2026": "..."})
_JOINERS = "\u200c\u200d"  # invisible, and yet part of the spelling in Persian and in Indian scripts
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_STOPS = re.compile(r"[.!?…。！？]+(?=\s|$)")
_PHRASE = 4  # words, from which a sentence that is said twice is more than a common phrase
UNSPACED = {"ja", "km", "lo", "my", "th", "yue", "zh"}  # languages that write no space between words or sentences


def normalise(text: str) -> str:
    """NFC, plain quotes and hyphens, dashes as ` - `, no control characters, single spaces."""
    if text.isascii() and text.isprintable():  # nothing but its spaces can change, and most lines are so
        return " ".join(text.split())
    text = unicodedata.normalize("NFC", text).translate(_WRITTEN)
    text = " ".join(text.split())  # before the search for dashes, which tries each of 16,000 spaces with each other
    text = re.sub(r"(?<=\d)[\u2012-\u2015](?=\d)", "-", text)
    text = " ".join("".join(_visible(character) for character in _DASHES.sub(" - ", text)).split())
    return unicodedata.normalize("NFC", text)  # once more: a removed character may have kept two others apart


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co") and character not in _JOINERS
    return "" if hidden else character


def ends_sentence(text: str, following: str = "", language: str = "en") -> bool:
    """Whether a sentence ends with the last character of `text`; `following` settles `Mr.` and `etc.`"""
    text = text.rstrip().rstrip(")]}")
    rest = " " + (following.strip() or "Xyz")  # an unknown name: `Mr. Xyz` goes on, `They left. Xyz` does not
    position = 0
    for sentence in sentencex.segment(language, text + rest):
        position += len(sentence)
        if position >= len(text):
            return position <= len(text) + 1
    return False


def join(texts: list[str], language: str = "en") -> str:
    return ("" if language.split("-")[0] in UNSPACED else " ").join(texts)


def words(text: str) -> list[str]:
    """What is spoken, without case and punctuation: equal lists are the same sentence to the ear."""
    return list(_words(text))


@lru_cache(maxsize=2**16)
def _words(text: str) -> tuple[str, ...]:
    """Kept, because a table's texts are asked for several times."""
    return tuple(_WORD.findall(normalise(text).casefold()))


def judged_sentences(text: str) -> list[tuple[str, ...]]:
    """The words of a text as a whole, and of each of its sentences that is long enough to be no common phrase."""
    whole, parts = _words(text), [part for part in _STOPS.split(text) if part]
    if len(parts) == 1:  # and what stops it is no word
        return [whole]
    return list(dict.fromkeys([whole, *(part for part in map(_words, parts) if len(part) >= _PHRASE)]))
