"""LoRA on the base voice model: learns the speaker from codes, keeps the best checkpoint, goes on after a kill.

    python -m stages.train --dataset data/dataset --codes data/codes --out models/adapter --history models/history.csv

Reads   data/dataset/train.jsonl, eval.jsonl    clips and their words
        data/codes/<clip>.npy                   their sound as codes
Writes  models/adapter/                         the best adapter by evaluation loss, and training.json about it
        models/history.csv                      losses, gradient norm and learning rate of each step

The state of an unfinished run is in .timbre/train/<content key>/, safe to delete. All that is random in a step is drawn
from the seed and the step's number alone, so a run that was killed gives the same bytes as one that was not.
"""

from __future__ import annotations

import argparse
import csv
import functools
import io
import json
import math
import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from tqdm import tqdm

from timbre import families
from timbre.errors import DataError, ModelError, run
from timbre.families import Lora, Turn, Voice
from timbre.mapping import content_key, write_atomic
from timbre.params import read
from timbre.records import Example, read_jsonl

VERSION = 1  # raise when the code gives another adapter for the same input
SCRATCH = Path(".timbre/train")
COLUMNS = (
    "step", "epoch", "train_loss", "backbone_loss", "depth_loss", "eval_loss", "eval_backbone_loss", "eval_depth_loss",
    "grad_norm", "learning_rate",
)  # fmt: skip
BUCKET = 8  # batches whose clips are sorted by length together: little padding, and still another mix each epoch


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
    optimiser: Literal["adamw", "adamw_8bit"]
    precision: Literal["auto", "fp32", "bf16"]
    gradient_checkpointing: bool
    seed: int

    def __post_init__(self) -> None:
        wrong = [
            f"{name}: {getattr(self, name)} is not {least} or more"
            for name, least in {
                "rank": 1, "warmup": 0, "epochs": 1, "batch": 1, "accumulation": 1, "eval_every": 1, "patience": 0,
                "seed": 0, "weight_decay": 0, "context_seconds": 0,
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


class Utterance(NamedTuple):
    """A clip to learn from."""

    id: str
    speaker: str
    seconds: float
    turn: Turn


@dataclass
class State:
    """All that a run needs to go on, beside the adapter's weights and the optimiser."""

    step: int = 0
    best_step: int = 0
    best_loss: float = math.inf
    best: dict[str, object] = field(default_factory=dict)  # its weights
    history: list[dict[str, float]] = field(default_factory=list)


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
    voice: Voice, clip: Utterance, others: Sequence[Utterance], params: Params, draw: random.Random
) -> list[Turn]:
    """The clip, and before a share of the clips another one of the speaker: so it learns to follow a reference."""
    if draw.random() >= params.context_share:
        return [clip.turn]
    fit = [o for o in others if o.id != clip.id and o.speaker == clip.speaker and o.seconds <= params.context_seconds]
    turns = [draw.choice(fit).turn, clip.turn] if fit else [clip.turn]
    return turns if voice.length(turns) <= voice.positions else [clip.turn]


def learning_rate(step: int, steps: int, params: Params) -> float:
    """Of step 1 … steps: a straight way up over the warm-up, then half a cosine down to a twentieth."""
    if step <= params.warmup:
        return params.learning_rate * step / params.warmup
    done = (step - params.warmup) / max(1, steps - params.warmup)
    return params.learning_rate * (0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2)


def check_lengths(voice: Voice, clips: Sequence[Utterance]) -> None:
    for clip in clips:
        if (size := voice.length([clip.turn])) > voice.positions:
            raise DataError(
                f"{clip.id}: its {clip.seconds:.1f} s take {size} of the model's {voice.positions} positions; "
                "lower chunk.max_seconds"
            )


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
        self.state = self.resumed()

    def run(self) -> State:
        state, params = self.state, self.params
        if not state.history:
            state.history.append({"step": 0, "epoch": 0.0, **self.evaluate()})
        bar = tqdm(total=self.steps, initial=state.step, desc="train", unit="step", dynamic_ncols=True)
        while state.step < self.steps and not self.out_of_patience():
            state.step += 1
            row = self.step(state.step)
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
        self.voice.set_adapter_weights(state.best)
        return state

    def step(self, number: int) -> dict[str, float]:
        """One step of the optimiser, and its row of the history."""
        params = self.params
        rate = learning_rate(number, self.steps, params)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        first = (number - 1) * params.accumulation
        losses = [self.learn(batch) for batch in range(first, first + params.accumulation)]
        norm = self.accelerator.clip_grad_norm_(self.voice.model.parameters(), params.max_grad_norm)
        self.optimiser.step()
        self.optimiser.zero_grad()
        total, backbone, depth = np.mean(losses, axis=0).tolist()
        if not math.isfinite(total):
            raise ModelError(f"train: the loss is {total} at step {number}; lower train.learning_rate")
        row = {"step": number, "epoch": number * params.accumulation / self.batches, "train_loss": total}
        return row | {"backbone_loss": backbone, "depth_loss": depth, "grad_norm": float(norm), "learning_rate": rate}

    def learn(self, number: int) -> list[float]:
        """Gradients of one batch, the `number`th of the run; what is random in it follows from the number alone."""
        import torch

        params = self.params
        draw = random.Random(f"{params.seed} batch {number}")
        torch.manual_seed(draw.getrandbits(63))  # dropout
        epoch, place = divmod(number, self.batches)
        rows = epoch_batches(self.lengths, params.batch, params.seed, epoch)[place]
        talks = [dialogue(self.voice, self.clips[row], self.clips, params, draw) for row in rows]
        self.voice.model.train()
        with self.accelerator.autocast():
            losses = self.voice.losses(self.voice.batch(talks, params.depth_share, draw.getrandbits(63)))
        self.accelerator.backward(losses.total / params.accumulation)
        return [float(loss.detach()) for loss in losses]

    def evaluate(self) -> dict[str, float]:
        """Mean over the evaluation clips of their losses, on all frames and codebooks."""
        import torch

        self.voice.model.eval()
        means, weights = [], []
        with torch.no_grad(), self.accelerator.autocast():
            for start in range(0, len(self.held), self.params.batch):
                talks = [[clip.turn] for clip in self.held[start : start + self.params.batch]]
                means.append([float(loss) for loss in self.voice.losses(self.voice.batch(talks, 1.0, 0))])
                weights.append(len(talks))
        total, backbone, depth = np.average(means, axis=0, weights=weights).tolist()
        return {"eval_loss": total, "eval_backbone_loss": backbone, "eval_depth_loss": depth}

    def out_of_patience(self) -> bool:
        waited = self.state.step - self.state.best_step
        return 0 < self.params.patience * self.params.eval_every <= waited

    def save(self) -> None:
        import torch

        self.scratch.mkdir(parents=True, exist_ok=True)
        content = {"state": vars(self.state), "adapter": self.voice.adapter_weights()}
        torch.save(content | {"optimiser": self.optimiser.state_dict()}, self.scratch / "state.pt.tmp")
        os.replace(self.scratch / "state.pt.tmp", self.scratch / "state.pt")

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


def to_csv(history: Sequence[dict[str, float]]) -> str:
    """Six digits: the rest is noise of the machine. A cell is empty where nothing was measured."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([f"{row[c]:.6g}" if c in row else "" for c in COLUMNS] for row in history)
    return text.getvalue()


def write(voice: Voice, state: State, clips: Sequence[Utterance], out: Path, history: Path) -> None:
    if not voice.adapter_effect([clips[0].turn]):
        raise ModelError(
            "train: the adapter changes nothing (the logits with and without it are equal); "
            "raise train.learning_rate or train.epochs"
        )
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    voice.save_adapter(out)
    trained, every = (sum(w.numel() for w in voice.model.parameters() if w.requires_grad or a) for a in (False, True))
    facts = {
        "steps": state.step,
        "best_step": state.best_step,
        "best_eval_loss": round(state.best_loss, 4),
        "trainable_share": round(trained / every, 5),
        "clips": len(clips),
        "seconds": round(sum(clip.seconds for clip in clips), 2),
    }
    write_atomic(out / "training.json", json.dumps(facts, indent=2) + "\n")
    write_atomic(history, to_csv(state.history))


def main() -> None:
    parser = argparse.ArgumentParser(description="LoRA on the base voice model.")
    parser.add_argument("--dataset", type=Path, required=True, help="folder of the two tables, data/dataset")
    parser.add_argument("--codes", type=Path, required=True, help="folder of the clips' codes, data/codes")
    parser.add_argument("--out", type=Path, required=True, help="folder of the adapter, models/adapter")
    parser.add_argument("--history", type=Path, required=True, help="table of losses, models/history.csv")
    args = parser.parse_args()
    params, base = read("train", Params), read("voice", families.Params)
    train_clips, train_keys = utterances(args.dataset / "train.jsonl", args.codes)
    eval_clips, eval_keys = utterances(args.dataset / "eval.jsonl", args.codes)
    texts = [(clip.id, clip.turn.text) for clip in [*train_clips, *eval_clips]]
    key = content_key(VERSION, families.fingerprint(base), asdict(params), texts, train_keys, eval_keys)
    voice = families.load(base, precision="fp32" if params.precision == "fp32" else "auto")
    check_lengths(voice, [*train_clips, *eval_clips])
    state = Training(voice, train_clips, eval_clips, params, SCRATCH / key).run()
    write(voice, state, train_clips, args.out, args.history)
    shutil.rmtree(SCRATCH / key, ignore_errors=True)
    print(f"train: best at step {state.best_step} of {state.step}, evaluation loss {state.best_loss:.3f}")


if __name__ == "__main__":
    run(main)
