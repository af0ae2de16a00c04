"""Small tables of training and evaluation clips; a word's edit is kilobytes here, not audio.

Reads   data/chunks/clips.jsonl        every clip: its spans, its words
        data/chunks/drops.jsonl        the segments that are in no clip
Writes  data/dataset/train.jsonl       Example rows, which name the clips' files in data/clips
        data/dataset/eval.jsonl        the same; held back from training
        data/dataset/rejected.jsonl    Drop rows: all that is in neither, and why
        data/dataset/stats.json        seconds, clips, words, speakers

    python -m stages.dataset --table data/chunks/clips.jsonl --drops data/chunks/drops.jsonl \\
        --clips data/clips --out data/dataset

Evaluation is made of whole blocks of a recording's time, so that what is tested was not spoken between two sentences
that were learnt. A block's lot is drawn from the recording's id and its number alone: a clip goes where its middle
lies, whatever is edited in it, beside it, or added elsewhere. Only where lots fall badly, as they may with few blocks,
the next blocks' clips are added or the last ones taken back, until evaluation has between half and twice its share.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from timbre.errors import DataError, run
from timbre.mapping import content_key, write_atomic
from timbre.params import read
from timbre.records import Clip, Drop, Example, read_jsonl, write_jsonl
from timbre.text import words

ENOUGH = 20  # clips of one speaker; with fewer, quartiles say nothing about what is usual
SLACK = 0.25  # of the median: a speaker who is as even as a clock may still vary so much


@dataclass(frozen=True)
class Params:
    eval_share: float  # of the clips
    block_seconds: float  # of recording that stay together on one side
    pace_iqr: float  # interquartile ranges from the quartiles, beyond which a clip's pace is taken for a wrong text

    def __post_init__(self) -> None:
        wrong = [] if 0 < self.eval_share <= 0.5 else [f"eval_share: {self.eval_share} is not above 0 and at most 0.5"]
        for name in ("block_seconds", "pace_iqr"):
            if getattr(self, name) <= 0:
                wrong.append(f"{name}: {getattr(self, name)} is not above 0")
        if wrong:
            raise ValueError("\n".join(wrong))


def wordless(clips: Sequence[Clip]) -> dict[str, str]:
    """Clip id → reason, for clips whose text cannot be spoken."""
    return {clip.id: "wordless: its text has no word that could be spoken" for clip in clips if not words(clip.text)}


def pace(clip: Clip) -> float:
    """Seconds per letter or digit."""
    return clip.seconds / len("".join(words(clip.text)))


def unusual_pace(clips: Sequence[Clip], ranges: float) -> dict[str, str]:
    """Clip id → reason, where text and sound hardly belong together: too many words for the time, or too few."""
    found = {}
    for speaker in sorted({clip.speaker for clip in clips}):
        spoken = [clip for clip in clips if clip.speaker == speaker]
        if len(spoken) < ENOUGH:
            continue
        low, middle, high = statistics.quantiles(map(pace, spoken), n=4, method="inclusive")
        least = min(low - ranges * (high - low), (1 - SLACK) * middle)
        most = max(high + ranges * (high - low), (1 + SLACK) * middle)
        for clip in spoken:
            if not least <= pace(clip) <= most:
                found[clip.id] = (
                    f"pace: {1000 * pace(clip):.0f} ms per character, where {speaker} usually takes "
                    f"{1000 * least:.0f} to {1000 * most:.0f}; is the text what is said?"
                )
    return found


def lot(clip: Clip, block_seconds: float) -> float:
    """Between 0 and 1, the same for all clips of a block, and never another while the block's seconds are."""
    # the middle, because chunk cuts near fixed times: a block's edge there would let a small edit change sides
    block = math.floor((clip.start + clip.end) / 2 / block_seconds)
    return int(content_key(clip.recording, block), 16) / 16**16


