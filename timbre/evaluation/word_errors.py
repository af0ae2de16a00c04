"""What was said against what was heard: wrong words and characters, where they are, and what is said twice."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import jiwer

from timbre import asr


@dataclass(frozen=True)
class Reading:
    """A text as it was read, by Whisper's ear; both normalised, so that "5" and "five" are the same."""

    wer: float  # errors / words
    cer: float  # wrong characters / characters
    errors: int  # words substituted, left out or added
    words: int  # of the text
    repeated: bool
    diff: str  # word by word, in the notation of wdiff: said [-left out-] {+added+}


def compare(text: str, heard: str, language: str = "en") -> Reading:
    """ValueError where the text has no word to be heard."""
    expected, understood = alike(text, heard, language)
    if not any(character.isalnum() for character in expected):
        raise ValueError(f"{text!r} has no words to be heard")
    words, characters = jiwer.process_words(expected, understood), jiwer.process_characters(expected, understood)
    return Reading(
        wer=words.wer,
        cer=characters.cer,
        errors=words.substitutions + words.deletions + words.insertions,
        words=len(expected.split()),
        repeated=repeats(expected.split(), understood.split()),
        diff=wdiff(words),
    )


class Characters(NamedTuple):
    wrong: int  # substituted, left out or added
    of: int


def alike(text: str, heard: str, language: str = "en") -> tuple[str, str]:
    """Both as they are compared; `lower case` and `lowercase` are written as the text writes them."""
    said, understood = asr.normalise(text, language), asr.normalise(heard, language)
    words = said.split()
    pairs, known = {first + second: f"{first} {second}" for first, second in pairwise(words)}, set(words)
    parted = [pairs.get(word, word) if word not in known else word for word in understood.split()]
    joined: list[str] = []
    for word in " ".join(parted).split():
        whole = joined[-1] + word if joined else ""
        if whole in known and whole not in pairs:
            joined[-1] = whole
        else:
            joined.append(word)
    return said, " ".join(joined)


@functools.lru_cache
def characters(text: str, heard: str, language: str = "en") -> Characters:
    alignment = jiwer.process_characters(*alike(text, heard, language))
    wrong = alignment.substitutions + alignment.deletions + alignment.insertions
    return Characters(wrong, alignment.hits + alignment.substitutions + alignment.deletions)


def repeats(expected_words: Sequence[str], heard: Sequence[str]) -> bool:
    """Whether a word is heard twice in a row, or a pair of words twice, that is not so in the text."""
    pairs, expected = _pairs(heard), _pairs(expected_words)
    return any(
        (first == second or count > 1) and count > expected[first, second] for (first, second), count in pairs.items()
    )


def _pairs(words: Sequence[str]) -> Counter[tuple[str, str]]:
    return Counter(pairwise(words))


def wdiff(words: jiwer.WordOutput) -> str:
    parts = []
    for chunk in words.alignments[0]:
        expected = " ".join(words.references[0][chunk.ref_start_idx : chunk.ref_end_idx])
        heard = " ".join(words.hypotheses[0][chunk.hyp_start_idx : chunk.hyp_end_idx])
        if chunk.type == "equal":
            parts.append(expected)
            continue
        parts += [f"[-{expected}-]"] * bool(expected) + [f"{{+{heard}+}}"] * bool(heard)
    return " ".join(parts)
