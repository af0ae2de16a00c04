"""What a voice has learnt of what it is to say, and which sentences would fill the gaps first.

    wanted = [Wanted("words of the prompts", units, weight=3.0), …]
    found = [coverage(one, learnt) for one in wanted]
    propose(candidates, wanted, learnt, count=20)     # greedily: each fills most of what is then missing, per word

A unit is anything that can be counted in a text: a word, or two sounds that follow each other. Texts become units by
functions that the caller gives, so that this knows no language.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from timbre.core.text import words

ENOUGH = 3  # times that a unit is heard in training before it counts as learnt well
Units = Counter[str]


@dataclass(frozen=True)
class Wanted:
    name: str
    units: Units  # with how often each is wanted
    weight: float = 1.0  # of a gap, beside those of others


@dataclass(frozen=True)
class Coverage:
    name: str
    wanted: int  # different units
    learnt: int  # of them, at least once
    well: int  # at least ENOUGH times
    share: float  # of all that is wanted, each as often as it is wanted, that was learnt
    missing: list[str]  # what is wanted most often first


@dataclass(frozen=True)
class Proposal:
    text: str
    fills: list[str]  # units that nothing before it has


def text_words(texts: Iterable[str]) -> Units:
    return Counter(word for text in texts for word in words(text))


def pairs(sounds: Sequence[str]) -> list[str]:
    """Two that follow each other; `-` is the silence before and after."""
    return [f"{one} {other}" for one, other in pairwise(["-", *sounds, "-"])] if sounds else []


def coverage(wanted: Wanted, learnt: Units) -> Coverage:
    total = sum(wanted.units.values())
    there = [unit for unit in wanted.units if learnt[unit]]
    missing = sorted((unit for unit in wanted.units if not learnt[unit]), key=lambda unit: (-wanted.units[unit], unit))
    share = sum(wanted.units[unit] for unit in there) / total if total else 1.0
    well = sum(learnt[unit] >= ENOUGH for unit in there)
    return Coverage(wanted.name, len(wanted.units), len(there), well, share, missing)


def propose(
    candidates: Sequence[tuple[str, Units]], wanted: Sequence[Wanted], learnt: Units, count: int
) -> list[Proposal]:
    """Of texts with their units. A unit is worth as much as it is wanted, its second time half, its third a quarter."""
    have, left = Counter(learnt), list(candidates)
    worth: dict[str, float] = {}
    for one in wanted:
        total = sum(one.units.values()) or 1
        for unit, times in one.units.items():
            worth[unit] = worth.get(unit, 0.0) + one.weight * times / total
    proposals: list[Proposal] = []
    while left and len(proposals) < count:
        gains = [_gain(units, have, worth) / max(1, len(words(text))) for text, units in left]
        best = max(range(len(left)), key=gains.__getitem__)
        if gains[best] <= 0:
            break
        text, units = left.pop(best)
        proposals.append(Proposal(text, sorted(unit for unit in units if unit in worth and not have[unit])))
        have.update(units)
    return proposals


def _gain(units: Units, have: Units, worth: dict[str, float]) -> float:
    """The first time that a unit is heard counts whole, the next ones ever less, until it is learnt well."""
    gain = 0.0
    for unit, times in units.items():
        if unit in worth:
            first = have[unit]
            gain += worth[unit] * sum(0.5**heard for heard in range(first, min(first + times, ENOUGH)))
    return gain
