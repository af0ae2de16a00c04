"""Requests that are spoken in several sentences: whose each one is, and a request's as soon as all are over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import sentencex

from timbre.families.code_decoder import SaidCode


def sentences_of(text: str, longest: int, language: str = "en", *, joined: bool = True) -> list[str]:
    """Sentences of at most so many letters; `joined`, as many together as may be.

    A sentence that is longer by itself is cut between words.
    """
    if joined and len(text) <= longest:
        return [text]
    parts: list[str] = []
    for sentence in sentencex.segment(language, text):
        for piece in _cut(sentence.strip(), longest):
            if joined and parts and len(parts[-1]) + 1 + len(piece) <= longest:
                parts[-1] = f"{parts[-1]} {piece}"
            else:
                parts.append(piece)
    return [part for part in parts if part]


def _cut(sentence: str, longest: int) -> list[str]:
    pieces = [""]
    for word in sentence.split():
        if pieces[-1] and len(pieces[-1]) + 1 + len(word) > longest:
            pieces.append("")
        pieces[-1] = f"{pieces[-1]} {word}".strip()
    return pieces


def by_request(said: Iterable[SaidCode], owners: Sequence[int]) -> Iterator[list[list[SaidCode]]]:
    """The codes of each request's sentences, in the order of the requests; `owners` names each sentence's request."""
    made: dict[int, list[SaidCode]] = defaultdict(list)
    missing = [owners.count(request) for request in range(max(owners, default=-1) + 1)]
    following = 0
    for one in said:
        made[one.number].append(one)
        missing[owners[one.number]] -= one.over
        while following < len(missing) and not missing[following]:
            yield [made.pop(number) for number, owner in enumerate(owners) if owner == following]
            following += 1
