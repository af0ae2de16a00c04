"""Utterances of Whisper, parted where a sentence ends: its own end with the window, or where it took a breath.

A line that ends with a sentence can end a clip. The times are those of the words beside the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from timbre.asr import HeardUtterance, Word
from timbre.core.text import ends_sentence, join

BREATH = 1.0  # seconds between two utterances, from where on they are not one sentence
_MAY_END = re.compile(r"[.!?…。！？][\"'”’)\]]*$")


def by_sentence(utterances: Sequence[HeardUtterance], language: str) -> list[HeardUtterance]:
    return [part for utterance in utterances for part in _parts(utterance, language)]


def joined(utterances: Sequence[HeardUtterance], language: str) -> list[HeardUtterance]:
    """Whole sentences, of utterances that go no further than a sentence; one without word times stays alone."""
    sentences: list[HeardUtterance] = []
    for after in utterances:
        before = sentences[-1] if sentences else None
        if (
            before is None
            or not (before.words and after.words)
            or after.start - before.end > BREATH
            or ends_sentence(before.text, after.text, language)
        ):
            sentences.append(after)
            continue
        sentences[-1] = replace(
            before,
            end=after.end,
            text=join([before.text, after.text], language),
            words=[*before.words, *after.words],
            avg_logprob=min(before.avg_logprob, after.avg_logprob),
            no_speech_prob=max(before.no_speech_prob, after.no_speech_prob),
        )
    return sentences


def parted(utterance: HeardUtterance, places: Sequence[int]) -> list[HeardUtterance]:
    """The utterance in parts, which begin with the words at these places."""
    edges = [0, *places, len(utterance.words)]
    if len(edges) == 2:
        return [utterance]
    return [
        replace(utterance, start=words[0].start, end=words[-1].end, text=_text(words), words=list(words))
        for words in (utterance.words[a:b] for a, b in pairwise(edges))
    ]


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
