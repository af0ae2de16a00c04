"""English text as the phones that GPT-SoVITS was trained with, and their ids among its 732 symbols.

    phones("The ferry waits.")     # ["DH", "AH0", "F", "EH1", "R", "IY0", "W", "EY1", "T", "S", "."]

Words are looked up in the CMU Pronouncing Dictionary (cmudict.txt.gz; its licence lies beside it), the first of several
pronunciations, as upstream does. Upstream guesses the others with g2p_en, which needs NLTK's data and a package under
the GPL. Here a word is taken apart, or spelled where it is a short form; any other is named, so that a person can write
it as it sounds.
"""

from __future__ import annotations

import functools
import gzip
import re
import unicodedata
from pathlib import Path

from timbre.core.errors import ModelError
from timbre.families import english

LANGUAGES = ("en",)  # whose text front end is here
VERSION = f"1.{english.VERSION}"  # raised when the same text gives other phones
DICTIONARY = Path(__file__).parent / "cmudict.txt.gz"
MARKS = "!?…,.-"  # phones too
WRITTEN = str.maketrans({";": ",", ":": ",", "’": "'", "‘": "'", "—": "-", "–": "-", "(": ",", ")": ","})
PHONES = 732  # symbols of v2 and v2Pro; v1 has 322
SHORTEST = 6  # phones; a shorter text is begun with a full stop, as upstream does against hallucinations
SPELLED = 4  # letters, at most, of a short form that is said letter by letter
LEAST_PART = 3  # letters of each part of a compound
# Of PHONES, those of English; their places in upstream's sorted list.
NUMBERED = """
    !:0 ,:1 -:2 .:3 ?:4 …:321 UNK:86
    AA0:6 AA1:7 AA2:8 AE0:9 AE1:10 AE2:11 AH0:12 AH1:13 AH2:14 AO0:15 AO1:16 AO2:17 AW0:18 AW1:19 AW2:20 AY0:21 AY1:22
    AY2:23 B:24 CH:25 D:26 DH:27 EH0:34 EH1:35 EH2:36 ER:37 ER0:38 ER1:39 ER2:40 EY0:41 EY1:42 EY2:43 F:49 G:50 HH:51
    IH:53 IH0:54 IH1:55 IH2:56 IY0:57 IY1:58 IY2:59 JH:60 K:61 L:62 M:63 N:64 NG:65 OW0:67 OW1:68 OW2:69 OY0:70 OY1:71
    OY2:72 P:73 R:74 S:75 SH:76 T:80 TH:81 UH0:83 UH1:84 UH2:85 UW0:87 UW1:88 UW2:89 V:90 W:91 Y:92 Z:93 ZH:94
"""
IDS = {phone: int(number) for phone, number in (entry.rsplit(":", 1) for entry in NUMBERED.split())}
ADDED = {"penzance": "P EH0 N Z AE1 N S"}  # what the dictionary lacks and the demo says
HISSING, VOICELESS = {"S", "Z", "SH", "ZH", "CH", "JH"}, {"P", "T", "K", "F", "TH"}


class UnknownWordError(ModelError):
    """A word that has no phones."""


def ids(text: str) -> list[int]:
    numbers = [IDS[phone] for phone in phones(text)]
    return numbers if len(numbers) >= SHORTEST else [IDS["."], *numbers]


def phones(text: str) -> list[str]:
    spoken: list[str] = []
    for token in re.findall(rf"[A-Za-z]+(?:'[A-Za-z]+)*'?|[{re.escape(MARKS)}]", written(text)):
        if token not in MARKS:
            spoken += word(token)
        elif not spoken or spoken[-1] not in MARKS:  # several marks are one
            spoken.append(token)
    if not any(phone not in MARKS for phone in spoken):
        raise UnknownWordError(f"{text!r} has no word that can be spoken in English")
    return spoken


def written(text: str) -> str:
    """Numbers in words, letters without accents, the marks that are phones."""
    plain = unicodedata.normalize("NFD", english.as_said(text.replace("...", "…")).translate(WRITTEN))
    return "".join(letter for letter in plain if unicodedata.category(letter) != "Mn")


def word(token: str) -> list[str]:
    if pronunciation := known(token):
        return pronunciation
    raise UnknownWordError(
        f"{token!r} is not in the pronouncing dictionary; write it as it sounds, in words that are (Zubrzycki: zoo "
        "brits key), in the transcript or the prompt"
    )


def known(token: str) -> list[str]:
    """Phones of a word, or none: as a whole, with 's, spelled, or of two words."""
    small = token.lower()
    if phones := dictionary().get(small) or dictionary().get(small.strip("'")):
        return phones.split()
    if small.endswith("'s") and (stem := known(token[:-2])):
        return [*stem, *_possessive(stem[-1])]
    if token.isupper() and len(token) <= SPELLED:
        return [phone for letter in small for phone in _letter(letter)]
    for cut in range(len(small) - LEAST_PART, LEAST_PART - 1, -1):  # the longest first part
        first, last = dictionary().get(small[:cut]), dictionary().get(small[cut:])
        if first and last:
            return [*first.split(), *last.split()]
    return []


def _letter(letter: str) -> list[str]:
    return ["EY1"] if letter == "a" else dictionary()[letter].split()


def _possessive(last: str) -> list[str]:
    if last in HISSING:
        return ["AH0", "Z"]
    return ["S"] if last in VOICELESS else ["Z"]


@functools.cache
def dictionary() -> dict[str, str]:
    """Word → phones."""
    with gzip.open(DICTIONARY, "rt", encoding="utf-8") as lines:
        return ADDED | dict(line.rstrip("\n").split(" ", 1) for line in lines)
