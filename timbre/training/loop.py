"""The training loop: LoRA steps, evaluations, the best adapter, and the way back in after a kill.

    state = Training(voice, clips, held, params, scratch).run()     # the voice wears the best adapter now

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
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from timbre.core.errors import ModelError
from timbre.core.sections import TrainParams
from timbre.families import Lora, Losses, Voice
from timbre.training import distributed
from timbre.training.batches import Lessons, Utterance
from timbre.training.prefetch import ahead
from timbre.training.schedule import learning_rate, point_steps
from timbre.training.timing import Gauge

SNAPSHOTS = 4  # adapters kept on the way per point that is wanted: the best step is known at the end only


@dataclass
class State:
    """All that a run needs to go on, beside the adapter's weights and the optimiser."""

    step: int = 0
    best_step: int = 0
    best_loss: float = math.inf
    best: dict[str, object] = field(default_factory=dict)  # its weights
    history: list[dict[str, float]] = field(default_factory=list)
    speed: list[dict[str, float]] = field(default_factory=list)  # of each step, on this machine
    points: dict[int, dict[str, Any]] = field(default_factory=dict)  # weights at steps before the best, in the end


class Lesson(NamedTuple):
    """A batch to learn from, made ahead."""

    seed: int  # of dropout
    batch: Any  # of the family's own; this process's part of it
    frames: int  # of sound, in all parts


class Taken(NamedTuple):
    """A step that was taken, and what it gave, which nobody has looked at yet."""

    step: int
    losses: list[dict[str, Any]]  # of each batch's part; tensors, where the model is
    norm: Any


def named(losses: Losses) -> dict[str, Any]:
    groups = {f"depth_loss_{name}": loss for name, loss in losses.groups.items()}
    parts = {"loss": losses.total, "backbone_loss": losses.backbone, "depth_loss": losses.depth} | groups
    return {name: loss.detach() for name, loss in parts.items()}


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


