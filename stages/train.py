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

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from timbre import families
from timbre.core.content import content_key, write_atomic
from timbre.core.errors import ModelError
from timbre.core.params import read
from timbre.core.running import run_stage, settle
from timbre.families import Course, Voice
from timbre.training import distributed, timing
from timbre.training.batches import Utterance, check_lengths, utterances
from timbre.training.loop import POINTS, Run, learn
from timbre.training.results import facts, to_csv
from timbre.training.schedule import Params, asked

VERSION = 2  # raise when the code gives another adapter for the same input
SCRATCH = Path(".timbre/train")


def check_effect(course: Course, clip: Utterance) -> None:
    if not course.effect([clip.turn]):
        raise ModelError(
            "train: the adapter changes nothing (the logits with and without it are equal); "
            "raise train.learning_rate or train.epochs"
        )


def write(voice: Voice, runs: Sequence[Run], clips: Sequence[Utterance], out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    voice.save_adapter(out)
    write_atomic(out / "training.json", json.dumps(facts(voice, runs, clips), indent=2) + "\n")


def main(
    dataset: Annotated[Path, "folder of the two tables, data/dataset"],
    codes: Annotated[Path, "folder of the clips' codes, data/codes"],
    out: Annotated[Path, "folder of the adapter, models/adapter"],
    points: Annotated[Path, "folder of adapters on the way, models/points"],
    history: Annotated[Path, "table of losses, models/history.csv"],
    speed: Annotated[Path, "what it cost on this machine, models/speed.json"],
) -> None:
    params, base = read("train", Params), read("voice", families.Params)
    own: Any = read(base.family, families.family(base.family).params)
    if distributed.launch(params.processes, "stages.train"):
        return
    with distributed.joined(params.processes):
        voice, runs, clips, scratch = train(dataset, codes, params, base, own)
        if not distributed.first():
            return
        write(voice, runs, clips, out)
        shutil.rmtree(points, ignore_errors=True)
        shutil.move(scratch / POINTS, points)
        write_atomic(history, to_csv(runs))
        timing.write(speed, out, [row for run in runs for row in run.state.speed])
        shutil.rmtree(scratch, ignore_errors=True)
        begun, state = runs[-1].begun, runs[-1].state
        best, last = begun + state.best_step, begun + state.step
        print(f"train: best at step {best} of {last}, evaluation loss {state.best_loss:.3f}")


def train(
    dataset: Path, codes: Path, params: Params, base: families.Params, own: Any
) -> tuple[Voice, list[Run], list[Utterance], Path]:
    """What each process does; the first alone writes. Returns the training clips and the run's scratch folder, too."""
    train_clips, train_keys = utterances(dataset / "train.jsonl", codes)
    eval_clips, eval_keys = utterances(dataset / "eval.jsonl", codes)
    texts = [(clip.id, clip.turn.text) for clip in [*train_clips, *eval_clips]]
    key = content_key(VERSION, families.fingerprint(base), asked(params), asdict(own), texts, train_keys, eval_keys)
    distributed.agree((key, params.shard))
    voice = families.load(base, precision=params.precision)
    if distributed.part().of == 1:  # several have shared the cores among them when they were started
        settle(voice.model)
    check_lengths(voice, [*train_clips, *eval_clips])
    scratch, runs = SCRATCH / key, []
    for run in learn(voice, train_clips, eval_clips, params, own, scratch):
        check_effect(run.course, train_clips[0])
        runs.append(run)
    return voice, runs, train_clips, scratch


if __name__ == "__main__":
    run_stage(main)
