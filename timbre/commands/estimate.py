"""Estimate how long each stage takes on a device, and how much memory training needs.

The minutes of audio are those of data/dataset, or of `--minutes`. Times that this machine measured in its last run of
the same voice (models/speed.json, reports/speed.json) are used as they are. All others are computed from the model's
shape and the device's speed, with what it takes to start each stage's process and to load its model, and are marked so.
Training is counted with all its epochs; it may stop earlier.

With --prompts it says instead how many sentences the report needs for intervals of a wished width, from the variance of
this voice's samples (reports/scores.csv).
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timbre.commands.options import add_json
from timbre.commands.sentence_counts import sentences
from timbre.commands.stage_costs import COMPUTED, CostEstimate, duration, estimated
from timbre.core import params
from timbre.core.errors import DataError
from timbre.core.sections import Settings, VoiceParams
from timbre.report.columns import columns
from timbre.training import cost_estimate
from timbre.training.cost_estimate import DEVICES, Device

EXAMPLES = [
    ("timbre estimate", "the voice of params.yaml on this machine"),
    ("timbre estimate --minutes 60 --model csm-1b --device h200", "an hour of audio, CSM-1B, a GPU"),
    ("timbre estimate --prompts 2", "how many sentences tell wrong words to ±2 of 100"),
]
PRESETS, TINY = Path("presets"), VoiceParams("csm", "models/tiny/csm", None)
WIDTH = 768  # of the products by which a core is measured, 8 ms each
POINTS = 3.0  # of 100: half of the interval that is wished


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, metavar="M", help="minutes of audio in the dataset (what is there)")
    parser.add_argument("--model", metavar="NAME", help="a file of presets/, or tiny (the model in params.yaml)")
    parser.add_argument("--device", choices=["cpu", *DEVICES], help="device (that of this machine)")
    parser.add_argument(
        "--prompts", type=float, nargs="?", const=POINTS, metavar="POINTS",
        help=f"instead, how many sentences give intervals of ±POINTS of 100 ({POINTS:g})",
    )  # fmt: skip
    add_json(parser)


def command(args: argparse.Namespace) -> int:
    if args.prompts is not None:
        return sentences(args)
    if args.minutes is not None and not args.minutes > 0:
        raise DataError(f"--minutes {args.minutes}: is not above 0")
    settings, here = settings_of(args.model), this_machine()
    device = here if args.device is None else _cpu() if args.device == "cpu" else DEVICES[args.device]
    as_here = device == here and settings.voice.base == params.read().voice.base
    costs = estimated(settings, args.minutes, device, as_here=as_here)
    print(json.dumps(as_dict(costs), indent=1, sort_keys=True) if args.json else "\n".join(shown(costs)))
    return 0


def settings_of(model: str | None) -> Settings:
    if model is None:
        return params.read()
    if model == "tiny":
        return dataclasses.replace(params.read(), voice=TINY)
    if not (preset := PRESETS / f"{model}.yaml").is_file():
        names = ", ".join(["tiny", *sorted(path.stem for path in PRESETS.glob("*.yaml"))])
        raise DataError(f"--model {model}: there is no such model; there are {names}")
    return params.read(preset)


def this_machine() -> Device:
    """A GPU of the table by its name, else the cores."""
    name = ""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        name = subprocess.run(query, capture_output=True, text=True, check=False).stdout.lower()
    return next((device for key, device in DEVICES.items() if key in name), _cpu())


def _cpu() -> Device:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return cost_estimate.cpu(os.cpu_count() or 1, memory, core_speed())


@functools.cache
def core_speed() -> float:
    """Operations a second of one core here, in large products of single precision.

    In CPU seconds of all threads, so that the number of cores does not count, nor what else they do; a median.
    """
    import numpy as np  # only where the machine is measured

    square = np.full((WIDTH, WIDTH), 0.5, np.float32)
    seconds = []
    for _ in range(12):
        begun = time.process_time()
        np.matmul(square, square)
        seconds.append(time.process_time() - begun)
    return 2 * WIDTH**3 / statistics.median(seconds)


def shown(costs: CostEstimate) -> Iterator[str]:
    yield from columns([(name, getattr(costs, name)) for name in ("voice", "data", "device")])
    yield ""
    stages = [(line.what, duration(line.seconds), f"{line.work} ({_source(line.source)})") for line in costs.lines]
    yield from columns([*stages, ("together", duration(sum(line.seconds for line in costs.lines)), "")])
    parts = ", ".join(f"{name} {size / cost_estimate.GB:.1f}" for name, size in costs.memory.items())
    needed, available = costs.needed / cost_estimate.GB, costs.available / cost_estimate.GB
    yield f"\nmemory  {needed:.1f} of {available:.0f} GB: {parts} ({_source(COMPUTED)})"
    yield f"basis   {costs.basis}"
    if costs.advice:
        yield "does not fit; change " + ", then ".join(costs.advice)


def _source(source: str) -> str:
    return f"{source}, not measured" if source == COMPUTED else source


def as_dict(costs: CostEstimate) -> dict[str, Any]:
    lines = {line.what: line._asdict() | {"seconds": round(line.seconds, 3)} for line in costs.lines}
    memory = {name: round(size / cost_estimate.GB, 3) for name, size in costs.memory.items()}
    return {
        "voice": costs.voice, "data": costs.data, "device": costs.device, "basis": costs.basis, "stages": lines,
        "memory_gb": memory,
        "available_gb": round(costs.available / cost_estimate.GB, 1), "advice": costs.advice,
    }  # fmt: skip
