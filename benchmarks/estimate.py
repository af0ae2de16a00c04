"""How far `timbre estimate` is from what is measured: a step of learning, a frame of speech, a second of sound encoded.

    python -m benchmarks.estimate [--size tiny csm-1b] [--device cpu] [--runs 3]

Voices are random and of true shape. The arithmetic is that of timbre/training/cost_estimate.py for this machine, as it
is computed where no run has measured anything yet. At csm-1b's size it takes 10 GB and, on two cores, about three
minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks import shapes, table
from benchmarks.shapes import csm
from benchmarks.table import ResultTable, TimedRow, median, race
from timbre.commands.estimate import core_speed, this_machine
from timbre.families import Lora, Request, Speaking, Turn
from timbre.families.shape import Shape
from timbre.training import cost_estimate

BASES = {"tiny": str(shapes.TINY), "csm-1b": "sesame/csm-1b"}
RANK, SHARE = 32, 0.125
BATCH = {"tiny": (8, 75), "csm-1b": (2, 75)}  # clips, frames of each
FRAMES = {"tiny": 50, "csm-1b": 4}  # of speech


def main() -> None:
    table.run("estimate", __doc__, arguments, measure)


def arguments(parser: argparse.ArgumentParser) -> None:
    table.add_device(parser, runs=3)
    parser.add_argument("--size", choices=sorted(BASES), nargs="+", default=["tiny", "csm-1b"])


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    device = this_machine() if options.device == "cuda" else cost_estimate.cpu(torch.get_num_threads(), 0, core_speed())
    for size in options.size:
        shape = cost_estimate.read_shape("csm", BASES[size])
        voice = csm(size, options.device, torch.bfloat16 if device.half else torch.float32)
        rows = [row(name, options.runs, *pair) for name, pair in parts(size, voice, shape, device)]
        yield ResultTable(f"{size} on {options.device}", rows)


def row(name: str, runs: int, call: Callable[[], object], amount: float, computed: float) -> TimedRow:
    seconds = [each / amount for each in race({name: call}, runs)[name]]
    return TimedRow(
        name, seconds, extra={"computed s": computed, "measured / computed": median(TimedRow(name, seconds)) / computed}
    )


def parts(
    size: str, voice: Any, shape: Shape, device: cost_estimate.Device
) -> Iterator[tuple[str, tuple[Callable[[], object], float, float]]]:
    """What is called, how much of it a call makes, and the seconds that are computed for one of it."""
    frames = FRAMES[size]
    for rows in (1, 8):
        speak = partial(spoken, voice, rows, frames)
        yield f"a frame of speech, {rows} at once", (speak, frames, cost_estimate.speaking_frame(shape, rows, device))
    sound = np.random.default_rng(0).normal(0, 0.1, 10 * voice.sample_rate).astype(np.float32)
    yield (
        "a second of sound encoded",
        (lambda: voice.encode([sound]), 10, shape.codec.encoding / device.hearing_pace(shape.codec)),
    )
    said = np.ones((100, voice.codebooks), np.int16)
    yield (
        "a second of sound decoded",
        (
            lambda: voice.decode(said),
            100 / voice.frame_rate,
            shape.codec.decoding / device.pace(shape.codec.weights, half=False),
        ),
    )
    voice.adapt(Lora(RANK, 16, True, 0.05))
    clips, frames = BATCH[size]
    codes = np.random.default_rng(0).integers(1, 60, (frames, voice.codebooks)).astype(np.int16)
    talk = [Turn("The ferry to the island waits at pier five.", {"codes": codes})]
    batch = voice.batch([talk] * clips, SHARE, 0)
    lesson = cost_estimate.BatchShape(clips, voice.length(talk), clips * (frames + 1), len(batch.deep))
    work = cost_estimate.learning_step(shape, lesson, RANK, checkpointing=False)
    yield f"a step of learning, {clips} clips", (partial(learn, voice, batch), 1, work / device.pace(shape.weights))


def spoken(voice: Any, rows: int, frames: int) -> list[Any]:
    seconds = frames / voice.frame_rate
    asked = [Request("The ferry waits.", (), seed, seconds) for seed in range(rows)]
    return list(voice.speak_codes(asked, Speaking(0.9, 50, rows)))


def learn(voice: Any, batch: Any) -> None:
    voice.model.train()
    half = voice.device.type == "cuda"
    with torch.autocast(voice.device.type, torch.bfloat16, enabled=half):
        losses = voice.losses(batch)
    losses.total.backward()
    voice.model.zero_grad()


if __name__ == "__main__":
    main()
