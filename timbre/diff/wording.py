"""Which words of a text changed.

    compare("the trellis boat", "the Trelis boat")  ->  the pieces ("the ", "the "), ("trellis", "Trelis"), …

A piece is an old and a new text; joined, the old ones are the old text and the new ones the new. Text that a change
does not touch is the same object on both sides of its piece.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

_TOKEN = re.compile(r"\w+(?:['’-]\w+)*|\s+|[^\w\s]")
_LETTER = re.compile(r"\w")
LONG = 1_000  # tokens beyond which a changed stretch is one piece: matching takes the square of it
CONTEXT = 4  # words kept on each side of a change
WORTH_FOLDING = 4  # words that a fold must save


@dataclass(frozen=True)
class ChangedText:
    old: str
    new: str

    @property
    def changed(self) -> bool:
        return self.old != self.new


ChangedTexts = tuple[ChangedText, ...]


def compare(old: str, new: str) -> ChangedTexts:
    a, b = _TOKEN.findall(old), _TOKEN.findall(new)
    # most corrections are one word: what begins and ends alike needs no matching
    head = _common(a, b)
    tail = _common(a[head:][::-1], b[head:][::-1])
    middle = _matched(a[head : len(a) - tail], b[head : len(b) - tail])
    begin, end = "".join(a[:head]), "".join(a[len(a) - tail :])
    return tuple(_joined([ChangedText(begin, begin), *middle, ChangedText(end, end)]))


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    count = 0
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        count += 1
    return count


def _matched(a: list[str], b: list[str]) -> Iterable[ChangedText]:
    if not set(a) & set(b) or len(a) + len(b) > LONG:
        yield ChangedText("".join(a), "".join(b))
        return
    for _, i, j, k, m in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        yield ChangedText("".join(a[i:j]), "".join(b[k:m]))


def _joined(pieces: Sequence[ChangedText]) -> list[ChangedText]:
    """Neighbours of one kind together; what is no word belongs to the changes on both sides of it."""
    pieces = [piece for piece in pieces if piece.old or piece.new]
    joined: list[ChangedText] = []
    for index, piece in enumerate(pieces):
        after_change = bool(joined) and joined[-1].changed
        before_change = index + 1 < len(pieces) and pieces[index + 1].changed
        between = after_change and before_change and not _LETTER.search(piece.old)
        if joined and (joined[-1].changed == piece.changed or between):
            last = joined.pop()
            piece = ChangedText(last.old + piece.old, last.new + piece.new)
        joined.append(piece)
    return joined


def fold(text: str, first: bool, last: bool) -> str:
    """Unchanged text with its middle left out; `first` and `last` say whether it begins or ends the line."""
    words = list(re.finditer(r"\S+", text))
    before, after = (0 if first else CONTEXT), (0 if last else CONTEXT)
    if len(words) < before + after + WORTH_FOLDING:
        return text
    head = text[: words[before - 1].end()] + " " if before else ""
    tail = " " + text[words[-after].start() :] if after else ""
    return f"{head}…{tail}"


def replacements(changes: Iterable[ChangedTexts]) -> Counter[tuple[str, str]]:
    """How often a few words were replaced by a few others."""
    counted: Counter[tuple[str, str]] = Counter()
    for pieces in changes:
        for pair in (replaced(piece) for piece in pieces):
            if pair:
                counted[pair] += 1
    return counted


def replaced(piece: ChangedText) -> tuple[str, str] | None:
    old, new = piece.old.strip(), piece.new.strip()
    few = 0 < len(old.split()) <= 3 and 0 < len(new.split()) <= 3
    return (old, new) if old != new and few else None


def weight(pieces: ChangedTexts, usual: Counter[tuple[str, str]] | None = None) -> float:
    """How much changed, in words; a replacement that is made all over is less of a surprise the oftener it is made."""
    total = 0.0
    for piece in pieces:
        if piece.changed:
            count = max(len(piece.old.split()), len(piece.new.split()), 1)
            pair = replaced(piece)
            total += count / (usual[pair] if usual and pair and usual[pair] > 1 else 1)
    return total
