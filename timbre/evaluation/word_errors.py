"""What was said against what was heard: wrong words and characters, where they are, and what is said twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import jiwer

from timbre.asr.alignment import alike, characters

LOOP = 4  # times in a row, from where a phrase is no way to speak
PHRASE = 8  # words of the longest phrase that a recogniser repeats


@dataclass(frozen=True)
class Reading:
    """A text as it was read, by Whisper's ear; both normalised, so that "5" and "five" are the same."""

    wer: float  # errors / words, at most 1
    cer: float  # wrong characters / characters, at most 1
    errors: int  # words substituted, left out or added; at most `words`, so that no sample outweighs the others
    words: int  # of the text
    repeated: bool
    looped: bool  # Whisper wrote the same words over and over
    diff: str  # word by word, in the notation of wdiff: said [-left out-] {+added+}


def compare(text: str, heard: str, language: str = "en") -> Reading:
    """ValueError where the text has no word to be heard."""
    expected, understood = alike(text, heard, language)
    if not any(character.isalnum() for character in expected):
        raise ValueError(f"{text!r} has no words to be heard")
    words = jiwer.process_words(expected, understood)
    count = len(expected.split())
    errors = min(words.substitutions + words.deletions + words.insertions, count)
    return Reading(
        wer=errors / count,
        cer=characters(text, heard, language).rate,
        errors=errors,
        words=count,
        repeated=repeats(expected.split(), understood.split()),
        looped=longest_loop(understood.split()) > max(longest_loop(expected.split()), LOOP - 1),
        diff=wdiff(words),
    )


def longest_loop(words: Sequence[str]) -> int:
    """How many times in a row the same words stand, of the phrase that is repeated most."""
    most = int(bool(words))
    for size in range(1, min(PHRASE, len(words) // 2) + 1):
        run = 0  # words in a row that are those `size` words before
        for place in range(size, len(words)):
            run = run + 1 if words[place] == words[place - size] else 0
            most = max(most, run // size + 1)
    return most


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
