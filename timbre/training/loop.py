"""The training loop of one course: steps, evaluations, the best weights, and the way back in after a kill.

    state = Training(voice, course, clips, held, params, scratch).run()

All that is random in a step is drawn from the seed and the step's number alone, and nothing is measured in the way of
the sums: a run that was killed, watched or timed gives the same bytes as one that was not. Batches are made ahead in a
thread, and losses stay where they were computed until an evaluation asks for them: between two of these a GPU is never
waited for, and never waits.

A person may end it early (`training.ending`): at the evaluation after that, with the state saved, so that it can go on
from there to the same bytes.

The best step is the one at which the evaluation loss that the course calls its main one is lowest: docs/training.md.

Of several processes (`training.distributed`) each learns from its part of every batch, and all take the same step.
Without dropout the losses are those of one process, but for rounding; with it, each part has draws of its own.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from functools import partial, reduce
from operator import or_
from pathlib import Path
from typing import Any

from tqdm import tqdm

from timbre.core.errors import ModelError
from timbre.core.sections import TrainParams
from timbre.families import Course, Objective, Voice
from timbre.training import distributed, ending
from timbre.training.batches import BatchOrder, PreparedBatch, Utterance, exam_clips, prepare
from timbre.training.checkpoint import Checkpoints, TrainingState
from timbre.training.live_curves import Curves
from timbre.training.losses import StepLosses, fetched, mean, named
from timbre.training.optimisers import optimiser_for, take_step
from timbre.training.prefetch import ahead
from timbre.training.schedule import evaluation_steps, is_patient, learning_rate
from timbre.training.timing import StepTimer


class Training:
    def __init__(
        self, voice: Voice, course: Course, clips: Sequence[Utterance], held: Sequence[Utterance], params: TrainParams,
        scratch: Path, live: Curves,
    ) -> None:  # fmt: skip
        self.part = distributed.part()
        self.course, self.params, self.live = course, params, live
        if params.shard and self.part.of > 1:
            distributed.spread(course.stacks)
        self.autocast = autocast(params)
        self.objectives = course.objectives
        self.optimisers = [optimiser_for(objective, params) for objective in self.objectives]
        self.order = BatchOrder(
            voice, clips, batch=params.batch, share=params.context_share, seed=params.seed,
            equal=params.speakers == "equal",
        )  # fmt: skip
        steps = math.ceil(params.epochs * self.order.batches / params.accumulation)
        self.steps = min(steps, params.max_steps or steps)
        self.held = exam_clips(held, params.eval_clips)
        exam = course.exam_cost * sum(voice.length([clip.turn]) for clip in self.held)
        step = self.order.positions * params.accumulation
        self.every = evaluation_steps(params.eval_every, exam, step, params.eval_cost)
        self.exams = list(self.exams_of(self.held))  # the same each time, so they are made once
        self.chosen_by = f"eval_loss/{course.main}" if course.main else "eval_loss"
        self.timer = StepTimer()
        self.unread: list[StepLosses] = []
        self.checkpoints = Checkpoints(scratch, params.points, self.steps, self.every)
        self.state = self.resumed()
        self.ended_early = False

    def run(self) -> TrainingState:
        state = self.state
        self.course.model.train()  # a run that goes on evaluates nothing first
        self.live.begin(state.step, self.steps)
        if not state.history:
            # the weights that it begins with, of a training before perhaps, are no candidate for the best
            state.history.append({"step": 0, "epoch": 0.0, **distributed.told(self.evaluate())})
            self.live.rows(state.history)
        quiet = not distributed.first()
        bar = tqdm(total=self.steps, initial=state.step, desc="train", unit="step", dynamic_ncols=True, disable=quiet)
        with ending.by_ctrl_c() if self.part.of == 1 else nullcontext(), closing(self.prepared()) as batches:
            while not self.is_over() and not self.ended_early:
                state.step += 1
                self.step(batches)
                if state.step % self.every == 0 or state.step == self.steps:
                    self.look()
                    self.ended_early = distributed.told(ending.asked()) and not self.is_over()
                    self.save()
                    loss = state.history[-1]["train_loss"]
                    bar.set_postfix(loss=f"{loss:.3f}", best=f"{state.best_loss:.3f}", refresh=False)
                bar.update()
        bar.close()
        self.checkpoints.wait()
        state.points = self.checkpoints.points(state.best_step)
        return state

    def prepared(self) -> Generator[PreparedBatch]:
        each = self.params.accumulation
        make = partial(prepare, self.course, self.order, self.params.seed, self.part)
        return ahead(make, range(self.state.step * each, self.steps * each))

    def step(self, prepared: Iterator[PreparedBatch]) -> None:
        """Each objective's optimiser takes a step, on the same batches."""
        self.timer.start()
        batches: list[PreparedBatch] = []
        losses: list[list[dict[str, Any]]] = []
        norms: dict[str, Any] = {}
        rate = learning_rate(self.state.step, self.steps, self.params)
        for objective, optimiser in zip(self.objectives, self.optimisers, strict=True):
            optimiser.zero_grad()  # of what flowed through to it from another objective
            same = iter(batches) if batches else self.awaited(prepared, batches)
            losses.append([self.learn(objective, batch) for batch in same])
            norm = take_step(objective, optimiser, rate, self.params.max_grad_norm)
            norms[self.name("grad_norm", objective)] = norm
        of_batches = [reduce(or_, parts) for parts in zip(*losses, strict=True)]
        self.unread.append(StepLosses(self.state.step, of_batches, norms))
        self.timer.stop(self.state.step, sum(batch.frames for batch in batches))

    def awaited(self, prepared: Iterator[PreparedBatch], batches: list[PreparedBatch]) -> Iterator[PreparedBatch]:
        """A step's batches as they are made, put into `batches` too."""
        for _ in range(self.params.accumulation):
            with self.timer.waiting():
                batches.append(next(prepared))
            yield batches[-1]

    def learn(self, objective: Objective, prepared: PreparedBatch) -> dict[str, Any]:
        """Gradients of a batch's part, and its losses."""
        import torch

        torch.manual_seed(prepared.seed)
        with self.autocast:
            losses = objective.losses(prepared.batch)
        (losses.total / self.params.accumulation).backward()
        return named(losses, self.name("loss", objective))

    def name(self, kind: str, objective: Objective) -> str:
        """The last objective's numbers are those of the course; the others' carry their names."""
        return kind if objective is self.objectives[-1] else f"{kind}/{objective.name}"

    def look(self) -> None:
        """What the steps since the last look gave, and an evaluation."""
        state = self.state
        batches = iter(fetched([losses for step in self.unread for losses in step.losses], parts=True))
        norms = fetched([step.norms for step in self.unread])
        for taken, norm in zip(self.unread, norms, strict=True):
            state.history.append(self.row(taken.step, mean([next(batches) for _ in taken.losses]), norm))
        taken_since = len(self.unread)
        self.unread.clear()
        state.speed += self.timer.rows()
        state.history[-1] |= (evaluated := distributed.told(self.evaluate()))  # all stop where the first does
        self.compare(evaluated)
        best = {"best_step": float(state.best_step), "best_eval_loss": state.best_loss}
        self.live.rows([state.history[-1] | best, *state.history[-taken_since:-1]])  # the evaluated one first

    def compare(self, evaluated: dict[str, float]) -> None:
        state = self.state
        if evaluated[self.chosen_by] < state.best_loss:
            state.best_step, state.best_loss = state.step, evaluated[self.chosen_by]
            state.best = self.course.weights()

    def row(self, step: int, losses: dict[str, float], norms: dict[str, float]) -> dict[str, float]:
        if not math.isfinite(total := losses.pop("loss")):
            raise ModelError(f"train: the loss is {total} at step {step}; lower train.learning_rate")
        row = {"step": step, "epoch": step * self.params.accumulation / self.order.batches, "train_loss": total}
        row |= {f"train_{name}": loss for name, loss in losses.items()}
        return row | norms | {"learning_rate": learning_rate(step, self.steps, self.params)}

    def exams_of(self, clips: Sequence[Utterance]) -> Iterator[Any]:
        for start in range(0, len(clips), self.params.batch):
            yield self.course.exam([[clip.turn] for clip in clips[start : start + self.params.batch]], self.part)

    def evaluate(self, clips: Sequence[Utterance] | None = None) -> dict[str, float]:
        """Mean over the clips of their losses; without any, over those of each evaluation."""
        import torch

        self.course.model.eval()
        exams = self.exams if clips is None else self.exams_of(clips)
        with torch.no_grad(), self.autocast:
            losses = [named(self.course.evaluate(exam)) for exam in exams]
        self.course.model.train()
        size, count = self.params.batch, len(self.held if clips is None else clips)
        weights = [min(size, count - start) for start in range(0, count, size)]  # clips
        return {f"eval_{name}": value for name, value in mean(fetched(losses, parts=True), weights).items()}

    def is_over(self) -> bool:
        return self.state.step >= self.steps or self.out_of_patience()

    def out_of_patience(self) -> bool:
        since_best = self.state.step - self.state.best_step
        epochs = since_best * self.params.accumulation / self.order.batches
        return not is_patient(self.params, epochs, since_best // self.every)

    def save(self) -> None:
        if distributed.first():
            at_once = self.ended_early or self.is_over()
            self.checkpoints.save(self.state, self.course.weights, self.optimisers, at_once=at_once)

    def resumed(self) -> TrainingState:
        """The state of a run that ended early."""
        if (content := self.checkpoints.read()) is None:
            return TrainingState()
        self.course.set_weights(content["weights"])
        for optimiser, state in zip(self.optimisers, content["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        state = TrainingState(**content["state"])
        print(f"train: goes on from step {state.step}")
        return state


def autocast(params: TrainParams) -> Any:
    import torch

    cuda = torch.cuda.is_available()
    half = params.precision == "bf16" or (params.precision == "auto" and cuda and torch.cuda.is_bf16_supported())
    return torch.autocast("cuda" if cuda else "cpu", torch.bfloat16, enabled=half)
