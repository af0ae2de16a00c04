"""What a voice is taught, and in which order: clips with their words and codes, in batches, some after a reference.

All that is random follows from the seed and a number, so a run that was killed goes on with the very same lessons.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from timbre.errors import DataError
from timbre.families import Turn, Voice
from timbre.records import Example, read_jsonl

BUCKET = 8  # batches whose clips are sorted by length together: little padding, and still another mix each epoch


class Utterance(NamedTuple):
    """A clip to learn from."""

    id: str
    speaker: str
    seconds: float
    turn: Turn


def utterances(table: Path, codes: Path) -> tuple[list[Utterance], list[str]]:
    """The table's clips with their codes, and the keys of these."""
    found, keys = [], []
    for example in read_jsonl(table, Example):
        try:
            keys.append(json.loads((codes / f"{example.id}.json").read_bytes())["key"])
            turn = Turn(example.text, np.load(codes / f"{example.id}.npy"))
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{example.id}: no codes of this clip in {codes}; `dvc repro encode` makes them") from error
        found.append(Utterance(example.id, example.source, example.seconds, turn))
    if not found:
        raise DataError(f"{table}: no clips; add recordings, or change the shares under `dataset` in params.yaml")
    return found, keys


def check_lengths(voice: Voice, clips: Sequence[Utterance]) -> None:
    for clip in clips:
        if (size := voice.length([clip.turn])) > voice.positions:
            raise DataError(
                f"{clip.id}: its {clip.seconds:.1f} s take {size} of the model's {voice.positions} positions; "
                "lower chunk.max_seconds"
            )


@functools.lru_cache(maxsize=2)
def epoch_batches(lengths: tuple[int, ...], batch: int, seed: int, epoch: int) -> list[list[int]]:
    """Every clip once, in batches of like lengths, in an order of this epoch's own."""
    order, shuffle = list(range(len(lengths))), random.Random(f"{seed} epoch {epoch}")
    shuffle.shuffle(order)
    pools = [order[i : i + batch * BUCKET] for i in range(0, len(order), batch * BUCKET)]
    batches = [
        ranked[i : i + batch]
        for pool in pools
        for ranked in [sorted(pool, key=lambda clip: lengths[clip])]
        for i in range(0, len(ranked), batch)
    ]
    shuffle.shuffle(batches)
    return batches


def dialogue(
    voice: Voice, clip: Utterance, others: Sequence[Utterance], share: float, longest: float, draw: random.Random
) -> list[Turn]:
    """The clip, and before a `share` of the clips another one of the speaker: so it learns to follow a reference.

    That one is of at most `longest` seconds.
    """
    if draw.random() >= share:
        return [clip.turn]
    fit = [o for o in others if o.id != clip.id and o.speaker == clip.speaker and o.seconds <= longest]
    turns = [draw.choice(fit).turn, clip.turn] if fit else [clip.turn]
    return turns if voice.length(turns) <= voice.positions else [clip.turn]
