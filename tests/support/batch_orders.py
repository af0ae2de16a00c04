"""The order of clips that are no recordings, for a voice that only counts their codes."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from tests.support.tiny_models import CODEBOOKS
from timbre.families import Turn
from timbre.training.batches import BatchOrder, Utterance


class Counted:
    """As much of a voice as the order of order depends on."""

    def length(self, turns: list[Turn]) -> int:
        return sum(len(turn.codes["codes"]) for turn in turns if turn.codes is not None)

    def fits(self, turns: list[Turn]) -> str | None:
        return "are too long" if self.length(turns) > 2048 else None


def utterance(name: str, speaker: str, seconds: float, frames: int | None = None) -> Utterance:
    codes = np.ones((frames or round(seconds * 12.5), CODEBOOKS), np.int16)
    turn = Turn(name, {"codes": codes})
    return Utterance(name, speaker, seconds, turn, opening=turn if seconds <= 12 else None)


def course(
    clips: list[Utterance], *, batch: int = 4, share: float = 0.75, seed: int = 7, equal: bool = False
) -> BatchOrder:
    return BatchOrder(cast(Any, Counted()), clips, batch=batch, share=share, seed=seed, equal=equal)


def told(order: BatchOrder, epoch: int = 0) -> list[list[list[str]]]:
    numbers = range(epoch * order.batches, (epoch + 1) * order.batches)
    return [[[turn.text for turn in talk] for talk in order.dialogues(number)] for number in numbers]
