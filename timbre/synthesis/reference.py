"""The clip that a voice hears before it speaks, and whose voice it then clones.

Of the training clips that are as long as the family wants it (CSM: 5 to 10 s) and not clipped, the reference is the
first in the order of their ids' hashes, so that other clips can come and go; where no clip is that long, the nearest in
length stands in. A family to which the reference is something said before hears of a longer clip its first sentences.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from timbre import audio
from timbre.audio import delivery
from timbre.core.errors import DataError
from timbre.core.records import Example, Sample, read_jsonl
from timbre.families import Cloning, SpeakerTag, Turn
from timbre.families import codes as clip_codes

DATASET = Path("data/dataset")
CLIPS = Path("data/clips")
CODES = Path("data/codes")  # a folder for each family


class Reference(NamedTuple):
    clip: str  # its id
    speaker: str
    turn: Turn


def references(examples: Sequence[Example], clips: Path, codes: Path, cloning: Cloning) -> list[Reference]:
    """Each speaker's, in the order of their numbers."""
    speakers = sorted({(row.number, row.source) for row in examples})
    tables = [[row for row in examples if row.source == name] for _, name in speakers]
    return [choose_reference(table, clips, codes, cloning) for table in tables or [[]]]


def of_speaker(speaker: str, cloning: Cloning, codes: Path, dataset: Path = DATASET) -> tuple[Example, Turn]:
    """The clip that is cloned for a speaker; DataError where there is none for training."""
    rows = read_jsonl(dataset / "train.jsonl", Example)
    own = [row for row in rows if row.source == speaker]
    if not own:
        names = ", ".join(dict.fromkeys(row.source for row in rows)) or "nobody"
        raise DataError(f"{speaker}: no clip of this speaker in {dataset / 'train.jsonl'}; it has clips of {names}")
    chosen = choose_reference(own, CLIPS, codes, cloning)
    return next(row for row in own if row.id == chosen.clip), chosen.turn


def order(example: Example) -> str:
    """As good as random, and the same whatever other clips there are."""
    return hashlib.sha256(example.id.encode()).hexdigest()


def choose_reference(examples: Sequence[Example], clips: Path, codes: Path, cloning: Cloning) -> Reference:
    """The clip that is cloned from; see the module's docstring for the rule."""
    low, high = cloning.seconds

    def rank(example: Example) -> tuple[float, str]:
        seconds = heard_seconds(example, cloning)
        outside = max(low - seconds, 0.0, seconds - high)
        return round(outside, 2), order(example)

    ranked = sorted(examples, key=rank)
    if not ranked:
        raise DataError("data/dataset/train.jsonl: no clips to clone from; add recordings")
    clean = (e for e in ranked if not delivery.is_clipped(audio.read(clips / f"{e.id}.flac")[0]))
    chosen = next(clean, ranked[0])  # where all are clipped, so is the voice
    return Reference(chosen.id, chosen.source, heard(chosen, codes, cloning))


def heard(example: Example, codes: Path, cloning: Cloning) -> Turn:
    """What a voice hears of a clip that it clones."""
    turn = clip_codes.turn(example, codes)
    opening = clip_codes.opening(turn, example, cloning.seconds[1]) if cloning.kind == "turns" else None
    return opening or turn


def heard_seconds(example: Example, cloning: Cloning) -> float:
    until = clip_codes.opening_end(example, cloning.seconds[1]) if cloning.kind == "turns" else None
    return until[1] if until else example.seconds


def usual_speaker(language: str | None = None, dataset: Path = DATASET) -> Turn | None:
    """Who speaks where nothing was said before: the speaker of most clips, and where no language is asked for in the
    language of most of them."""
    table = dataset / "train.jsonl"
    rows = read_jsonl(table, Example) if table.is_file() else []
    if not rows:
        return None
    ((number, name), usual), _ = Counter(((row.number, row.source), row.language) for row in rows).most_common(1)[0]
    return Turn("", None, language or usual, SpeakerTag(number, name))


def of_sample(sample: Sample, dataset: Path, codes: Path, cloning: Cloning) -> tuple[Turn, ...]:
    """What the voice heard before it spoke this sample; nothing where it cloned nobody."""
    if sample.reference is None:
        return ()
    clips = {example.id: example for example in read_jsonl(dataset / "train.jsonl", Example)}
    try:
        return (heard(clips[sample.reference], codes, cloning),)
    except (KeyError, DataError) as error:
        raise DataError(f"{sample.id}: its reference {sample.reference} is gone; run `dvc repro generate`") from error
