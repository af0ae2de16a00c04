"""What a training step costs when processes share its batch: one, with all cores or a GPU; several; and several that
share the base model's weights too.

    python -m benchmarks.processes [--size small] [--processes 2] [--steps 5] [--batch 4] [--frames 60]

A random voice learns from random codes, without dropout, so the losses after the last step show that all did the same.
Seconds are the steps' own, as `train` writes them to models/speed.json, after two steps to warm up. On a machine with
GPUs each process has one; on cores alone they share what one process would use. Beside other work the one process is
much the slower: its threads wait for each other many times in a step, and those of several processes once. Memory is
that of the first process, on a GPU the most that it held there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import table
from benchmarks.table import ResultTable, TimedRow
from timbre.core.running import run
from timbre.training import distributed

WARMUP = 2  # steps
SIZES = ("tiny", "small", "csm-1b")


def main() -> None:
    options = table.parse(__doc__, arguments)
    if options.child is None:
        table.record("processes", measure(options), options.out)
    elif not distributed.launch(options.processes, "benchmarks.processes"):
        with distributed.joined(options.processes):
            learn(options)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", choices=SIZES, default="small", help="of the voice; see benchmarks/shapes.py")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="that are measured")
    parser.add_argument("--batch", type=int, default=4, help="clips, of all processes together")
    parser.add_argument("--frames", type=int, default=60, help="of a clip; 12.5 are a second of csm-1b")
    parser.add_argument("--shard", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    several = options.processes
    kinds = {"one process": (1, []), f"{several} processes": (several, [])}
    kinds[f"{several} processes, sharing the weights"] = (several, ["--shard"])
    rows = [row(name, options, count, flags) for name, (count, flags) in kinds.items()]
    title = f"a step of training, {options.size}, {options.batch} clips of {options.frames} frames"
    yield ResultTable(title, rows, baseline="one process", rate="frames/s")


def row(name: str, options: argparse.Namespace, count: int, flags: list[str]) -> TimedRow:
    if 0 < distributed.gpus() < count:
        return TimedRow(name, skipped=f"there are {distributed.gpus()} GPUs")
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.processes", "--child", folder, "--processes", str(count), *flags]
        for option in ("size", "steps", "batch", "frames"):
            command += [f"--{option}", str(getattr(options, option))]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": str(max(1, cores // count))})
        found = json.loads((Path(folder) / "found.json").read_text())
    measured = found["speed"][WARMUP:]
    memory = measured[-1].get("gpu_memory_mb", measured[-1]["memory_mb"])
    extra = {"MB in the first process": memory, "loss at the last step": f"{found['loss']:.4f}"}
    return TimedRow(name, [step["seconds"] for step in measured], options.batch * options.frames, extra=extra)


def learn(options: argparse.Namespace) -> None:
    import torch

    from benchmarks.shapes import csm
    from timbre.core.params import read
    from timbre.families import Turn
    from timbre.training import courses
    from timbre.training.batches import Utterance

    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # peft's calls, not ours
    steps = WARMUP + options.steps
    params = dataclasses.replace(
        read().train, dropout=0.0, context_share=0.0, max_steps=steps, epochs=steps, eval_every=steps,
        patience=0, points=1, batch=options.batch, optimiser="adamw", shard=options.shard,
    )  # fmt: skip
    cuda = torch.cuda.is_available()
    voice = csm(options.size, "cuda" if cuda else "cpu", torch.bfloat16 if cuda else torch.float32)
    random = np.random.default_rng(0)
    shape = (options.frames, voice.codebooks)
    clips = [
        Utterance(
            str(n),
            "ann",
            options.frames / voice.frame_rate,
            Turn("The ferry departs.", {"codes": codes.astype(np.int16)}),
        )
        for n, codes in enumerate(random.integers(1, 200, (2 * options.batch, *shape)))
    ]
    with tempfile.TemporaryDirectory() as scratch:
        (trained,) = courses.learn(voice, clips, clips[:2], params, read().csm, Path(scratch))
    if distributed.first():
        found = {"speed": trained.state.speed, "loss": trained.state.history[-1]["train_loss"]}
        (options.child / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    run(main)
