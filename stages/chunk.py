"""Stack segments to clips that end on a sentence, cut in the silence.

Reads   data/sources.yaml              which recordings there are
        data/raw/<id>.flac, .json      their sound
        data/segments/<id>.jsonl       what is said, from when to when
Writes  data/clips/<clip id>.flac      one channel, 16 bits, the recording's own rate; named by content, never by text
        data/chunks/clips.jsonl        Clip rows
        data/chunks/drops.jsonl        Drop rows: each segment is in exactly one clip or here, with the reason

    python -m stages.chunk --sources data/sources.yaml --raw data/raw --segments data/segments \\
        --out data/clips --table data/chunks/clips.jsonl --drops data/chunks/drops.jsonl

How segments become clips, so that an edit moves no clip but those that it is in:

1. A *stretch* ends where the speaker changes, where nobody speaks for longer than `gap`, and at a segment left out.
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

import argparse
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import floor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from timbre import audio, sources
from timbre.errors import DataError, run
from timbre.mapping import Files, Job, content_key, refresh
from timbre.params import read
from timbre.records import Clip, Drop, Recording, Segment, read_jsonl, write_jsonl
from timbre.text import ends_sentence, join

VERSION = 1  # raise when the code gives other bytes for the same input
FADE = 0.005  # seconds in and out at every cut: nobody hears it, and a jump would click
QUIET = 3.0  # dB above the quietest moment that are as good for a cut: noise itself varies so much
SURE = 4  # every fourth anchor parts, with a sentence end or without, so that an edit's reach has a bound

Levels = Callable[[float, float], npt.NDArray[np.float64]]
"""Start and end in seconds → the level of each 10 ms that lie wholly between them, in dBFS."""
Stretch = list[int]  # neighbouring segments, by their index in the recording


@dataclass(frozen=True)
class Params:
    max_seconds: float
    min_seconds: float
    gap: float  # seconds without speech that always end a clip
    max_pause: float  # seconds; longer pauses inside a clip are shortened to it
    pad: float  # seconds of silence kept before and after a clip, at most
    min_level: float  # dBFS; a segment that is quieter from beginning to end says nothing
    workers: int  # processes that cut

    def __post_init__(self) -> None:
        wrong = [f"{name}: {getattr(self, name)} is below 0" for name in ("gap", "max_pause", "pad", "min_seconds")
                 if getattr(self, name) < 0]  # fmt: skip
        wrong += [f"workers: {self.workers} is not 1 or more"] * (self.workers < 1)
        if self.max_seconds <= self.min_seconds + 2 * self.pad:
            wrong.append(f"max_seconds: {self.max_seconds} leaves no room above min_seconds and twice the pad")
        if wrong:
            raise ValueError("\n".join(wrong))


@dataclass(frozen=True)
class Cut:
    """What the file of a clip is made from."""

    recording: Path
    spans: list[list[float]]  # seconds


def plan(
    recording: Recording, segments: Sequence[Segment], levels: Levels, params: Params
) -> tuple[list[Clip], list[Drop]]:
    """Every segment in exactly one clip or drop, both in the order of time."""
    clips: list[Clip] = []
    drops = {index: why for index, segment in enumerate(segments) if (why := unfit(segment, levels, params))}
    texts = [segment.text for segment in segments] + [""]
    ends = [ends_sentence(text, following, recording.language) for text, following in pairwise(texts)]
    for stretch in stretches(segments, drops, params.gap):
        for part in parted(stretch, segments, ends, params):
            spans = spans_of(part, segments, levels, params, recording.seconds)
            clip = clip_of(recording, [segments[i] for i in part], spans)
            if clip.seconds >= params.min_seconds:
                clips.append(clip)
                continue
            why = f"too short: {clip.seconds:.2f} s alone, less than chunk.min_seconds ({params.min_seconds:g})"
            drops |= dict.fromkeys(part, why)
    left_out = [(segments[index], drops[index]) for index in sorted(drops)]
    return clips, [Drop(s.recording, s.start, s.end, s.text, why) for s, why in left_out]


def unfit(segment: Segment, levels: Levels, params: Params) -> str | None:
    if segment.dropped:
        return "dropped: flagged so in the transcript"
    seconds = segment.end - segment.start
    if seconds + 2 * params.pad > params.max_seconds:
        return f"too long: {seconds:.2f} s do not fit into chunk.max_seconds ({params.max_seconds:g}); split the line"
    loudest = -np.inf
    for start in np.arange(segment.start, segment.end, 0.5):  # most say something in their first half second
        loudest = max(loudest, levels(float(start), min(float(start) + 0.5, segment.end)).max(initial=-np.inf))
        if loudest >= params.min_level:
            return None
    return f"silent: its loudest moment has {loudest:.0f} dBFS, below chunk.min_level ({params.min_level:g})"


def stretches(segments: Sequence[Segment], left_out: Collection[int], gap: float) -> Iterator[Stretch]:
    stretch: Stretch = []
    for index, segment in enumerate(segments):
        last = segments[stretch[-1]] if stretch else None
        if last and (index in left_out or segment.speaker != last.speaker or segment.start - last.end > gap):
            yield stretch
            stretch = []
        if index not in left_out:
            stretch.append(index)
    if stretch:
        yield stretch


def parted(stretch: Stretch, segments: Sequence[Segment], ends: Sequence[bool], params: Params) -> list[Stretch]:
    """The stretch as parts that each fit into a clip; the rule is told at the top of this file."""
    pitch, reach = params.max_seconds * 2 / 3, params.max_seconds / 6
    middles = {a: (segments[a].end + segments[b].start) / 2 for a, b in pairwise(stretch)}  # of the pause after each
    served = {
        floor(middles[a] / pitch) + side for a in middles if ends[a] for side in (0, 1)
    }  # have an end beside them
    best: dict[int, tuple[tuple[bool, float, float], int]] = {}  # anchor → how good, after which segment
    for here, there in pairwise(stretch):
        anchor = round(middles[here] / pitch)
        off = abs(middles[here] - anchor * pitch)
        if off <= reach and (ends[here] or anchor % SURE == 0 or anchor not in served):
            value = (ends[here], segments[there].start - segments[here].end, -off)
            best[anchor] = max(best.get(anchor, ((False, -1.0, 0.0), -1)), (value, here))
    parts: list[Stretch] = [[]]
    partings = {here for _, here in best.values()}
    for index in stretch:
        parts[-1].append(index)
        if index in partings:
            parts.append([])

    def fits(part: Stretch) -> bool:
        return length(part, segments, params) <= params.max_seconds

    for first in (0, -2):
        if len(parts) > 1 and fits(parts[first] + parts[first + 1]):
            joined = parts[first] + parts.pop(first + 1)
            parts[first if first == 0 else -1] = joined
    return [small for part in parts for small in ([part] if fits(part) else fewest(part, segments, ends, params))]


def fewest(part: Stretch, segments: Sequence[Segment], ends: Sequence[bool], params: Params) -> list[Stretch]:
    """Part what is too long: first of all no clip too short to keep, then sentence ends, then few clips, then even."""
    best: list[tuple[float, int]] = [(0.0, 0)]  # for each count of segments: its cost, and where its last clip begins
    for count in range(1, len(part) + 1):
        options = []
        for first in range(count - 1, -1, -1):
            seconds = length(part[first:count], segments, params)
            if seconds > params.max_seconds:
                break
            short = seconds - 2 * params.pad < params.min_seconds
            open_end = count < len(part) and not ends[part[count - 1]]
            cost = 1000 * short + 100 * open_end + 1 + (seconds / params.max_seconds) ** 2 / 100
            options.append((best[first][0] + cost, first))
        best.append(min(options))
    parts, count = [], len(part)
    while count:
        parts.append(part[best[count][1] : count])
        count = best[count][1]
    return parts[::-1]


def length(part: Stretch, segments: Sequence[Segment], params: Params) -> float:
    """Seconds of the clip that the part becomes, at most."""
    pauses = (segments[b].start - segments[a].end for a, b in pairwise(part))
    speech = sum(segments[i].end - segments[i].start for i in part)
    return speech + sum(min(pause, params.max_pause) for pause in pauses) + 2 * params.pad


def spans_of(
    part: Stretch, segments: Sequence[Segment], levels: Levels, params: Params, seconds: float
) -> list[list[float]]:
    """What to keep of the recording, to a millisecond: its words and silence around them, no neighbour's word."""
    first, last = part[0], part[-1]
    earliest = segments[first - 1].end if first else 0.0
    latest = segments[last + 1].start if last + 1 < len(segments) else floor(seconds * 1000) / 1000
    begin, end = segments[first].start, segments[last].end
    spans = [[quiet(max(earliest, begin - params.pad), begin, levels, early=True), 0.0]]
    for here, there in pairwise(part):
        pause = segments[there].start - segments[here].end
        if pause > params.max_pause:  # its middle goes: what a word leaves behind and a breath before the next stay
            spans[-1][1] = segments[here].end + params.max_pause / 2
            spans.append([segments[there].start - params.max_pause / 2, 0.0])
    spans[-1][1] = quiet(end, max(end, min(latest, end + params.pad)), levels, early=False)
    return [[round(a, 3), round(b, 3)] for a, b in spans]


