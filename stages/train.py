"""LoRA on the base voice model: learns the speaker from codes, keeps the best checkpoint, goes on after a kill.

    python -m stages.train --dataset data/dataset --codes data/codes/csm --out models/adapter --points models/points \\
        --history models/history.csv --speed models/speed.json

Reads   data/dataset/train.jsonl, eval.jsonl    clips and their words
        data/codes/<family>/<clip>.safetensors  their sound as codes
Writes  models/adapter/                         the best adapter by evaluation loss, and training.json about it
        models/points/<step>/                   adapters on the way there, to hear it learn; without any, the best alone
        models/history.csv                      losses, gradient norm and learning rate of each step
        models/speed.json                       what each step cost on this machine; no output of DVC's

The three outputs are one entry. Its key, in training.json, is of all that it depends on: the base model, the clips'
words and codes, the sections of `train` and of the family. What was trained from the same before is kept or put back,
so an edit of code that changes no result trains nothing, nor does an edit that is taken back.

It learns no voice whose consent was withdrawn, as data/speakers.yaml says when it begins. That changes no adapter, so
it is no dependency.

The state of an unfinished run is in .timbre/train/<content key>/, safe to delete. All that is random in a step is drawn
from the seed and the step's number alone, so a run that was killed gives the same bytes as one that was not.
`train.processes` are started here, unless a launcher of yours started them: docs/several-gpus.md.

A person may end it early (timbre/training/ending.py): the best so far is then the entry, under the same key, and
training.json says so. Its state stays, and `dvc repro -f train` goes on from there.

With `train.warm_start: previous` it begins with the adapter in models/adapter, where that learnt nearly the same clips
(timbre/training/warm_start.py); the key is then of that adapter's key, too.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from timbre import families
from timbre.core import running
from timbre.core.content import content_key, folder_key
from timbre.core.errors import ModelError
from timbre.core.params import read
from timbre.core.records import EARLY_TAG, GO_ON, beginning, early_ending
from timbre.core.safe_text import warn
from timbre.core.sections import Settings, TrainParams, VoiceParams
from timbre.families import Course, Voice, lean_transformers
from timbre.mapping import inputs
from timbre.mapping.entries import RECORD, Entry
from timbre.mapping.stage import run_stage
from timbre.mapping.store import Store
from timbre.project.permissions import NUMBERS, SPEAKERS, Permissions, used_by
from timbre.training import distributed, ending, timing, warm_start
from timbre.training.batches import Utterance, check_lengths, utterances
from timbre.training.courses import Run, learn
from timbre.training.live_curves import LiveCurves
from timbre.training.results import facts, steps_taken, to_csv
from timbre.training.schedule import asked

VERSION = 6  # raise when the code gives another adapter for the same input
SCRATCH = Path(".timbre/train")


class Task(NamedTuple):
    """What is to be trained."""

    clips: list[Utterance]
    held: list[Utterance]  # back, to evaluate on
    own: Any  # the family's section of params.yaml
    key: str  # content key of all that the result depends on
    licence: str | None  # of the base's weights, where it forbids commercial use
    inputs: warm_start.Inputs | None = None  # all of it but where the training begins; None: it begins at the base
    before: warm_start.Before | None = None  # where it begins; None: at the base


def check_effect(course: Course, clip: Utterance) -> None:
    if not course.effect([clip.turn]):
        raise ModelError(
            "train: the adapter changes nothing (the logits with and without it are equal); "
            "raise train.learning_rate or train.epochs"
        )


def finished(voice: Voice, runs: Sequence[Run], task: Task, folder: Path) -> dict[str, bytes | Path]:
    """The entry's files by their names in its record; those of adapters on the way lie in `folder` already.

    Without any of these the adapter is the only point: a training may be too short for one, and DVC warns at each
    command of a folder that is empty.
    """
    shutil.rmtree(folder / "adapter", ignore_errors=True)
    voice.save_adapter(folder / "adapter")
    if not any((folder / "points").glob("*")):
        shutil.copytree(folder / "adapter", folder / f"points/{runs[-1].points()[-1]:06}", dirs_exist_ok=True)
    files: dict[str, bytes | Path] = {
        path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()
    }
    # whoever plays, promotes or exports the adapter asks for these voices' consent: the clips held back chose its step
    voices = used_by((clip.speaker, clip.recording) for clip in [*task.clips, *task.held])
    beside: dict[str, object] = {"base_licence": task.licence} if task.licence else {}
    numbers = {clip.speaker: clip.turn.speaker.number for clip in [*task.clips, *task.held]}
    if any(numbers.values()):
        beside[NUMBERS] = dict(sorted(numbers.items()))
    for origin in (task.inputs, task.before):
        beside |= origin.record() if origin else {}
    record = json.dumps({"key": task.key, **facts(voice, runs, task.clips), SPEAKERS: voices, **beside}, indent=2)
    return {**files, "history.csv": to_csv(runs).encode(), RECORD: f"{record}\n".encode()}


def entry_of(out: Path, points: Path, history: Path, key: str) -> Entry:
    """The adapter, those on the way and the history, as one entry."""

    def where(name: str) -> Path:
        kind, _, rest = name.partition("/")
        whole = {RECORD: out / "training.json", "history.csv": history}
        return whole[name] if name in whole else (points if kind == "points" else out) / rest

    return Entry("train", key, where, files=None, folders=(out, points))


def main(
    dataset: Annotated[Path, "folder of the two tables, data/dataset"],
    codes: Annotated[Path, "folder of the clips' codes, data/codes/<family>"],
    out: Annotated[Path, "folder of the adapter, models/adapter"],
    points: Annotated[Path, "folder of adapters on the way, models/points"],
    history: Annotated[Path, "table of losses, models/history.csv"],
    speed: Annotated[Path, "what it cost on this machine, models/speed.json"],
) -> None:
    settings = read()
    params, base = settings.train, settings.voice
    Permissions().check_stage(dataset)
    task = task_of(dataset, codes, settings)
    if task.inputs:
        task = beginning_of(task, task.inputs, out, entry_of(out, points, history, task.key))
    entry = entry_of(out, points, history, task.key)
    if distributed.alone() and is_there(entry):
        return
    if not distributed.started_here() and int(os.environ.get("RANK", 0)) == 0:
        ending.forget_stale()
    if not distributed.launch(params.processes, "stages.train"):
        with distributed.joined(params.processes):
            train(task, entry, speed, params, base)


def task_of(dataset: Path, codes: Path, settings: Settings) -> Task:
    base = settings.voice
    own = getattr(settings, base.family)
    clips, keys = utterances(dataset / "train.jsonl", codes, settings.train.context_seconds)
    held, held_keys = utterances(dataset / "eval.jsonl", codes)
    parted = [(clip.id, clip.opening.text) for clip in clips if clip.opening and clip.opening.text != clip.turn.text]
    content = [(clip.id, clip.speaker, clip.seconds, clip.turn.text) for clip in [*clips, *held]]
    asked_of = [asked(settings.train), asdict(own)]
    numbers = {clip.speaker: clip.turn.speaker.number for clip in [*clips, *held]}
    numbered = [numbers] if any(numbers.values()) and "number" in families.family(base.family).marks else []
    learnt = [content, keys, held_keys, *([parted] if parted else []), *numbered]
    key = content_key(VERSION, families.fingerprint(base), asked_of, *learnt)
    licence = families.limits(base.family)
    task = Task(clips, held, own, key, str(licence) if licence else None)
    if settings.train.warm_start == "none":
        return task
    hashes = [*warm_start.clip_hashes(clips, keys, "train"), *warm_start.clip_hashes(held, held_keys, "eval")]
    of_all = content_key(VERSION, families.fingerprint(base), asked_of, numbered)
    return task._replace(inputs=warm_start.Inputs(key, of_all, hashes))


def beginning_of(task: Task, inputs: warm_start.Inputs, adapter: Path, cold: Entry) -> Task:
    """With the key of an adapter that was learnt from the same, wherever that began; else with where to begin."""
    with Store(adapter) as store:
        known = list(store.records(cold))
        for training in known:
            entry = replace(cold, key=str(training.get("key")))
            if warm_start.is_of(training, inputs) and (store.state(entry) == "fresh" or store.restore(entry)):
                return task._replace(key=entry.key)
        latest = known[0] if known else {}
        sound = store.state(replace(cold, key=str(latest.get("key")))) == "fresh"
    before = warm_start.unfinished(inputs, SCRATCH)
    if not before and sound and within(latest.get(SPEAKERS), task):
        before = warm_start.after(adapter, latest, inputs)
        before = before._replace(version=folder_key(adapter)) if before else None
    return task._replace(key=warm_start.key_of(inputs, before.key), before=before) if before else task


def within(used: Any, task: Task) -> bool:
    """Whether it learnt no voice from a recording that is left out now: consent for it may have been withdrawn."""
    now = {(clip.speaker, clip.recording) for clip in [*task.clips, *task.held]}
    return isinstance(used, dict) and {(speaker, name) for speaker, names in used.items() for name in names} <= now


def is_there(entry: Entry) -> bool:
    """Whether it was trained before, and is in its place now."""
    with Store(entry.record.parent) as store:
        state = store.state(entry)
        if state == "damaged":
            warn("train: damaged: the adapter's files are not what was written")
        restored = state != "fresh" and store.restore(entry)
    if state == "fresh" and goes_on(entry):
        return False
    if state == "fresh" or restored:
        running.COMPUTED.append(0)
        print(f"train: {'restored' if restored else 'kept'}, as it was trained from the same before")
    return state == "fresh" or restored


def goes_on(entry: Entry) -> bool:
    """Whether a person ended it early and now asks for it again, by hand or by `dvc repro -f`: nothing changed."""
    if not (ended := early_ending(json.loads(entry.record.read_bytes()))):
        return False
    stage = os.environ.get("DVC_STAGE", "").rpartition(":")[2]
    asked_for = not stage or inputs.as_recorded(stage)
    if not asked_for:
        print(f"train: {ended}; {GO_ON}")
    return asked_for


def train(task: Task, entry: Entry, speed: Path, params: TrainParams, base: VoiceParams) -> None:
    """What each process does; the first alone writes."""
    distributed.agree((task.key, params.shard))
    if distributed.part().of > 1 and distributed.told(distributed.first() and is_there(entry)):
        return
    voice = families.load(base, precision=params.precision)
    if distributed.part().of == 1:  # several have shared the cores among them when they were started
        running.settle(voice.model)
    check_lengths(voice, [*task.clips, *task.held])
    scratch = SCRATCH / task.key
    if (before := task.before) and distributed.first():
        before = warm_start.keep(before, scratch)
        print(f"train: {beginning(before.record())}")
    asked_for = warm_start.gentler(params) if before else params
    runs = []
    # an optimiser imports the compiler only to tell it to stay away; what shards a model needs it
    lean = lean_transformers.uncompiled() if distributed.part().of == 1 else nullcontext()
    with lean, LiveCurves(task.key, base.family, asdict(params)) if distributed.first() else nullcontext() as live:
        weights = before.weights if before else None
        for run in learn(voice, task.clips, task.held, asked_for, task.own, scratch, live, before=weights):
            check_effect(run.course, task.clips[0])
            runs.append(run)
        ended = early_ending(steps_taken(runs))
        if live and ended:
            live.tags[EARLY_TAG] = ended
    if not distributed.first():
        return
    with Store(entry.record.parent) as store:
        store.write(entry, finished(voice, runs, task, scratch / "finished"))
    timing.write(speed, entry.record.parent, [row for run in runs for row in run.state.speed])
    ending.forget()
    shutil.rmtree(scratch / "finished" if ended else scratch, ignore_errors=True)
    begun, state = runs[-1].begun, runs[-1].state
    best, last = begun + state.best_step, begun + state.step
    name = runs[-1].chosen_by.replace("eval_loss/", "evaluation loss of the ").replace("eval_loss", "evaluation loss")
    advice = f"; ended early, {GO_ON}" if ended else ""
    print(f"train: best at step {best} of {last}, {name.replace('_', ' ')} {state.best_loss:.3f}{advice}")


if __name__ == "__main__":
    run_stage(main)
