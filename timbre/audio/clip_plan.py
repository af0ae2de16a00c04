"""Which segments make a clip together, so that an edit moves no clip but those that it is in.

1. A *stretch* ends where the speaker changes, where nobody speaks for longer than `gap`, where somebody speaks in a
   pause longer than `max_pause` and no line says what, and at a segment left out.
2. Anchors stand in the recording's time every 2/3 of `max_seconds`. Each stretch is parted near each anchor, within a
   sixth of `max_seconds`, at the sentence end with the longest pause, so that what lies between two partings fits into
   a clip. Where no sentence ends so near, the anchor is passed over; but every fourth, and one that has no sentence end
   as far as the anchors beside it (a transcript without full stops), parts at the longest pause.
3. A first or last part that fits into a clip with its neighbour joins it; one that is still too long, because an anchor
   was passed over, is parted to end on sentences, to leave no clip below `min_seconds`, and into the fewest clips.

Anchors do not move and see only their neighbourhood, so nothing cascades: an edit of a line changes the clip it is in
and, if it stands beside a parting, the one next to it; where it begins or ends a stretch, also that stretch's nearest
part; where an anchor was passed over, at most the clips up to the next that parts. Filling every clip to the brim from
the left would make fewer clips, and re-cut the whole rest of a recording.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import floor

from timbre.core.records import Segment

SURE = 4  # every fourth anchor parts, with a sentence end or without, so that an edit's reach has a bound

Part = list[int]  # neighbouring segments, by their index in the recording
Span = tuple[float, float]  # seconds in the recording


@dataclass(frozen=True)
class ClipLimits:
    """What a clip may be, in seconds."""

    longest: float
    shortest: float
    gap: float  # without speech that always ends a clip
    max_pause: float  # longer pauses inside a clip are shortened to it
    pad: float  # of silence before and after a clip, at most


@dataclass(frozen=True)
class SpokenSegment:
    """A segment and the stretches of it that are kept: what lies between two is a pause longer than `max_pause`."""

    segment: Segment
    stretches: tuple[Span, ...]
    apart: bool = False  # somebody speaks, without a line, between the segment before and this one

    @property
    def start(self) -> float:
        return self.stretches[0][0]

    @property
    def end(self) -> float:
        return self.stretches[-1][1]


def stack(
    spoken: Sequence[SpokenSegment], left_out: Collection[int], ends: Sequence[bool], limits: ClipLimits
) -> Iterator[Part]:
    """Every segment that is not left out, in parts that each fit into a clip; `ends`: which ones end a sentence."""
    for stretch in _stretches(spoken, left_out, limits.gap):
        yield from _parted(stretch, spoken, ends, limits)


def pauses(part: Part, spoken: Sequence[SpokenSegment]) -> list[Span]:
    """What lies between two kept stretches of the part."""
    stretches = [stretch for index in part for stretch in spoken[index].stretches]
    return [(here[1], there[0]) for here, there in pairwise(stretches)]


def length(part: Part, spoken: Sequence[SpokenSegment], limits: ClipLimits) -> float:
    """Seconds of the clip that the part becomes, at most."""
    speech = sum(end - start for index in part for start, end in spoken[index].stretches)
    silence = sum(min(end - start, limits.max_pause) for start, end in pauses(part, spoken))
    return speech + silence + 2 * limits.pad


def _stretches(spoken: Sequence[SpokenSegment], left_out: Collection[int], gap: float) -> Iterator[Part]:
    stretch: Part = []
    for index, this in enumerate(spoken):
        last = spoken[stretch[-1]] if stretch else None
        if last and (
            index in left_out
            or this.apart
            or this.segment.speaker != last.segment.speaker
            or this.start - last.end > gap
        ):
            yield stretch
            stretch = []
        if index not in left_out:
            stretch.append(index)
    if stretch:
        yield stretch


def _parted(stretch: Part, spoken: Sequence[SpokenSegment], ends: Sequence[bool], limits: ClipLimits) -> list[Part]:
    partings = _partings(stretch, spoken, ends, limits)
    parts: list[Part] = [[]]
    for index in stretch:
        parts[-1].append(index)
        if index in partings:
            parts.append([])

    def fits(part: Part) -> bool:
        return length(part, spoken, limits) <= limits.longest

    for first in (0, -2):
        if len(parts) > 1 and fits(parts[first] + parts[first + 1]):
            joined = parts[first] + parts.pop(first + 1)
            parts[first if first == 0 else -1] = joined
    return [small for part in parts for small in ([part] if fits(part) else _fewest(part, spoken, ends, limits))]


def _partings(stretch: Part, spoken: Sequence[SpokenSegment], ends: Sequence[bool], limits: ClipLimits) -> set[int]:
    """After which segments the stretch is parted: the best near each anchor."""
    pitch, reach = limits.longest * 2 / 3, limits.longest / 6
    middles = {a: (spoken[a].end + spoken[b].start) / 2 for a, b in pairwise(stretch)}  # of the pause after each
    served = {
        floor(middles[a] / pitch) + side for a in middles if ends[a] for side in (0, 1)
    }  # have an end beside them
    best: dict[int, tuple[tuple[bool, float, float], int]] = {}  # anchor → how good, after which segment
    for here, there in pairwise(stretch):
        anchor = round(middles[here] / pitch)
        off = abs(middles[here] - anchor * pitch)
        if off <= reach and (ends[here] or (anchor and anchor % SURE == 0) or anchor not in served):
            value = (ends[here], spoken[there].start - spoken[here].end, -off)
            best[anchor] = max(best.get(anchor, ((False, -1.0, 0.0), -1)), (value, here))
    return {here for _, here in best.values()}


def _fewest(part: Part, spoken: Sequence[SpokenSegment], ends: Sequence[bool], limits: ClipLimits) -> list[Part]:
    """Part what is too long: first of all no clip too short to keep, then sentence ends, then few clips, then even."""
    best: list[tuple[float, int]] = [(0.0, 0)]  # for each count of segments: its cost, and where its last clip begins
    for count in range(1, len(part) + 1):
        options = []
        for first in range(count - 1, -1, -1):
            seconds = length(part[first:count], spoken, limits)
            if seconds > limits.longest:
                break
            short = seconds - 2 * limits.pad < limits.shortest
            open_end = count < len(part) and not ends[part[count - 1]]
            cost = 1000 * short + 100 * open_end + 1 + (seconds / limits.longest) ** 2 / 100
            options.append((best[first][0] + cost, first))
        best.append(min(options))
    parts, count = [], len(part)
    while count:
        parts.append(part[best[count][1] : count])
        count = best[count][1]
    return parts[::-1]