def quiet(start: float, end: float, levels: Levels, *, early: bool) -> float:
    """Where to cut between two times: in one of the quietest 10 ms, of these the farthest from the clip's words."""
    found = levels(start, end)
    if not len(found):
        return (start + end) / 2
    good = np.flatnonzero(found <= found.min() + QUIET)
    return float(start + (end - start) * ((good[0] if early else good[-1]) + 0.5) / len(found))


def clip_of(recording: Recording, segments: Sequence[Segment], spans: list[list[float]]) -> Clip:
    return Clip(
        id=content_key(VERSION, recording.sha256, recording.sample_rate, spans),
        recording=recording.id,
        speaker=segments[0].speaker,
        start=spans[0][0],
        end=spans[-1][1],
        spans=spans,
        seconds=round(sum(end - start for start, end in spans), 3),
        text=join([segment.text for segment in segments], recording.language),
    )


def levels_in(path: Path, start: float, end: float) -> npt.NDArray[np.float64]:
    """Reads only what it is asked for: a recording of hours never lies in memory."""
    if end - start < audio.LEVEL_WINDOW:
        return np.empty(0)
    samples, rate = audio.read(path, start=start, end=end)
    return 20 * np.log10(np.maximum(audio.levels(samples, rate).astype(np.float64), 1e-6))


