"""The clip that a voice hears before it speaks, and whose voice it then clones.

Of the training clips that are 5 to 10 s long and not clipped, the reference is the first in the order of their ids'
hashes, so that other clips can come and go; where no clip is that long, the nearest in length stands in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from timbre import audio
from timbre.audio import delivery
from timbre.core.errors import DataError
from timbre.core.records import Example, Sample, read_jsonl
from timbre.families import Turn

REFERENCE_SECONDS = (5.0, 10.0)  # enough to tell a voice by, and room left to speak in


class Reference(NamedTuple):
    clip: str  # its id
    speaker: str
    turn: Turn


def order(example: Example) -> str:
    """As good as random, and the same whatever other clips there are."""
    return hashlib.sha256(example.id.encode()).hexdigest()


def choose_reference(examples: Sequence[Example], clips: Path, codes: Path) -> Reference:
    """The clip that is cloned from; see the module's docstring for the rule."""
    low, high = REFERENCE_SECONDS

    def rank(example: Example) -> tuple[float, str]:
        outside = max(low - example.seconds, 0.0, example.seconds - high)
        return round(outside, 2), order(example)

    ranked = sorted(examples, key=rank)
    if not ranked:
        raise DataError("data/dataset/train.jsonl: no clips to clone from; add recordings")
    clean = (e for e in ranked if not delivery.is_clipped(audio.read(clips / f"{e.id}.flac")[0]))
    chosen = next(clean, ranked[0])  # where all are clipped, so is the voice
    try:
        return Reference(chosen.id, chosen.source, Turn(chosen.text, np.load(codes / f"{chosen.id}.npy")))
    except OSError as error:
        raise DataError(f"{chosen.id}: no codes of this clip in {codes}; `dvc repro encode` makes them") from error


def of_sample(sample: Sample, dataset: Path, codes: Path) -> tuple[Turn, ...]:
    """What the voice heard before it spoke this sample; nothing where it cloned nobody."""
    if sample.reference is None:
        return ()
    texts = {example.id: example.text for example in read_jsonl(dataset / "train.jsonl", Example)}
    try:
        return (Turn(texts[sample.reference], np.load(codes / f"{sample.reference}.npy")),)
    except (KeyError, OSError) as error:
        raise DataError(f"{sample.id}: its reference {sample.reference} is gone; run `dvc repro generate`") from error
