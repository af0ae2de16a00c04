"""A voice's courses, one after the other: each is begun, run to its end, and leaves its best weights in the voice.

for run in learn(voice, clips, held, params, own, scratch):
    ...                                     # the voice has the course's best weights now
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from timbre.core.errors import ModelError
from timbre.core.sections import TrainParams
from timbre.families import Course, Lora, Voice
from timbre.training import distributed
from timbre.training.batches import Utterance
from timbre.training.checkpoint import TrainingState
from timbre.training.live_curves import Curves
from timbre.training.loop import Training

POINTS = Path("finished/points")  # in the scratch folder: adapters on the way, by their steps


class Run(NamedTuple):
    """A course that was run to its end."""

    course: Course
    state: TrainingState
    begun: int  # steps of the courses before it
    planned: int  # steps that it was to take at most
    ended_early: bool = False  # by a person
    chosen_by: str = "eval_loss"  # column of the history that is lowest at the best step
    whole: dict[str, float] | None = None  # losses on all held-out clips, where evaluations use only some

    def facts(self) -> dict[str, object]:
        """The weights over-fitted by as much as the last evaluation is worse than the best; losses are the main one."""
        state = self.state
        last = [row for row in state.history if self.chosen_by in row][-1][self.chosen_by]
        return {
            "steps": self.begun + state.step,
            "best_step": self.begun + state.best_step,
            "chosen_by": self.chosen_by,
            "best_eval_loss": round(state.best_loss, 4),
            "last_eval_loss": round(last, 4),
            "overfit": round(last - state.best_loss, 4),
            **({"all_held_out": self.whole} if self.whole else {}),
        }

    def points(self) -> list[int]:
        return [self.begun + step for step in (*self.state.points, self.state.best_step)]


class ShiftedCurves(NamedTuple):
    """Curves of a course that follows others: steps are counted through all of them."""

    curves: Curves | None
    begun: int

    def begin(self, step: int, steps: int) -> None:
        if self.curves:
            self.curves.begin(self.begun + step, self.begun + steps)

    def rows(self, rows: Sequence[Mapping[str, float]]) -> None:
        if self.curves:
            self.curves.rows([{**row, "step": self.begun + row["step"]} for row in rows])


def learn(
    voice: Voice,
    clips: Sequence[Utterance],
    held: Sequence[Utterance],
    params: TrainParams,
    own: Any,
    scratch: Path,
    live: Curves | None = None,
    before: Path | None = None,
) -> Iterator[Run]:
    """Each course of the voice, run to its end; `own` is the family's section of params.yaml.

    What the voice had learnt at points on the way lies in `scratch`, in the folder POINTS. Where a person ends a course
    early, those after it end at their first evaluation, and begin anew when the training goes on. `before` is the
    folder of an adapter to begin with.
    """
    import torch

    lora, begun, ended_early = Lora(params.rank, params.alpha, params.rslora, params.dropout), 0, False
    if distributed.first():
        shutil.rmtree(scratch / POINTS, ignore_errors=True)
    for course in voice.courses(lora, own, save_memory=params.gradient_checkpointing):
        torch.manual_seed(params.seed)
        course.meet([clip.turn for clip in clips])
        course.begin()
        if before:
            course.set_weights(_saved(course, before))
        changed = replace(params, **course.changes)
        curves = ShiftedCurves(live, begun)
        training = Training(voice, course, clips, held, changed, scratch / course.name, curves)
        state = training.run()
        for step, weights in state.points.items():
            course.set_weights(weights)
            voice.save_adapter(scratch / POINTS / f"{begun + step:06}")
        course.set_weights(state.best)
        whole = distributed.told(training.evaluate(held)) if len(held) > len(training.held) else None
        rounded = {name: round(loss, 4) for name, loss in whole.items()} if whole else None
        yield Run(course, state, begun, training.steps, training.ended_early, training.chosen_by, rounded)
        begun += state.step
        if ended_early and distributed.first():
            shutil.rmtree(scratch / course.name, ignore_errors=True)  # it followed weights that are to change
        ended_early |= training.ended_early


def _saved(course: Course, before: Path) -> dict[str, Any]:
    """The same in every process: another machine may not have the folder."""
    weights = distributed.told(course.saved(before) if distributed.first() else None)
    if weights is None:
        raise ModelError(f"train.warm_start: {course.name} cannot begin with an adapter of before; set it to none")
    return dict(weights)
