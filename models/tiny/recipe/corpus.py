"""The synthetic corpus as the trainings see it, and how they keep their state.

Reads   <work>/corpus.npy, <work>/corpus.jsonl, which synthesise.py wrote
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

RATE = 16_000
HERE = Path(__file__).resolve().parent.parent
WORK = Path(os.environ.get("TIMBRE_TINY_WORK", "~/.cache/timbre-tiny")).expanduser()


@dataclass(frozen=True)
class Utterance:
    id: str
    voice: str
    split: str  # train, heldout (sentences), unseen (voices)
    kind: str
    text: str
    offset: int  # samples into the corpus
    samples: int
    words: list[list[float]]  # start and end of each word, seconds


class Corpus:
    """The synthetic corpus, memory-mapped: `corpus[utterance]` is float32 at 16 kHz."""

    def __init__(self, work: Path = WORK) -> None:
        self.sound = np.load(work / "corpus.npy", mmap_mode="r")
        rows = [json.loads(line) for line in (work / "corpus.jsonl").read_text().splitlines()]
        self.utterances = [Utterance(**{k: r[k] for k in Utterance.__dataclass_fields__}) for r in rows]

    def __getitem__(self, utterance: Utterance) -> np.ndarray:
        return self.sound[utterance.offset : utterance.offset + utterance.samples].astype(np.float32) / 32768

    def of(self, *splits: str) -> list[Utterance]:
        return [u for u in self.utterances if u.split in splits]


def keep(path: Path, state: dict[str, Any]) -> None:
    """Under a temporary name first: a kill leaves the older state, never half of one."""
    torch.save(state, f"{path}.tmp")
    os.replace(f"{path}.tmp", path)
