"""Which line of a transcript became which, and what happened to it.

Rows that are the same in both versions are taken out first, which leaves little to think about; then follow those with
the same times, those with the same words, and at last whatever shares most of its time. One row that became several
was split, several that became one were merged. Every step treats both sides alike: B against A is A against B, turned.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, TypeVar

from timbre.core.text import normalise
from timbre.diff import wording
from timbre.versions.lenient_rows import TranscriptRow

SHARED = 0.5  # of the shorter one's time, from which two rows are one place
MOST_AT_ONCE = 64  # spans that overlap at one moment and are compared; 100,000 at once would take hours
Kind = Literal["reworded", "respelled", "retimed", "dropped", "restored", "heard", "unheard", "speaker",
               "split", "merged", "regrouped", "added", "removed"]  # fmt: skip
TURNED: dict[Kind, Kind] = {
    "dropped": "restored", "heard": "unheard", "split": "merged", "added": "removed",
    "restored": "dropped", "unheard": "heard", "merged": "split", "removed": "added",
}  # fmt: skip


@dataclass(frozen=True)
class LineChange:
    """Rows of the old version and what they became; one of the two may be empty."""

    recording: str
    old: tuple[TranscriptRow, ...]
    new: tuple[TranscriptRow, ...]

    @cached_property
    def old_text(self) -> str:
        return " ".join(row.text for row in self.old)

    @cached_property
    def new_text(self) -> str:
        return " ".join(row.text for row in self.new)

    @cached_property
    def pieces(self) -> wording.ChangedTexts:
        return wording.compare(self.old_text, self.new_text)

    @property
    def at(self) -> TranscriptRow:
        return (self.new or self.old)[0]

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        if not self.old or not self.new:
            return ("added",) if self.new else ("removed",)
        kinds: list[Kind] = []
        if self.old_text != self.new_text:
            # what the pipeline normalises away trains the same voice
            kinds.append("respelled" if _same_words(self.old_text, self.new_text) else "reworded")
        if len(self.old) > 1 or len(self.new) > 1:
            kinds.append("split" if len(self.old) == 1 else "merged" if len(self.new) == 1 else "regrouped")
            return tuple(kinds)
        (old,), (new,) = self.old, self.new
        if (old.start, old.end) != (new.start, new.end):
            kinds.append("retimed")
        if old.dropped != new.dropped:
            kinds.append("dropped" if new.dropped else "restored")
        elif (old.flag == "ok") != (new.flag == "ok"):
            kinds.append("heard" if new.flag == "ok" else "unheard")
        if old.speaker != new.speaker:
            kinds.append("speaker")
        return tuple(kinds)


def _same_words(old: str, new: str) -> bool:
    if (old + new).isascii() and (old + new).isprintable():
        return old.split() == new.split()  # all that is left to normalise; a hundred times as fast
    return normalise(old) == normalise(new)


def compare(recording: str, old: Sequence[TranscriptRow], new: Sequence[TranscriptRow]) -> list[LineChange]:
    """The rows that differ, in the order of time."""
    old, new, _ = _pair(old, new, lambda row: (row.start, row.end, row.speaker, row.flag, row.text))
    pairs: list[tuple[TranscriptRow, TranscriptRow]] = []
    for key in (lambda row: (row.start, row.end), lambda row: row.text):
        old, new, matched = _pair(old, new, key)
        pairs += matched
    changes = [LineChange(recording, (a,), (b,)) for a, b in pairs]
    for before, after in groups(old, new):
        changes += [LineChange(recording, tuple(before), tuple(after))]
    return sorted(changes, key=lambda change: (change.at.start, change.at.end, change.at.number))


def _pair(
    old: Sequence[TranscriptRow], new: Sequence[TranscriptRow], key: Callable[[TranscriptRow], Hashable]
) -> tuple[list[TranscriptRow], list[TranscriptRow], list[tuple[TranscriptRow, TranscriptRow]]]:
    """What is left of both sides, and the pairs of equal key, in order where a key occurs more than once."""
    waiting: dict[Hashable, list[TranscriptRow]] = defaultdict(list)
    for row in reversed(old):
        waiting[key(row)].append(row)
    rest, pairs = [], []
    for row in new:
        candidates = waiting.get(key(row))
        if candidates:
            pairs.append((candidates.pop(), row))
        else:
            rest.append(row)
    paired = {id(a) for a, _ in pairs}
    return [row for row in old if id(row) not in paired], rest, pairs


class LineSpan(Protocol):
    @property
    def start(self) -> float: ...

    @property
    def end(self) -> float: ...


S = TypeVar("S", bound=LineSpan)


def groups(old: Sequence[S], new: Sequence[S]) -> list[tuple[list[S], list[S]]]:
    """Spans of both sides that share time, directly or through others, put together; in the order of time.

    A sweep over starts: a span is compared only with those that may still overlap it.
    """
    spans = [(span, 0) for span in old] + [(span, 1) for span in new]
    spans.sort(key=lambda entry: (entry[0].start, entry[0].end))
    parent = list(range(len(spans)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    active: list[int] = []
    for index, (span, side) in enumerate(spans):
        active = [other for other in active if spans[other][0].end > span.start]
        if len(active) > MOST_AT_ONCE:
            active = sorted(active, key=lambda other: spans[other][0].end)[-MOST_AT_ONCE:]
        for other in active:
            if spans[other][1] != side and _shared(spans[other][0], span) >= SHARED:
                parent[root(index)] = root(other)
        active.append(index)
    by_root: dict[int, tuple[list[S], list[S]]] = {}
    for index, (span, side) in enumerate(spans):
        by_root.setdefault(root(index), ([], []))[side].append(span)
    return list(by_root.values())


def _shared(a: LineSpan, b: LineSpan) -> float:
    shorter = min(a.end - a.start, b.end - b.start)
    common = min(a.end, b.end) - max(a.start, b.start)
    return common / shorter if shorter > 0 else 0.0


def count(changes: Sequence[LineChange]) -> Counter[Kind]:
    return Counter(kind for change in changes for kind in change.kinds)