def held_out(clips: Sequence[Clip], params: Params) -> set[str]:
    """The ids of the clips to evaluate on."""
    lots = {clip.id: lot(clip, params.block_seconds) for clip in clips}
    order = sorted(clips, key=lambda clip: (lots[clip.id], clip.recording, clip.start))
    share = params.eval_share * len(clips)
    least = max(2 if len(clips) >= 4 else 1, round(share / 2))
    most = max(least, min(len(clips) // 2, math.ceil(share * 2)))
    count = sum(drawn < params.eval_share for drawn in lots.values())
    return {clip.id for clip in order[: min(max(count, least), most)]}


def duplicates(clips: Sequence[Clip], evaluation: set[str]) -> dict[str, str]:
    """Training clip id → reason, where an evaluation clip says the same: learnt by heart is not learnt."""
    tested = {tuple(words(clip.text)): clip for clip in reversed(clips) if clip.id in evaluation}
    return {
        clip.id: f"duplicate: the evaluation clip {tested[key].id} says the same words"
        for clip in clips
        if clip.id not in evaluation and (key := tuple(words(clip.text))) in tested
    }


def examples(clips: Iterable[Clip], folder: Path) -> list[Example]:
    return [
        Example(
            audio=f"{folder.as_posix()}/{clip.id}.flac",
            text=clip.text,
            source=clip.speaker,
            id=clip.id,
            recording=clip.recording,
            start=clip.start,
            end=clip.end,
            seconds=clip.seconds,
        )
        for clip in clips
    ]


def stats(train: Sequence[Example], evaluation: Sequence[Example], rejected: Sequence[Drop]) -> dict[str, object]:
    def count(rows: Sequence[Example]) -> dict[str, object]:
        said = sum(len(words(row.text)) for row in rows)
        return {"clips": len(rows), "seconds": round(sum(row.seconds for row in rows), 2), "words": said}

    every = [*train, *evaluation]
    return {
        "train": count(train),
        "eval": count(evaluation),
        "rejected": {
            "rows": len(rejected),
            "seconds": round(sum(drop.end - drop.start for drop in rejected), 2),
            "reasons": Counter(drop.reason.split(":")[0] for drop in rejected),
        },
        "speakers": {name: count([row for row in every if row.source == name]) for name in {r.source for r in every}},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", type=Path, required=True, help="table of clips")
    parser.add_argument("--drops", type=Path, required=True, help="table of segments that are in no clip")
    parser.add_argument("--clips", type=Path, required=True, help="folder of clips, as the tables shall name it")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables")
    args = parser.parse_args()
    params = read("dataset", Params)
    clips, drops = read_jsonl(args.table, Clip), read_jsonl(args.drops, Drop)
    reasons = wordless(clips)
    reasons |= unusual_pace([clip for clip in clips if clip.id not in reasons], params.pace_iqr)
    fit = [clip for clip in clips if clip.id not in reasons]
    if len(fit) < 2:
        raise DataError(
            f"{args.table}: {len(fit)} clips are left to learn from and to test on; {args.drops} says what was left "
            "out and why; add a recording, or change chunk.min_seconds or the transcript"
        )
    evaluation = held_out(fit, params)
    reasons |= duplicates(fit, evaluation)
    left_out = [Drop(c.recording, c.start, c.end, c.text, reasons[c.id]) for c in clips if c.id in reasons]
    rejected = sorted([*drops, *left_out], key=lambda drop: (drop.recording, drop.start))
    train = examples((clip for clip in fit if clip.id not in evaluation and clip.id not in reasons), args.clips)
    tested = examples((clip for clip in fit if clip.id in evaluation), args.clips)
    write_jsonl(args.out / "train.jsonl", train)
    write_jsonl(args.out / "eval.jsonl", tested)
    write_jsonl(args.out / "rejected.jsonl", rejected)
    write_atomic(args.out / "stats.json", json.dumps(stats(train, tested, rejected), indent=2, sort_keys=True) + "\n")
    print(f"dataset: {len(train)} clips to learn from, {len(tested)} to evaluate on, {len(rejected)} left out")


if __name__ == "__main__":
    run(main)
