"""The training loop: steps, evaluations, the best weights, and the way back in after a kill.

    for run in learn(voice, clips, held, params, own, scratch):    # each course, one after the other
        ...                                                        # the voice has the course's best weights now

All that is random in a step is drawn from the seed and the step's number alone, and nothing is measured in the way of
the sums: a run that was killed, watched or timed gives the same bytes as one that was not. Batches are made ahead in a
thread, and losses stay where they were computed until an evaluation asks for them: between two of these a GPU is never
waited for, and never waits.

Of several processes (`training.distributed`) each learns from its part of every batch, and all take the same step.
Without dropout the losses are those of one process, but for rounding; with it, each part has draws of its own.
"""

from __future__ import annotations

import math
import os
import random
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from timbre.core.errors import ModelError
from timbre.core.safe_text import warn
from timbre.core.sections import TrainParams
from timbre.families import Course, Lora, Losses, Objective, Voice
from timbre.families import codes as clip_codes
from timbre.training import distributed
from timbre.training.batches import Lessons, Utterance
from timbre.training.prefetch import ahead
from timbre.training.schedule import learning_rate, point_steps
from timbre.training.timing import Gauge

POINTS = Path("finished/points")  # in the scratch folder: adapters on the way, by their steps
SNAPSHOTS = 4  # weights kept on the way per point that is wanted: the best step is known at the end only


@dataclass
class State:
    """All that a run needs to go on, beside the weights and the optimisers."""

    step: int = 0
    best_step: int = 0
    best_loss: float = math.inf
    best: dict[str, object] = field(default_factory=dict)  # its weights
    history: list[dict[str, float]] = field(default_factory=list)
    speed: list[dict[str, float]] = field(default_factory=list)  # of each step, on this machine
    points: dict[int, dict[str, Any]] = field(default_factory=dict)  # weights at steps before the best, in the end


class PreparedBatch(NamedTuple):
    """A batch to learn from, made ahead."""

    seed: int  # of dropout
    batch: Any  # of the family's own; this process's part of it
    frames: int  # of sound, in all parts


class Taken(NamedTuple):
    """A step that was taken, and what it gave, which nobody has looked at yet."""

    step: int
    losses: list[dict[str, Any]]  # of each batch's part; tensors, where the model is
    norms: dict[str, Any]  # of the gradients


def named(losses: Losses, name: str = "loss") -> dict[str, Any]:
    parts = {name: losses.total} | {f"loss/{part}": loss for part, loss in losses.parts.items()}
    return {part: loss.detach() for part, loss in parts.items()}


def fetched(rows: Sequence[dict[str, Any]], *, parts: bool = False) -> list[dict[str, float]]:
    """Numbers of tensors, with one look at the device for all of them; with `parts`, added up over the processes."""
    import torch

    if not rows:
        return []
    table = torch.stack([torch.stack([value.float() for value in row.values()]) for row in rows])
    if parts:
        distributed.add_up([table])
    return [dict(zip(row, numbers, strict=True)) for row, numbers in zip(rows, table.tolist(), strict=True)]


def mean(rows: Sequence[dict[str, float]], weights: Sequence[float] | None = None) -> dict[str, float]:
    return {name: float(np.average([row[name] for row in rows], weights=weights)) for name in rows[0]}


class Run(NamedTuple):
    """A course that was run to its end."""

    course: Course
    state: State
    begun: int  # steps of the courses before it

    def facts(self) -> dict[str, object]:
        """The weights over-fitted by as much as the last evaluation is worse than the best."""
        state = self.state
        last = [row for row in state.history if "eval_loss" in row][-1]
        return {
            "steps": self.begun + state.step,
            "best_step": self.begun + state.best_step,
            "best_eval_loss": round(state.best_loss, 4),
            "last_eval_loss": round(last["eval_loss"], 4),
            "overfit": round(last["eval_loss"] - state.best_loss, 4),
        }

    def points(self) -> list[int]:
        return [self.begun + step for step in (*self.state.points, self.state.best_step)]


