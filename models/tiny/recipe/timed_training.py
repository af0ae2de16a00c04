"""The loop that the XTTS and GPT-SoVITS trainings share: steps until the time is used, told and kept on the way."""

from __future__ import annotations

import time
from collections import Counter
from typing import Protocol

TELLS = 50  # steps between two lines
KEEPS = 90  # seconds between two looks at what was learnt


class TimedCourse(Protocol):
    seconds: float  # of computing, in all
    spent: float
    step: int

    def take(self) -> dict[str, float]:
        """A step; its losses by name."""

    def save(self) -> None: ...


def train(course: TimedCourse) -> None:
    saved, sums = time.time(), Counter[str]()
    while course.spent < course.seconds:
        sums.update(course.take())
        if course.step % TELLS == 0:
            told = "  ".join(f"{name} {value / TELLS:.3f}" for name, value in sums.items())
            print(f"step {course.step}  {told}  {course.seconds - course.spent:.0f} s left", flush=True)
            sums.clear()
        if time.time() - saved > KEEPS or course.spent >= course.seconds:
            course.save()
            saved = time.time()
