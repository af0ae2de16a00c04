"""How much computing a second of speech takes two versions on one machine, a sentence each in turn.

`timbre speed` measures and writes it; `timbre diff --speed FILE` reads it for the regression check. Seconds of one
machine say nothing beside those of another, so the file holds both versions or none, and names their commits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from timbre.core.content import read_text, write_atomic
from timbre.core.errors import DataError


@dataclass(frozen=True)
class SpokenTime:
    computing: float  # seconds
    sound: float  # seconds

    @property
    def rate(self) -> float:
        return self.computing / self.sound


@dataclass(frozen=True)
class TimedSentence:
    text: str
    old: SpokenTime
    new: SpokenTime


@dataclass(frozen=True)
class SpeedComparison:
    old: str | None  # commits; None: the work tree
    new: str | None
    unit: str  # CPU seconds, or seconds of the clock
    sentences: Sequence[TimedSentence]

    def check_is_of(self, old: str | None, new: str | None, path: Path) -> None:
        if (self.old, self.new) != (old, new):
            measured, asked = (
                " and ".join(one[:8] if one else "the work tree" for one in both)
                for both in ((self.old, self.new), (old, new))
            )
            raise DataError(f"{path}: measured {measured}, and not {asked}; `timbre speed` measures them")


def write(path: Path, comparison: SpeedComparison) -> None:
    write_atomic(path, json.dumps(asdict(comparison), indent=1, ensure_ascii=False) + "\n")


def read(path: Path) -> SpeedComparison:
    try:
        values = json.loads(read_text(path, remedy="`timbre speed` writes it"))
        old, new = (None if values[name] is None else str(values[name]) for name in ("old", "new"))
        return SpeedComparison(old, new, str(values["unit"]), [_sentence(row) for row in values["sentences"]])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not what `timbre speed` writes; measure again") from error


def _sentence(row: Any) -> TimedSentence:
    old, new = (SpokenTime(*(float(row[name][part]) for part in ("computing", "sound"))) for name in ("old", "new"))
    values = (old.computing, old.sound, new.computing, new.sound)
    if not all(0 < value < math.inf for value in values):
        raise ValueError("seconds are above 0")
    return TimedSentence(str(row["text"]), old, new)