def learn(
    voice: Voice, clips: Sequence[Utterance], held: Sequence[Utterance], params: TrainParams, own: Any, scratch: Path
) -> Iterator[Run]:
    """Each course of the voice, run to its end; `own` is the family's section of params.yaml.

    What the voice had learnt at points on the way lies in `scratch`, in the folder POINTS.
    """
    import torch

    lora, begun = Lora(params.rank, params.alpha, params.rslora, params.dropout), 0
    if distributed.first():
        shutil.rmtree(scratch / POINTS, ignore_errors=True)
    for course in voice.courses(lora, own, save_memory=params.gradient_checkpointing):
        torch.manual_seed(params.seed)
        course.meet([clip.turn for clip in clips])
        course.begin()
        changed = replace(params, **course.changes)
        state = Training(voice, course, clips, held, changed, scratch / course.name).run()
        for step, weights in state.points.items():
            course.set_weights(weights)
            voice.save_adapter(scratch / POINTS / f"{begun + step:06}")
        course.set_weights(state.best)
        yield Run(course, state, begun)
        begun += state.step


class Training:
    """One course."""

    def __init__(
        self, voice: Voice, course: Course, clips: Sequence[Utterance], held: Sequence[Utterance], params: TrainParams,
        scratch: Path,
    ) -> None:  # fmt: skip
        import torch

        self.part = distributed.part()
        self.course, self.params, self.scratch = course, params, scratch
        self.held = sorted(held, key=lambda clip: (clip.seconds, clip.id))  # like lengths beside each other
        if params.shard and self.part.of > 1:
            distributed.spread(course.stacks)
        cuda = torch.cuda.is_available()
        half = params.precision == "bf16" or (params.precision == "auto" and cuda and torch.cuda.is_bf16_supported())
        self.autocast = torch.autocast("cuda" if cuda else "cpu", torch.bfloat16, enabled=half)
        self.objectives = course.objectives
        self.optimisers = [optimiser_for(objective, params) for objective in self.objectives]
        self.order = Lessons(
            voice, clips, batch=params.batch, share=params.context_share, longest=params.context_seconds,
            seed=params.seed,
        )  # fmt: skip
        steps = math.ceil(params.epochs * self.order.batches / params.accumulation)
        self.steps = min(steps, params.max_steps or steps)
        evaluations = math.ceil(self.steps / params.eval_every)
        self.spacing = params.eval_every * math.ceil(evaluations / (SNAPSHOTS * params.points))  # steps
        self.exams = [  # the same each time, so they are made once
            course.exam([[clip.turn] for clip in self.held[start : start + params.batch]], self.part)
            for start in range(0, len(self.held), params.batch)
        ]
        self.gauge = Gauge()
        self.taken: list[Taken] = []
        self.state = self.resumed()

    def run(self) -> State:
        state, params = self.state, self.params
        self.course.model.train()  # a run that goes on evaluates nothing first
        if not state.history:
            state.history.append({"step": 0, "epoch": 0.0, **self.evaluate()})
        quiet = not distributed.first()
        bar = tqdm(total=self.steps, initial=state.step, desc="train", unit="step", dynamic_ncols=True, disable=quiet)
        with closing(self.lessons()) as lessons:
            while state.step < self.steps and not self.out_of_patience():
                state.step += 1
                self.step(lessons)
                if state.step % params.eval_every == 0 or state.step == self.steps:
                    self.look()
                    self.save()
                    loss = state.history[-1]["train_loss"]
                    bar.set_postfix(loss=f"{loss:.3f}", best=f"{state.best_loss:.3f}", refresh=False)
                bar.update()
        bar.close()
        state.points = self.points()
        return state

    def lessons(self) -> Generator[PreparedBatch]:
        params = self.params
        return ahead(self.lesson, range(self.state.step * params.accumulation, self.steps * params.accumulation))

    def lesson(self, number: int) -> PreparedBatch:
        """The `number`th batch of the run; what is random in it follows from the number alone."""
        params = self.params
        draw = random.Random(f"{params.seed} batch {number}")
        seed = draw.getrandbits(63) + self.part.number
        talks = self.order.dialogues(number)
        frames = sum(clip_codes.frames(turn.codes) for talk in talks for turn in talk if turn.codes is not None)
        batch = self.course.batch(talks, draw.getrandbits(63), self.part)
        return PreparedBatch(seed, batch, frames)

    def step(self, lessons: Iterator[PreparedBatch]) -> None:
        """Each objective's optimiser takes a step, on the same batches."""
        self.gauge.start()
        batches: list[PreparedBatch] = []
        losses: list[list[dict[str, Any]]] = []
        norms: dict[str, Any] = {}
        for objective, optimiser in zip(self.objectives, self.optimisers, strict=True):
            optimiser.zero_grad()  # of what flowed through to it from another objective
            some = iter(batches) if batches else self.waited(lessons, batches)
            losses.append([self.learn(objective, lesson) for lesson in some])
            norms[self.name("grad_norm", objective)] = self.follow(objective, optimiser)
        both = [reduce(or_, parts) for parts in zip(*losses, strict=True)]
        self.taken.append(Taken(self.state.step, both, norms))
        self.gauge.stop(self.state.step, sum(lesson.frames for lesson in batches))

    def waited(self, lessons: Iterator[PreparedBatch], batches: list[PreparedBatch]) -> Iterator[PreparedBatch]:
        """A step's batches as they are made, put into `batches` too."""
        for _ in range(self.params.accumulation):
            with self.gauge.waiting():
                batches.append(next(lessons))
            yield batches[-1]

    def follow(self, objective: Objective, optimiser: Any) -> Any:
        """Go down the gradients that were added up; returns their norm."""
        import torch

        distributed.add_up([weight.grad for weight in objective.weights])
        norm = torch.nn.utils.clip_grad_norm_(objective.weights, self.params.max_grad_norm)
        for group in optimiser.param_groups:
            group["lr"] = group["share"] * learning_rate(self.state.step, self.steps, self.params)
        optimiser.step()
        optimiser.zero_grad()
        return norm

    def learn(self, objective: Objective, lesson: PreparedBatch) -> dict[str, Any]:
        """Gradients of a batch's part, and its losses."""
        import torch

        torch.manual_seed(lesson.seed)
        with self.autocast:
            losses = objective.losses(lesson.batch)
        (losses.total / self.params.accumulation).backward()
        return named(losses, self.name("loss", objective))

    def name(self, kind: str, objective: Objective) -> str:
        """The last objective's numbers are those of the course; the others' carry their names."""
        return kind if objective is self.objectives[-1] else f"{kind}/{objective.name}"

    def look(self) -> None:
        """What the steps since the last look gave, and an evaluation."""
        state, params = self.state, self.params
        batches = iter(fetched([losses for taken in self.taken for losses in taken.losses], parts=True))
        norms = fetched([taken.norms for taken in self.taken])
        for taken, norm in zip(self.taken, norms, strict=True):
            losses = mean([next(batches) for _ in taken.losses])
            if not math.isfinite(total := losses.pop("loss")):
                raise ModelError(f"train: the loss is {total} at step {taken.step}; lower train.learning_rate")
            row = {"step": taken.step, "epoch": taken.step * params.accumulation / self.order.batches}
            row |= {"train_loss": total} | {f"train_{name}": loss for name, loss in losses.items()}
            state.history.append(row | norm | {"learning_rate": learning_rate(taken.step, self.steps, params)})
        self.taken.clear()
        state.speed += self.gauge.rows()
        state.history[-1] |= (seen := distributed.told(self.evaluate()))  # all stop where the first does
        if seen["eval_loss"] < state.best_loss:
            state.best_step, state.best_loss = state.step, seen["eval_loss"]
            state.best = self.course.weights()

    def evaluate(self) -> dict[str, float]:
        """Mean over the evaluation clips of their losses."""
        import torch

        self.course.model.eval()
        with torch.no_grad(), self.autocast:
            losses = [named(self.course.evaluate(exam)) for exam in self.exams]
        self.course.model.train()
        size, count = self.params.batch, len(self.held)
        weights = [min(size, count - start) for start in range(0, count, size)]  # clips
        return {f"eval_{name}": value for name, value in mean(fetched(losses, parts=True), weights).items()}

    def out_of_patience(self) -> bool:
        waited = self.state.step - self.state.best_step
        return 0 < self.params.patience * self.params.eval_every <= waited

    def save(self) -> None:
        import torch

        if not distributed.first():
            return
        self.scratch.mkdir(parents=True, exist_ok=True)
        weights, optimisers = self.course.weights(), [optimiser.state_dict() for optimiser in self.optimisers]
        contents = {"state": {"state": vars(self.state), "weights": weights, "optimisers": optimisers}}
        if self.params.points > 1 and self.state.step % self.spacing == 0:
            contents = {f"point-{self.state.step}": weights} | contents  # before the state, which counts it as kept
        for name, content in contents.items():
            torch.save(content, self.scratch / f"{name}.pt.tmp")
            os.replace(self.scratch / f"{name}.pt.tmp", self.scratch / f"{name}.pt")

    def points(self) -> dict[int, dict[str, Any]]:
        import torch

        if not distributed.first():
            return {}
        kept = {int(path.stem.partition("-")[2]): path for path in self.scratch.glob("point-*.pt")}
        steps = point_steps(sorted(kept), self.state.best_step, self.params.points)
        return {step: torch.load(kept[step], map_location="cpu", weights_only=True) for step in steps}

    def resumed(self) -> State:
        """The state of a run that ended early, from the first process: another machine may not have it."""
        path, content = self.scratch / "state.pt", None
        if distributed.first() and path.exists():
            content = read_state(path)
        if (content := distributed.told(content)) is None:
            return State()
        self.course.set_weights(content["weights"])
        for optimiser, kept in zip(self.optimisers, content["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        state = State(**content["state"])
        print(f"train: goes on from step {state.step}")
        return state


def read_state(path: Path) -> dict[str, Any] | None:
    """What a run saved to go on from; None, and a word about it, where the file is damaged: then it begins again."""
    import torch

    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(content, dict) and {"weights", "optimisers", "state"} <= set(content):
            State(**content["state"])
            return content
        reason = "it is none of ours"
    except Exception as error:  # torch lets through whatever its readers of zip and pickle raise on damaged bytes
        reason = str(error).strip().splitlines()[0][:80] if str(error).strip() else type(error).__name__
    warn(f"train: {path} is damaged ({reason}); the training begins again")
    return None


def optimiser_for(objective: Objective, params: TrainParams) -> Any:
    import torch

    asked = {"lr": params.learning_rate, "betas": objective.betas, "weight_decay": params.weight_decay}
    share, slow = objective.slower
    slowly = {id(weight) for weight in slow}
    pairs = ((1.0, [weight for weight in objective.weights if id(weight) not in slowly]), (share, list(slow)))
    groups = [{"params": weights, "share": part} for part, weights in pairs if weights]
    if params.optimiser == "adamw":
        return torch.optim.AdamW(groups, **asked)
    if not torch.cuda.is_available():
        raise ModelError("train.optimiser: adamw_8bit needs a CUDA device, and there is none; set adamw")
    try:
        import bitsandbytes
    except ImportError as error:
        raise ModelError("train.optimiser: adamw_8bit needs the package bitsandbytes; add it or set adamw") from error
    return bitsandbytes.optim.AdamW8bit(groups, **asked)
