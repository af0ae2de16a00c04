"""What happened to the clips: a clip's id is its sound, so the same id with other words was not cut again.

Reads the tables of `chunk` and `dataset`, by the keys that it needs and no others, so that an older version's can be
compared too.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from timbre.core.text import judged_sentences
from timbre.diff.lines import groups
from timbre.project import pace
from timbre.versions.clip_rows import LEFT_OUT, PARTS, ClipRow, RejectedRow

Kind = Literal["re-worded", "re-cut", "moved", "added", "removed"]


@dataclass(frozen=True)
class ClipChange:
    kind: Kind
    old: tuple[ClipRow, ...]
    new: tuple[ClipRow, ...]


@dataclass(frozen=True)
class Leak:
    """Clips of the same words on both sides: the evaluation would test what was learnt."""

    text: str
    training: tuple[str, ...]  # ids of clips
    evaluation: tuple[str, ...]


def newly_rejected(old: Sequence[RejectedRow], new: Sequence[RejectedRow]) -> list[RejectedRow]:
    """Of two with the same words for the same reason the older version may have had either."""
    before = Counter((row.recording, row.text, row.kind) for row in old)
    rejected = []
    for row in new:
        key = (row.recording, row.text, row.kind)
        before[key] -= 1
        if before[key] < 0:
            rejected.append(row)
    return rejected


def outliers(changes: Sequence[ClipChange], clips: Sequence[ClipRow]) -> dict[str, str]:
    """New or other-worded clips in which nobody speaks as fast, or as slowly, as in the others of the recording."""
    paces: dict[str, list[float]] = defaultdict(list)
    for clip in clips:
        if clip.seconds > 0 and pace.letters(clip.text):
            paces[clip.recording].append(pace.seconds_per_letter(clip.seconds, clip.text))
    reasons = {}
    for clip in (clip for change in changes if change.kind != "moved" for clip in change.new):
        if clip.seconds <= 0 or not pace.letters(clip.text):
            continue
        why = unusual(pace.seconds_per_letter(clip.seconds, clip.text), paces[clip.recording])
        if why:
            reasons[clip.id] = why
    return reasons


def unusual(own: float, others: Sequence[float]) -> str:
    """In words, where a pace (seconds per letter) is far from what is usual; too few say nothing."""
    limits = pace.usual(others, enough=pace.ENOUGH_TO_WARN)
    if limits and not limits[0] <= own <= limits[1]:
        return f"{1 / own:.0f} letters a second, usual here are {1 / statistics.median(others):.0f}"
    return ""


def compare(old: Sequence[ClipRow], new: Sequence[ClipRow]) -> list[ClipChange]:
    before, after = {clip.id: clip for clip in old}, {clip.id: clip for clip in new}
    changes: list[ClipChange] = []
    for name in before.keys() & after.keys():
        a, b = before[name], after[name]
        if a.text != b.text:
            changes.append(ClipChange("re-worded", (a,), (b,)))
        if a.part != b.part:
            changes.append(ClipChange("moved", (a,), (b,)))
    recordings: dict[str, tuple[list[ClipRow], list[ClipRow]]] = defaultdict(lambda: ([], []))
    for side, (clips, others) in enumerate(((before, after), (after, before))):
        for name, clip in clips.items():
            if name not in others:
                recordings[clip.recording][side].append(clip)
    for gone, come in recordings.values():
        for a_clips, b_clips in groups(gone, come):
            kind: Kind = "re-cut" if a_clips and b_clips else "added" if b_clips else "removed"
            changes.append(ClipChange(kind, tuple(a_clips), tuple(b_clips)))
    return sorted(changes, key=lambda change: (_first(change).recording, _first(change).start, change.kind))


def _first(change: ClipChange) -> ClipRow:
    return (change.new or change.old)[0]


def leaks(clips: Sequence[ClipRow]) -> list[Leak]:
    """Texts and sentences that are both learnt and tested, as the gate on leakage compares them."""
    clips_of: dict[tuple[str, ...], list[ClipRow]] = defaultdict(list)
    for clip in clips:
        if clip.part != LEFT_OUT:
            for sentence in judged_sentences(clip.text):
                clips_of[sentence].append(clip)
    shared: dict[tuple[tuple[str, ...], ...], Leak] = {}  # once, where clips share their whole text and its sentences
    for same in clips_of.values():
        sides = {part: tuple(clip.id for clip in same if clip.part == part) for part in PARTS}
        if all(sides.values()):
            leak = Leak(same[0].text, sides["training"], sides["evaluation"])
            shared.setdefault(tuple(sides.values()), leak)
    return list(shared.values())