def cut(cuts: Sequence[Cut]) -> Iterator[Files]:
    for job in cuts:
        pieces = []
        for start, end in job.spans:
            samples, rate = audio.read(job.recording, start=start, end=end)
            ramp = np.linspace(0, 1, min(round(FADE * rate), len(samples) // 2), endpoint=False, dtype=np.float32)
            samples[: len(ramp)] *= ramp
            samples[len(samples) - len(ramp) :] *= ramp[::-1]
            pieces.append(samples)
        yield {".flac": audio.flac_bytes(np.concatenate(pieces), rate)}


def check_distinct(recordings: Sequence[Recording]) -> None:
    """The same sound twice would be learnt twice, and tested on what was learnt."""
    seen: dict[str, str] = {}
    for recording in recordings:
        if other := seen.get(recording.sha256):
            raise DataError(f"{recording.id}: is the same sound as {other}; remove one from data/sources.yaml")
        seen[recording.sha256] = recording.id


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sources", type=Path, required=True, help="the list of recordings")
    parser.add_argument("--raw", type=Path, required=True, help="folder of fetched recordings")
    parser.add_argument("--segments", type=Path, required=True, help="folder of segments")
    parser.add_argument("--out", type=Path, required=True, help="folder for the clips")
    parser.add_argument("--table", type=Path, required=True, help="file for the table of clips")
    parser.add_argument("--drops", type=Path, required=True, help="file for the segments that are in no clip")
    args = parser.parse_args()
    params = read("chunk", Params)
    recordings = sources.recordings(sources.read(args.sources), args.raw)
    check_distinct(recordings)
    clips: list[Clip] = []
    drops: list[Drop] = []
    for recording in recordings:
        segments = read_jsonl(args.segments / f"{recording.id}.jsonl", Segment)
        levels = partial(levels_in, args.raw / f"{recording.id}.flac")
        made, left_out = plan(recording, segments, levels, params)
        clips += made
        drops += left_out
    jobs = [Job(clip.id, clip.id, Cut(args.raw / f"{clip.recording}.flac", clip.spans)) for clip in clips]
    refresh(args.out, jobs, cut, suffixes=[".flac"], label="chunk", workers=params.workers)
    write_jsonl(args.drops, drops)
    write_jsonl(args.table, clips)


if __name__ == "__main__":
    run(main)