class Training:
    """One run: `run` leaves the best adapter on the voice."""

    def __init__(
        self, voice: Voice, clips: Sequence[Utterance], held: Sequence[Utterance], params: TrainParams, scratch: Path
    ) -> None:
        import torch

        self.part = distributed.part()
        self.voice, self.clips, self.params, self.scratch = voice, clips, params, scratch
        self.held = sorted(held, key=lambda clip: (clip.seconds, clip.id))  # like lengths beside each other
        torch.manual_seed(params.seed)
        if params.gradient_checkpointing:
            voice.save_memory()
        voice.adapt(Lora(params.rank, params.alpha, params.rslora, params.dropout))
        if params.shard and self.part.of > 1:
            distributed.spread(voice.stacks)
        cuda = torch.cuda.is_available()
        half = params.precision == "bf16" or (params.precision == "auto" and cuda and torch.cuda.is_bf16_supported())
        self.autocast = torch.autocast("cuda" if cuda else "cpu", torch.bfloat16, enabled=half)
        self.weights = [weight for weight in voice.model.parameters() if weight.requires_grad]
        self.optimiser = optimiser_for(self.weights, params)
        self.course = Lessons(
            voice, clips, batch=params.batch, share=params.context_share, longest=params.context_seconds,
            seed=params.seed,
        )  # fmt: skip
        steps = math.ceil(params.epochs * self.course.batches / params.accumulation)
        self.steps = min(steps, params.max_steps or steps)
        evaluations = math.ceil(self.steps / params.eval_every)
        self.spacing = params.eval_every * math.ceil(evaluations / (SNAPSHOTS * params.points))  # steps
        self.exams = [  # the same each time, so they are made once
            voice.batch([[clip.turn] for clip in self.held[start : start + params.batch]], 1.0, 0, self.part)
            for start in range(0, len(self.held), params.batch)
        ]
        self.gauge = Gauge()
        self.taken: list[Taken] = []
        self.state = self.resumed()

    def run(self) -> State:
        state, params = self.state, self.params
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
        self.voice.set_adapter_weights(state.best)
        return state

    def lessons(self) -> Generator[Lesson]:
        params = self.params
        return ahead(self.lesson, range(self.state.step * params.accumulation, self.steps * params.accumulation))

    def lesson(self, number: int) -> Lesson:
        """The `number`th batch of the run; what is random in it follows from the number alone."""
        params = self.params
        draw = random.Random(f"{params.seed} batch {number}")
        seed = draw.getrandbits(63) + self.part.number
        talks = self.course.dialogues(number)
        frames = sum(len(turn.codes) for talk in talks for turn in talk if turn.codes is not None)
        batch = self.voice.batch(talks, params.depth_share, draw.getrandbits(63), self.part)
        return Lesson(seed, batch, frames)

    def step(self, lessons: Iterator[Lesson]) -> None:
        """One step of the optimiser."""
        import torch

        params = self.params
        self.gauge.start()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.state.step, self.steps, params)
        losses, frames = [], 0
        for _ in range(params.accumulation):
            with self.gauge.waiting():
                lesson = next(lessons)
            losses.append(self.learn(lesson))
            frames += lesson.frames
        distributed.add_up([weight.grad for weight in self.weights])
        norm = torch.nn.utils.clip_grad_norm_(self.weights, params.max_grad_norm)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.taken.append(Taken(self.state.step, losses, norm))
        self.gauge.stop(self.state.step, frames)

    def learn(self, lesson: Lesson) -> dict[str, Any]:
        """Gradients of a batch's part, and its losses."""
        import torch

        torch.manual_seed(lesson.seed)
        with self.autocast:
            losses = self.voice.losses(lesson.batch)
        (losses.total / self.params.accumulation).backward()
        return named(losses)

    def look(self) -> None:
        """What the steps since the last look gave, and an evaluation."""
        state, params = self.state, self.params
        batches = iter(fetched([losses for taken in self.taken for losses in taken.losses], parts=True))
        norms = fetched([{"grad_norm": taken.norm} for taken in self.taken])
        for taken, norm in zip(self.taken, norms, strict=True):
            losses = mean([next(batches) for _ in taken.losses])
            if not math.isfinite(total := losses.pop("loss")):
                raise ModelError(f"train: the loss is {total} at step {taken.step}; lower train.learning_rate")
            row = {
                "step": taken.step,
                "epoch": taken.step * params.accumulation / self.course.batches,
                "train_loss": total,
            }
            state.history.append(row | losses | norm | {"learning_rate": learning_rate(taken.step, self.steps, params)})
        self.taken.clear()
        state.speed += self.gauge.rows()
        state.history[-1] |= (seen := distributed.told(self.evaluate()))  # all stop where the first does
        if seen["eval_loss"] < state.best_loss:
            state.best_step, state.best_loss = state.step, seen["eval_loss"]
            state.best = self.voice.adapter_weights()

    def evaluate(self) -> dict[str, float]:
        """Mean over the evaluation clips of their losses, on all frames and codebooks."""
        import torch

        self.voice.model.eval()
        with torch.no_grad(), self.autocast:
            losses = [named(self.voice.losses(batch)) for batch in self.exams]
        self.voice.model.train()
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
        weights = self.voice.adapter_weights()
        contents = {"state": {"state": vars(self.state), "adapter": weights, "optimiser": self.optimiser.state_dict()}}
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
        import torch

        path, content = self.scratch / "state.pt", None
        if distributed.first() and path.exists():
            content = torch.load(path, map_location="cpu", weights_only=True)
        if (content := distributed.told(content)) is None:
            return State()
        self.voice.set_adapter_weights(content["adapter"])
        self.optimiser.load_state_dict(content["optimiser"])
        state = State(**content["state"])
        print(f"train: goes on from step {state.step}")
        return state


def optimiser_for(weights: list[Any], params: TrainParams) -> Any:
    import torch

    if params.optimiser == "adamw":
        return torch.optim.AdamW(weights, params.learning_rate, weight_decay=params.weight_decay)
    if not torch.cuda.is_available():
        raise ModelError("train.optimiser: adamw_8bit needs a CUDA device, and there is none; set adamw")
    try:
        import bitsandbytes
    except ImportError as error:
        raise ModelError("train.optimiser: adamw_8bit needs the package bitsandbytes; add it or set adamw") from error
    return bitsandbytes.optim.AdamW8bit(weights, params.learning_rate, weight_decay=params.weight_decay)
