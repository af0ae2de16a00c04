"""The training loop: LoRA steps, evaluations, the best adapter, and the way back in after a kill.

    state = Training(voice, clips, held, params, scratch).run()     # the voice wears the best adapter now

All that is random in a step is drawn from the seed and the step's number alone, and nothing is measured in the way of
the sums: a run that was killed, watched or timed gives the same bytes as one that was not.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from timbre.errors import ModelError
from timbre.families import Lora, Losses, Voice
from timbre.learning.gauge import Gauge
from timbre.learning.lessons import Utterance, dialogue, epoch_batches

SNAPSHOTS = 4  # adapters kept on the way per point that is wanted: the best step is known at the end only


@dataclass(frozen=True)
class Params:
    rank: int
    alpha: float
    rslora: bool
    dropout: float
    learning_rate: float
    warmup: int  # steps
    epochs: int
    max_steps: int | None
    batch: int  # clips
    accumulation: int  # batches
    weight_decay: float
    max_grad_norm: float
    depth_share: float
    context_share: float
    context_seconds: float
    eval_every: int  # steps
    patience: int  # evaluations
    points: int  # of training that one can hear
    optimiser: Literal["adamw", "adamw_8bit"]
    precision: Literal["auto", "fp32", "bf16"]
    gradient_checkpointing: bool
    seed: int

    def __post_init__(self) -> None:
        wrong = [
            f"{name}: {getattr(self, name)} is not {least} or more"
            for name, least in {
                "rank": 1, "warmup": 0, "epochs": 1, "batch": 1, "accumulation": 1, "eval_every": 1, "patience": 0,
                "points": 1, "seed": 0, "weight_decay": 0, "context_seconds": 0,
            }.items()
            if getattr(self, name) < least
        ]  # fmt: skip
        wrong += [
            f"{name}: {getattr(self, name)} is not above 0"
            for name in ("alpha", "learning_rate", "max_grad_norm")
            if not getattr(self, name) > 0
        ]
        wrong += [
            f"{name}: {getattr(self, name)} is not between 0 and 1"
            for name in ("dropout", "depth_share", "context_share")
            if not 0 <= getattr(self, name) <= 1
        ]
        if self.max_steps is not None and self.max_steps < 1:
            wrong.append(f"max_steps: {self.max_steps} is not 1 or more, nor null")
        if wrong:
            raise ValueError("\n".join(wrong))


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


def point_steps(kept: Sequence[int], best: int, points: int) -> list[int]:
    """Of the steps that were kept, those nearest to equal parts of the way to the best one, which is the last point."""
    before = [step for step in kept if step < best]
    wanted = [best * part / points for part in range(1, points)]
    return sorted({min(before, key=lambda step: (abs(step - place), step)) for place in wanted}) if before else []


def named(losses: Losses) -> dict[str, float]:
    groups = {f"depth_loss_{name}": loss for name, loss in losses.groups.items()}
    parts = {"loss": losses.total, "backbone_loss": losses.backbone, "depth_loss": losses.depth} | groups
    return {name: float(loss.detach()) for name, loss in parts.items()}


def mean(rows: Sequence[dict[str, float]], weights: Sequence[float] | None = None) -> dict[str, float]:
    return {name: float(np.average([row[name] for row in rows], weights=weights)) for name in rows[0]}


def learning_rate(step: int, steps: int, params: Params) -> float:
    """Of step 1 … steps: a straight way up over the warm-up, then half a cosine down to a twentieth."""
    if step <= params.warmup:
        return params.learning_rate * step / params.warmup
    done = (step - params.warmup) / max(1, steps - params.warmup)
    return params.learning_rate * (0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2)


class Training:
    """One run: `run` leaves the best adapter on the voice."""

    def __init__(
        self, voice: Voice, clips: Sequence[Utterance], held: Sequence[Utterance], params: Params, scratch: Path
    ) -> None:
        import torch
        from accelerate import Accelerator

        self.voice, self.clips, self.params, self.scratch = voice, clips, params, scratch
        self.held = sorted(held, key=lambda clip: (clip.seconds, clip.id))  # like lengths beside each other
        torch.manual_seed(params.seed)
        if params.gradient_checkpointing:
            voice.save_memory()
        voice.adapt(Lora(params.rank, params.alpha, params.rslora, params.dropout))
        can = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        half = params.precision == "bf16" or (params.precision == "auto" and can)
        self.accelerator = Accelerator(mixed_precision="bf16" if half else "no")
        assert self.accelerator.num_processes == 1, "each process would write the same adapter"
        voice.model, self.optimiser = self.accelerator.prepare(voice.model, optimiser_for(voice.model, params))
        self.lengths = tuple(voice.length([clip.turn]) for clip in clips)
        self.batches = math.ceil(len(clips) / params.batch)  # in an epoch
        steps = math.ceil(params.epochs * self.batches / params.accumulation)
        self.steps = min(steps, params.max_steps or steps)
        evaluations = math.ceil(self.steps / params.eval_every)
        self.spacing = params.eval_every * math.ceil(evaluations / (SNAPSHOTS * params.points))  # steps
        self.gauge, self.frames = Gauge(), 0
        self.state = self.resumed()

    def run(self) -> State:
        state, params = self.state, self.params
        if not state.history:
            state.history.append({"step": 0, "epoch": 0.0, **self.evaluate()})
        bar = tqdm(total=self.steps, initial=state.step, desc="train", unit="step", dynamic_ncols=True)
        while state.step < self.steps and not self.out_of_patience():
            state.step += 1
            self.gauge.start()
            row = self.step(state.step)
            state.speed.append(self.gauge.row(state.step, self.frames))
            state.history.append(row)
            if state.step % params.eval_every == 0 or state.step == self.steps:
                row |= self.evaluate()
                if row["eval_loss"] < state.best_loss:
                    state.best_step, state.best_loss = state.step, row["eval_loss"]
                    state.best = self.voice.adapter_weights()
                self.save()
            bar.set_postfix(loss=f"{row['train_loss']:.3f}", best=f"{state.best_loss:.3f}", refresh=False)
            bar.update()
        bar.close()
        state.points = self.points()
        self.voice.set_adapter_weights(state.best)
        return state

    def step(self, number: int) -> dict[str, float]:
        """One step of the optimiser, and its row of the history."""
        params = self.params
        rate = learning_rate(number, self.steps, params)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        first = (number - 1) * params.accumulation
        self.frames = 0
        losses = mean([self.learn(batch) for batch in range(first, first + params.accumulation)])
        norm = self.accelerator.clip_grad_norm_(self.voice.model.parameters(), params.max_grad_norm)
        self.optimiser.step()
        self.optimiser.zero_grad()
        if not math.isfinite(total := losses.pop("loss")):
            raise ModelError(f"train: the loss is {total} at step {number}; lower train.learning_rate")
        row = {"step": number, "epoch": number * params.accumulation / self.batches, "train_loss": total, **losses}
        return row | {"grad_norm": float(norm), "learning_rate": rate}

    def learn(self, number: int) -> dict[str, float]:
        """Gradients of one batch, the `number`th of the run; what is random in it follows from the number alone."""
        import torch

        params = self.params
        draw = random.Random(f"{params.seed} batch {number}")
        torch.manual_seed(draw.getrandbits(63))  # dropout
        epoch, place = divmod(number, self.batches)
        rows = epoch_batches(self.lengths, params.batch, params.seed, epoch)[place]
        share, longest = params.context_share, params.context_seconds
        talks = [dialogue(self.voice, self.clips[row], self.clips, share, longest, draw) for row in rows]
        self.frames += sum(len(turn.codes) for talk in talks for turn in talk if turn.codes is not None)
        self.voice.model.train()
        with self.accelerator.autocast():
            losses = self.voice.losses(self.voice.batch(talks, params.depth_share, draw.getrandbits(63)))
        self.accelerator.backward(losses.total / params.accumulation)
        return named(losses)

    def evaluate(self) -> dict[str, float]:
        """Mean over the evaluation clips of their losses, on all frames and codebooks."""
        import torch

        self.voice.model.eval()
        means, weights = [], []
        with torch.no_grad(), self.accelerator.autocast():
            for start in range(0, len(self.held), self.params.batch):
                talks = [[clip.turn] for clip in self.held[start : start + self.params.batch]]
                means.append(named(self.voice.losses(self.voice.batch(talks, 1.0, 0))))
                weights.append(len(talks))
        return {f"eval_{name}": value for name, value in mean(means, weights).items()}

    def out_of_patience(self) -> bool:
        waited = self.state.step - self.state.best_step
        return 0 < self.params.patience * self.params.eval_every <= waited

    def save(self) -> None:
        import torch

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

        kept = {int(path.stem.partition("-")[2]): path for path in self.scratch.glob("point-*.pt")}
        steps = point_steps(sorted(kept), self.state.best_step, self.params.points)
        return {step: torch.load(kept[step], map_location="cpu", weights_only=True) for step in steps}

    def resumed(self) -> State:
        import torch

        if not (self.scratch / "state.pt").exists():
            return State()
        content = torch.load(self.scratch / "state.pt", map_location="cpu", weights_only=True)
        self.voice.set_adapter_weights(content["adapter"])
        self.optimiser.load_state_dict(content["optimiser"])
        state = State(**content["state"])
        print(f"train: goes on from step {state.step}")
        return state


def optimiser_for(model: Any, params: Params) -> Any:
    import torch

    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if params.optimiser == "adamw":
        return torch.optim.AdamW(weights, params.learning_rate, weight_decay=params.weight_decay)
    if not torch.cuda.is_available():
        raise ModelError("train.optimiser: adamw_8bit needs a CUDA device, and there is none; set adamw")
    try:
        import bitsandbytes
    except ImportError as error:
        raise ModelError("train.optimiser: adamw_8bit needs the package bitsandbytes; add it or set adamw") from error
    return bitsandbytes.optim.AdamW8bit(weights, params.learning_rate, weight_decay=params.weight_decay)
