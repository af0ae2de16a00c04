"""What was said beside what was heard, written alike; and the one count of wrong characters."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import jiwer

from timbre.asr.amounts import spelt
from timbre.asr.normalising import normalise

VERSION = 1  # raise when the same words give another rate or other numbers: `check` finds those of before again
SHORT = 15  # characters: of so few, one wrong word may be half


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


def worst(parts: Sequence[str], heard: str, language: str = "en") -> float:
    """The largest rate of wrong characters in one part of a text, such as a sentence; a short part joins its neighbour.

    Over a whole clip, one sentence that is wrong from beginning to end is outweighed by the others.
    """
    said: list[str] = []
    for part in parts:
        short = said and len(said[-1]) < SHORT
        written = normalise(part, language)
        said[-1:] = [f"{said[-1]} {written}".strip()] if short else [*said[-1:], written]
    if len(said) > 1 and len(said[-1]) < SHORT:
        said[-2:] = [f"{said[-2]} {said[-1]}"]
    if not _has_words(whole := " ".join(said)):
        return 0.0
    ends = list(accumulate(len(part) + 1 for part in said))
    wrong = [0] * len(said)
    for step in jiwer.process_characters(whole, alike(whole, heard, language)[1]).alignments[0]:
        if step.type == "insert":
            at = min(bisect_right(ends, step.ref_start_idx), len(said) - 1)
            wrong[at] += step.hyp_end_idx - step.hyp_start_idx
        elif step.type != "equal":
            for place in range(step.ref_start_idx, step.ref_end_idx):
                wrong[bisect_right(ends, place)] += 1
    return max(min(1.0, count / len(part)) for count, part in zip(wrong, said, strict=True) if part)


def _has_words(text: str) -> bool:
    return any(character.isalnum() for character in text)


def other_numbers(text: str, heard: str, language: str = "en") -> str:
    """Where a number is heard as another one: `12 heard as 10`, and the next; empty where there is none.

    Few characters are wrong there, and the sense is. A number that is heard as a word (`four` as `for`) is left to the
    rate of characters.
    """
    said, understood = (side.split() for side in alike(text, heard, language))
    pairs: list[str] = []
    for step in jiwer.process_words(" ".join(said) or "-", " ".join(understood) or "-").alignments[0]:
        if step.type == "substitute":
            written, other = said[step.ref_start_idx : step.ref_end_idx], understood[step.hyp_start_idx :]
            both = zip(written, other, strict=False)
            pairs += [f"{a} heard as {b}" for a, b in both if _is_number(a, language) and _is_number(b, language)]
    return ", ".join(pairs)


def _is_number(word: str, language: str) -> bool:
    return word.isdecimal() or word in _number_words(language.split("-")[0])


@functools.cache
def _number_words(language: str) -> frozenset[str]:
    """Those of one word up to a hundred; English writes digits, and of other languages not all are known."""
    words = [spelt(str(number), language) for number in range(101)] if language != "en" else []
    return frozenset(word for word in words if word.isalpha())
