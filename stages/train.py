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
from timbre.families import Lora, Losses, Turn, Voice
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


def optimiser_for(model: Any, params: Params) -> Any:
    import torch

    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if params.optimiser == "adamw":
        return torch.optim.AdamW(weights, params.learning_rate, weight_decay=params.weight_decay)
    try:
        import bitsandbytes
    except ImportError as error:
        raise ModelError("train.optimiser: adamw_8bit needs the package bitsandbytes; add it or set adamw") from error
    if not torch.cuda.is_available():
        raise ModelError("train.optimiser: adamw_8bit needs a CUDA device, and there is none; set adamw")
    return bitsandbytes.optim.AdamW8bit(weights, params.learning_rate, weight_decay=params.weight_decay)


def train(
    voice: Voice, train_clips: Sequence[Utterance], eval_clips: Sequence[Utterance], params: Params, scratch: Path
) -> State:
    """Train until the schedule's end or until patience is out; the voice wears the best adapter then."""
    import torch
    from accelerate import Accelerator

    torch.manual_seed(params.seed)
    if params.gradient_checkpointing:
        voice.save_memory()
    voice.adapt(Lora(params.rank, params.alpha, params.rslora, params.dropout))
    can = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    half = params.precision == "bf16" or (params.precision == "auto" and can)
    accelerator = Accelerator(mixed_precision="bf16" if half else "no")
    assert accelerator.num_processes == 1, "one process: each would write the same adapter"
    optimiser = optimiser_for(voice.model, params)
    voice.model, optimiser = accelerator.prepare(voice.model, optimiser)
    lengths = tuple(voice.length([clip.turn]) for clip in train_clips)
    batches = math.ceil(len(lengths) / params.batch)  # per epoch
    steps = math.ceil(params.epochs * batches / params.accumulation)
    steps = min(steps, params.max_steps or steps)
    state = resume(voice, optimiser, scratch)
    if not state.history:
        state.history.append({"step": 0, "epoch": 0.0, **evaluate(voice, eval_clips, params, accelerator)})
    bar = tqdm(total=steps, initial=state.step, desc="train", unit="step", dynamic_ncols=True)
    while state.step < steps and not is_out_of_patience(state, params):
        state.step += 1
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(state.step, steps, params)
        parts = []
        for number in range((state.step - 1) * params.accumulation, state.step * params.accumulation):
            rows = epoch_batches(lengths, params.batch, params.seed, number // batches)[number % batches]
            parts.append(learn([train_clips[i] for i in rows], train_clips, number, voice, params, accelerator))
        norm = accelerator.clip_grad_norm_(voice.model.parameters(), params.max_grad_norm)
        optimiser.step()
        optimiser.zero_grad()
        total, backbone, depth = np.mean(parts, axis=0).tolist()
        epoch = state.step * params.accumulation / batches
        row = {"step": state.step, "epoch": epoch, "train_loss": total, "backbone_loss": backbone, "depth_loss": depth}
        row |= {"grad_norm": float(norm), "learning_rate": learning_rate(state.step, steps, params)}
        state.history.append(row)
        if not math.isfinite(total):
            raise ModelError(f"train: the loss is {total} at step {state.step}; lower train.learning_rate")
        if state.step % params.eval_every == 0 or state.step == steps:
            row |= evaluate(voice, eval_clips, params, accelerator)
            if row["eval_loss"] < state.best_loss:
                state.best_step, state.best_loss, state.best = state.step, row["eval_loss"], voice.adapter_weights()
            save(voice, optimiser, state, scratch)
        bar.set_postfix(loss=f"{total:.3f}", best=f"{state.best_loss:.3f}", refresh=False)
        bar.update()
    bar.close()
    voice.set_adapter_weights(state.best)
    return state


def learn(
    clips: Sequence[Utterance], others: Sequence[Utterance], number: int, voice: Voice, params: Params, accelerator: Any
) -> list[float]:
    """Gradients of one batch, the `number`th of the run; what is random in it depends on the number alone."""
    import torch

    draw = random.Random(f"{params.seed} batch {number}")
    torch.manual_seed(draw.getrandbits(63))  # dropout
    voice.model.train()
    batch = voice.batch(
        [dialogue(voice, c, others, params, draw) for c in clips], params.depth_share, draw.getrandbits(63)
    )
    with accelerator.autocast():
        losses = voice.losses(batch)
    accelerator.backward(losses.total / params.accumulation)
    return [float(loss.detach()) for loss in losses]


def evaluate(voice: Voice, clips: Sequence[Utterance], params: Params, accelerator: Any) -> dict[str, float]:
    """Mean over the evaluation clips of their losses, on all frames and codebooks."""
    import torch

    voice.model.eval()
    totals: list[Losses] = []
    weights: list[int] = []
    ranked = sorted(clips, key=lambda clip: (clip.seconds, clip.id))
    with torch.no_grad(), accelerator.autocast():
        for start in range(0, len(ranked), params.batch):
            rows = ranked[start : start + params.batch]
            totals.append(voice.losses(voice.batch([[clip.turn] for clip in rows], 1.0, 0)))
            weights.append(len(rows))
    total, backbone, depth = np.average([[float(x) for x in losses] for losses in totals], axis=0, weights=weights)
    return {"eval_loss": float(total), "eval_backbone_loss": float(backbone), "eval_depth_loss": float(depth)}


def is_out_of_patience(state: State, params: Params) -> bool:
    return params.patience > 0 and state.step - state.best_step >= params.patience * params.eval_every


def save(voice: Voice, optimiser: Any, state: State, scratch: Path) -> None:
    import torch

    scratch.mkdir(parents=True, exist_ok=True)
    content = {"state": vars(state), "adapter": voice.adapter_weights(), "optimiser": optimiser.state_dict()}
    torch.save(content, scratch / "state.pt.tmp")
    os.replace(scratch / "state.pt.tmp", scratch / "state.pt")


def resume(voice: Voice, optimiser: Any, scratch: Path) -> State:
    import torch

    if not (scratch / "state.pt").exists():
        return State()
    content = torch.load(scratch / "state.pt", map_location="cpu", weights_only=True)
    voice.set_adapter_weights(content["adapter"])
    optimiser.load_state_dict(content["optimiser"])
    state = State(**content["state"])
    print(f"train: goes on from step {state.step}")
    return state


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
    state = train(voice, train_clips, eval_clips, params, SCRATCH / key)
    write(voice, state, train_clips, args.out, args.history)
    shutil.rmtree(SCRATCH / key, ignore_errors=True)
    print(f"train: best at step {state.best_step} of {state.step}, evaluation loss {state.best_loss:.3f}")


if __name__ == "__main__":
    run(main)
