"""What was said beside what was heard, written alike; and the one count of wrong characters."""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import NamedTuple

import jiwer

from timbre.asr.normalising import normalise


class Characters(NamedTuple):
    wrong: int  # substituted, left out or added; at most `of`, so that no sample outweighs the others
    of: int

    @property
    def rate(self) -> float:
        """From 0 to 1."""
        return self.wrong / self.of if self.of else 0.0


def alike(text: str, heard: str, language: str = "en") -> tuple[str, str]:
    """Both as they are compared; `lower case` and `lowercase` are written as the text writes them."""
    said, understood = normalise(text, language), normalise(heard, language)
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
    """Of a text without any, what is heard is one wrong character of one."""
    said, understood = alike(text, heard, language)
    if not _has_words(said):
        return Characters(1, 1) if _has_words(understood) else Characters(0, 0)
    alignment = jiwer.process_characters(said, understood)
    wrong = alignment.substitutions + alignment.deletions + alignment.insertions
    count = alignment.hits + alignment.substitutions + alignment.deletions
    return Characters(min(wrong, count), count)


def _has_words(text: str) -> bool:
    return any(character.isalnum() for character in text)
