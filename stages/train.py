"""LoRA on the base voice model: learns the speaker from codes, keeps the best checkpoint, goes on after a kill.

    python -m stages.train --dataset data/dataset --codes data/codes --out models/adapter --points models/points \\
        --history models/history.csv --speed models/speed.json

Reads   data/dataset/train.jsonl, eval.jsonl    clips and their words
        data/codes/<clip>.npy                   their sound as codes
Writes  models/adapter/                         the best adapter by evaluation loss, and training.json about it
        models/points/<step>/                   adapters on the way there, to hear it learn
        models/history.csv                      losses, gradient norm and learning rate of each step
        models/speed.json                       what each step cost on this machine; no output of DVC's

The three outputs are one entry. Its key, in training.json, is of all that it depends on: the base model, the clips'
words and codes, the section `train`. What was trained from the same before is kept or put back, so an edit of code that
changes no result trains nothing, nor does an edit that is taken back.

The state of an unfinished run is in .timbre/train/<content key>/, safe to delete. All that is random in a step is drawn
from the seed and the step's number alone, so a run that was killed gives the same bytes as one that was not.
`train.processes` are started here, unless a launcher of yours started them: docs/several-gpus.md.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from timbre import families
from timbre.core.content import content_key
from timbre.core.errors import ModelError
from timbre.core.params import read
from timbre.core.running import run_stage, settle
from timbre.core.sections import TrainParams, VoiceParams
from timbre.families import Voice
from timbre.mapping.entries import RECORD, Entry
from timbre.mapping.store import Store
from timbre.training import distributed, timing
from timbre.training.batches import Utterance, check_lengths, utterances
from timbre.training.loop import State, Training
from timbre.training.schedule import asked

VERSION = 3  # raise when the code gives another adapter for the same input
SCRATCH = Path(".timbre/train")
COLUMNS = (
    "step", "epoch", "train_loss", "backbone_loss", "depth_loss", "eval_loss", "eval_backbone_loss", "eval_depth_loss",
    "grad_norm", "learning_rate",
)  # fmt: skip


class Task(NamedTuple):
    """What is to be trained."""

    clips: list[Utterance]
    held: list[Utterance]  # back, to evaluate on
    key: str  # content key of all that the result depends on


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


def finished(voice: Voice, state: State, clips: Sequence[Utterance], key: str, folder: Path) -> dict[str, bytes | Path]:
    """The entry's files by their names in its record; those of adapters lie in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    for step, weights in state.points.items():
        voice.set_adapter_weights(weights)
        voice.save_adapter(folder / f"points/{step:06}")
    voice.set_adapter_weights(state.best)
    voice.save_adapter(folder / "adapter")
    files: dict[str, bytes | Path] = {
        path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()
    }
    record = json.dumps({"key": key, **facts(voice, state, clips)}, indent=2)
    return {**files, "history.csv": to_csv(state.history).encode(), RECORD: f"{record}\n".encode()}


def entry_of(out: Path, points: Path, history: Path, key: str) -> Entry:
    """The adapter, those on the way and the history, as one entry."""

    def where(name: str) -> Path:
        kind, _, rest = name.partition("/")
        whole = {RECORD: out / "training.json", "history.csv": history}
        return whole[name] if name in whole else (points if kind == "points" else out) / rest

    return Entry("train", key, where, files=None, folders=(out, points))


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
    task = task_of(dataset, codes, params, base)
    entry = entry_of(out, points, history, task.key)
    if distributed.alone() and is_there(entry):
        return
    if not distributed.launch(params.processes, "stages.train"):
        with distributed.joined(params.processes):
            train(task, entry, speed, params, base)


def task_of(dataset: Path, codes: Path, params: TrainParams, base: VoiceParams) -> Task:
    clips, keys = utterances(dataset / "train.jsonl", codes)
    held, held_keys = utterances(dataset / "eval.jsonl", codes)
    said = [(clip.id, clip.speaker, clip.seconds, clip.turn.text) for clip in [*clips, *held]]
    return Task(clips, held, content_key(VERSION, families.fingerprint(base), asked(params), said, keys, held_keys))


def is_there(entry: Entry) -> bool:
    """Whether it was trained before, and is in its place now."""
    with Store(entry.record.parent) as store:
        state = store.state(entry)
        if state == "damaged":
            print("train: damaged: the adapter's files are not what was written", file=sys.stderr)
        restored = state != "fresh" and store.restore(entry)
    if state == "fresh" or restored:
        print(f"train: {'restored' if restored else 'kept'}, as it was trained from the same before")
    return state == "fresh" or restored


def train(task: Task, entry: Entry, speed: Path, params: TrainParams, base: VoiceParams) -> None:
    """What each process does; the first alone writes."""
    distributed.agree((task.key, params.shard))
    if distributed.part().of > 1 and distributed.told(distributed.first() and is_there(entry)):
        return
    voice = families.load(base, precision=params.precision)
    if distributed.part().of == 1:  # several have shared the cores among them when they were started
        settle(voice.model)
    check_lengths(voice, [*task.clips, *task.held])
    scratch = SCRATCH / task.key
    state = Training(voice, task.clips, task.held, params, scratch).run()
    check_effect(voice, task.clips[0])
    if not distributed.first():
        return
    with Store(entry.record.parent) as store:
        store.write(entry, finished(voice, state, task.clips, task.key, scratch / "finished"))
    timing.write(speed, entry.record.parent, state.speed)
    shutil.rmtree(scratch, ignore_errors=True)
    print(f"train: best at step {state.best_step} of {state.step}, evaluation loss {state.best_loss:.3f}")


if __name__ == "__main__":
    run_stage(main)
