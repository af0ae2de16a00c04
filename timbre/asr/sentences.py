"""Utterances of Whisper, parted where a sentence ends: its own end with the window, or where it took a breath.

A line that ends with a sentence can end a clip. The times are those of the words beside the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from timbre.asr import HeardUtterance, Word
from timbre.core.text import ends_sentence

_MAY_END = re.compile(r"[.!?…。！？][\"'”’)\]]*$")


def by_sentence(utterances: Sequence[HeardUtterance], language: str) -> list[HeardUtterance]:
    return [part for utterance in utterances for part in _parts(utterance, language)]


def _parts(utterance: HeardUtterance, language: str) -> Iterator[HeardUtterance]:
    words, first, start = utterance.words, 0, utterance.start
    if "".join(word.word for word in words).split() != utterance.text.split():  # some word has no time
        yield utterance
        return
    for place in range(1, len(words)):
        before, after = _text(words[first:place]), _text(words[place:])
        if _MAY_END.search(before) and ends_sentence(before, after, language):
            yield replace(utterance, start=start, end=words[place - 1].end, text=before, words=words[first:place])
            first, start = place, words[place].start
    yield replace(utterance, start=start, text=_text(words[first:]) or utterance.text, words=words[first:])


def _text(words: Sequence[Word]) -> str:
    return " ".join("".join(word.word for word in words).split())
