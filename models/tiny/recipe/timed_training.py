"""What the XTTS and GPT-SoVITS trainings share: the loop, the rate, averaged weights, and what a script is asked.

A course takes steps until the time is used; it is told and kept on the way, and goes on where it was left.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from corpus import HERE
from torch import Tensor

TELLS = 50  # steps between two lines
KEEPS = 90  # seconds between two looks at what was learnt
RISE = 100  # steps to the highest rate


class TimedCourse(Protocol):
    seconds: float  # of computing, in all
    spent: float
    step: int

    def take(self) -> Mapping[str, float | Tensor]:
        """A step; its losses by name."""

    def save(self) -> None: ...


def train(course: TimedCourse) -> None:
    saved, sums = time.time(), Counter[str]()
    while course.spent < course.seconds:
        began = time.process_time()
        losses = course.take()
        course.step, course.spent = course.step + 1, course.spent + time.process_time() - began
        sums.update({name: float(loss) for name, loss in losses.items()})
        if course.step % TELLS == 0:
            told = "  ".join(f"{name} {value / TELLS:.3f}" for name, value in sums.items())
            print(f"step {course.step}  {told}  {course.seconds - course.spent:.0f} s left", flush=True)
            sums.clear()
        if time.time() - saved > KEEPS or course.spent >= course.seconds:
            course.save()
            saved = time.time()


def share_of_rate(step: int, done: float, least: float) -> float:
    """Of the highest rate: it rises at first, then falls as half a wave to `least`; `done` goes from 0 to 1."""
    return min(1, (step + 1) / RISE) * (least + (1 - least) * (1 + math.cos(math.pi * done)) / 2)


def follow(average: Mapping[str, Tensor], learnt: Mapping[str, Tensor], step: int, most: float) -> None:
    """The averaged weights go on towards those that are learnt; of later steps they keep `most` of what they were."""
    kept = min(most, (step + 1) / (step + 10))
    with torch.no_grad():
        torch._foreach_lerp_(list(average.values()), list(learnt.values()), 1 - kept)


def script(doc: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=doc.splitlines()[0] if doc else None)
    parser.add_argument("--minutes", type=float, help="of computing on a core, in all; default: params.yaml")
    return parser


def params(section: str, key: str, args: argparse.Namespace) -> dict[str, Any]:
    """A section of params.yaml, with the minutes that were asked for under `key`."""
    torch.set_num_threads(1)
    found: dict[str, Any] = yaml.safe_load(Path(HERE / "params.yaml").read_text())[section]
    return found | ({key: args.minutes} if args.minutes else {})
