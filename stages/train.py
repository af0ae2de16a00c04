"""LoRA on the base voice model: learns the speaker from codes, keeps the best checkpoint, goes on after a kill.

    python -m stages.train --dataset data/dataset --codes data/codes --out models/adapter --points models/points \\
        --history models/history.csv --speed models/speed.json

Reads   data/dataset/train.jsonl, eval.jsonl    clips and their words
        data/codes/<clip>.npy                   their sound as codes
Writes  models/adapter/                         the best adapter by evaluation loss, and training.json about it
        models/points/<step>/                   adapters on the way there, to hear it learn
        models/history.csv                      losses, gradient norm and learning rate of each step
        models/speed.json                       what each step cost on this machine; no output of DVC's

The state of an unfinished run is in .timbre/train/<content key>/, safe to delete. All that is random in a step is drawn
from the seed and the step's number alone, so a run that was killed gives the same bytes as one that was not.
`train.processes` are started here, unless a launcher of yours started them: docs/several-gpus.md.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from timbre import families
from timbre.core.content import content_key, write_atomic
from timbre.core.errors import ModelError
from timbre.core.params import read
from timbre.core.running import run_stage, settle
from timbre.core.sections import TrainParams, VoiceParams
from timbre.families import Voice
from timbre.training import distributed, timing
from timbre.training.batches import Utterance, check_lengths, utterances
from timbre.training.loop import State, Training
from timbre.training.schedule import asked

VERSION = 2  # raise when the code gives another adapter for the same input
SCRATCH = Path(".timbre/train")
COLUMNS = (
    "step", "epoch", "train_loss", "backbone_loss", "depth_loss", "eval_loss", "eval_backbone_loss", "eval_depth_loss",
    "grad_norm", "learning_rate",
)  # fmt: skip


def to_csv(history: Sequence[dict[str, float]]) -> str:
    """Six digits: the rest is noise of the machine. A cell is empty where nothing was measured.

    After the columns that every family has come those of its groups of codebooks.
    """
    columns = list(dict.fromkeys([*COLUMNS, *(name for row in history for name in row)]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([f"{row[c]:.6g}" if c in row else "" for c in columns] for row in history)
    return text.getvalue()


def facts(voice: Voice, state: State, clips: Sequence[Utterance]) -> dict[str, object]:
    """Numbers about the training; the adapter over-fitted by as much as the last evaluation is worse than the best."""
    trained, every = (sum(w.numel() for w in voice.model.parameters() if w.requires_grad or a) for a in (False, True))
    last = [row for row in state.history if "eval_loss" in row][-1]
    return {
        "steps": state.step,
        "best_step": state.best_step,
        "best_eval_loss": round(state.best_loss, 4),
        "last_eval_loss": round(last["eval_loss"], 4),
        "overfit": round(last["eval_loss"] - state.best_loss, 4),
        "points": [*state.points, state.best_step],
        "trainable_share": round(trained / every, 5),
        "clips": len(clips),
        "seconds": round(sum(clip.seconds for clip in clips), 2),
    }


def check_effect(voice: Voice, clip: Utterance) -> None:
    if not voice.adapter_effect([clip.turn]):
        raise ModelError(
            "train: the adapter changes nothing (the logits with and without it are equal); "
            "raise train.learning_rate or train.epochs"
        )


def write(voice: Voice, state: State, clips: Sequence[Utterance], out: Path, points: Path, history: Path) -> None:
    for folder in (out, points):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for step, weights in state.points.items():
        voice.set_adapter_weights(weights)
        voice.save_adapter(points / f"{step:06}")
    voice.set_adapter_weights(state.best)
    voice.save_adapter(out)
    write_atomic(out / "training.json", json.dumps(facts(voice, state, clips), indent=2) + "\n")
    write_atomic(history, to_csv(state.history))


def main(
    dataset: Annotated[Path, "folder of the two tables, data/dataset"],
    codes: Annotated[Path, "folder of the clips' codes, data/codes"],
    out: Annotated[Path, "folder of the adapter, models/adapter"],
    points: Annotated[Path, "folder of adapters on the way, models/points"],
    history: Annotated[Path, "table of losses, models/history.csv"],
    speed: Annotated[Path, "what it cost on this machine, models/speed.json"],
) -> None:
    settings = read()
    params, base = settings.train, settings.voice
    if distributed.launch(params.processes, "stages.train"):
        return
    with distributed.joined(params.processes):
        voice, state, clips, scratch = train(dataset, codes, params, base)
        if not distributed.first():
            return
        write(voice, state, clips, out, points, history)
        timing.write(speed, out, state.speed)
        shutil.rmtree(scratch, ignore_errors=True)
        print(f"train: best at step {state.best_step} of {state.step}, evaluation loss {state.best_loss:.3f}")


def train(
    dataset: Path, codes: Path, params: TrainParams, base: VoiceParams
) -> tuple[Voice, State, list[Utterance], Path]:
    """What each process does; the first alone writes. Returns the training clips and the run's scratch folder, too."""
    train_clips, train_keys = utterances(dataset / "train.jsonl", codes)
    eval_clips, eval_keys = utterances(dataset / "eval.jsonl", codes)
    texts = [(clip.id, clip.turn.text) for clip in [*train_clips, *eval_clips]]
    key = content_key(VERSION, families.fingerprint(base), asked(params), texts, train_keys, eval_keys)
    distributed.agree((key, params.shard))
    voice = families.load(base, precision=params.precision)
    if distributed.part().of == 1:  # several have shared the cores among them when they were started
        settle(voice.model)
    check_lengths(voice, [*train_clips, *eval_clips])
    state = Training(voice, train_clips, eval_clips, params, SCRATCH / key).run()
    check_effect(voice, train_clips[0])
    return voice, state, train_clips, SCRATCH / key


if __name__ == "__main__":
    run_stage(main)
