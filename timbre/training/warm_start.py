"""Training that begins from the adapter of before, where few clips differ from those that it learnt: docs/training.md.

    before = unfinished(inputs, scratch) or after(adapter, training, inputs)     # None: it begins from the base
    scratch = scratch / key_of(inputs, before.key)
    before = keep(before, scratch)
    learn(voice, clips, held, gentler(params), own, scratch, before=before.weights)

What such an adapter is depends on the adapters before it, so its key is of theirs, and training.json names them. The
weights to begin from are copied into the scratch folder first: a run that was killed goes on from there, whatever lies
in models/adapter then.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from timbre.core.content import content_key, write_atomic
from timbre.core.records import ADAPTER_FILES, BEGUN_FROM
from timbre.core.sections import TrainParams
from timbre.training.batches import Utterance

VERSION = 2  # raise when a warm start gives another adapter for the same input
MOST_CHANGED = 0.1  # of the clips
MOST_IN_A_ROW = 3  # warm starts, as the held-out loss gets worse with each; then one from the base again
SHORTER, SLOWER = 3, 2  # by how much: the passes over the clips, and the highest learning rate
HASHES = 500  # of clips that training.json keeps: the smallest ones, which stand for all
WEIGHTS = Path("before")  # in the scratch folder of a run
SETTINGS, CLIPS = "settings", "clips_learnt"  # in training.json


class Inputs(NamedTuple):
    """What a training is of, beside the weights that it begins with."""

    key: str  # of all of it: the key of a training that begins from the base
    settings: str  # of the base and the parameters alone
    clips: Sequence[str]  # a hash each: words, sound and whether it is held back

    def record(self) -> dict[str, object]:
        """For training.json."""
        return {SETTINGS: self.settings, CLIPS: _sketch(self.clips)}


class Before(NamedTuple):
    """The adapter that a training begins with."""

    weights: Path  # folder
    key: str  # of its training
    changed: int  # clips that differ from those that it learnt
    in_a_row: int  # warm starts up to this one, since one from the base
    version: str = ""  # its id

    def record(self) -> dict[str, object]:
        told = {"version": self.version, "key": self.key, "clips_changed": self.changed, "in_a_row": self.in_a_row}
        return {BEGUN_FROM: told}


def clip_hashes(clips: Sequence[Utterance], codes: Sequence[str], part: str) -> list[str]:
    rows = zip(clips, codes, strict=True)
    return [content_key(part, clip.id, clip.speaker, clip.turn.text, key)[:8] for clip, key in rows]


def is_of(training: Mapping[str, Any], inputs: Inputs) -> bool:
    """Whether an adapter with this training.json was learnt from the same, wherever it began."""
    before = dict(training.get(BEGUN_FROM, {})).get("key")
    return training.get("key") == (key_of(inputs, before) if before else inputs.key)


def key_of(inputs: Inputs, before: str) -> str:
    """Of a training that begins with the adapter of this key."""
    return content_key("warm start", VERSION, inputs.key, before)


def gentler(params: TrainParams) -> TrainParams:
    """Fewer passes at a lower rate: what the adapter knows already is not to be learnt again."""
    return replace(params, epochs=math.ceil(params.epochs / SHORTER), learning_rate=params.learning_rate / SLOWER)


def unfinished(inputs: Inputs, scratch: Path) -> Before | None:
    """Where a run of the same began that was killed: in the folder of all runs."""
    for path in sorted(scratch.glob(f"*/{WEIGHTS}/begun.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        before = Before(path.parent, *json.loads(path.read_bytes()))
        if path.parts[-3] == key_of(inputs, before.key):
            return before
    return None


def after(adapter: Path, training: Mapping[str, Any], inputs: Inputs) -> Before | None:
    """The adapter with this training.json as a beginning; None where it is too far away."""
    if training.get(SETTINGS) != inputs.settings:
        return None
    changed = _changed(training[CLIPS], inputs.clips)
    in_a_row = dict(training.get(BEGUN_FROM, {})).get("in_a_row", 0) + 1
    if changed > MOST_CHANGED * len(inputs.clips) or in_a_row > MOST_IN_A_ROW:
        return None
    return Before(adapter, str(training["key"]), changed, in_a_row)


def keep(before: Before, scratch: Path) -> Before:
    """With a copy of the weights in the scratch folder of its run; that there is one already is fine."""
    folder = scratch / WEIGHTS
    if before.weights == folder:
        return before
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ADAPTER_FILES:
        shutil.copyfile(before.weights / name, folder / name)
    write_atomic(folder / "begun.json", json.dumps(before[1:]))  # the last: without it, the copy is not whole
    return before._replace(weights=folder)


def _sketch(hashes: Sequence[str]) -> dict[str, object]:
    return {"count": len(hashes), "smallest": sorted(hashes)[:HASHES]}


def _changed(before: Mapping[str, Any], now: Sequence[str]) -> int:
    """How many clips differ: exact up to `HASHES` clips, beyond that from the share of the smallest hashes."""
    smallest = sorted({*before["smallest"], *sorted(now)[:HASHES]})[:HASHES]
    old, new = set(before["smallest"]), set(sorted(now)[:HASHES])
    one_sided = max(sum(one in new - old for one in smallest), sum(one in old - new for one in smallest))
    most = max(len(now), int(before["count"]))
    return one_sided if most <= HASHES else math.ceil(one_sided / len(smallest) * most)
