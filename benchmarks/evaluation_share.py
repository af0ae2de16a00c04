"""What share of a training evaluations take, by the number of clips: all clips every five steps, and as it is now.

    python -m benchmarks.evaluation_share

A step and the evaluation of a clip are measured on the demo's model and clips; the larger numbers of clips are computed
from these two, as copies of the demo's clips with a tenth held out, and were not run. Evaluating all clips at the end
is counted.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

from benchmarks.table import ResultTable, TimedRow, run
from timbre import families
from timbre.core import params
from timbre.core.running import settle
from timbre.families import Lora
from timbre.training.batches import Utterance, utterances
from timbre.training.courses import ShiftedCurves
from timbre.training.loop import Training

DATASET, CODES = Path("data/dataset"), Path("data/codes")
BEFORE = 5  # steps between evaluations of all held-out clips, as it was
STEPS, EXAMS = 8, 3


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=int, nargs="+", default=[100, 1000, 5000], help="for training (100 1000 5000)")


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    settings = params.read()
    train, held = (utterances(DATASET / f"{t}.jsonl", CODES / settings.voice.family)[0] for t in ("train", "eval"))
    voice = families.load(settings.voice)
    settle(voice.model)
    section = replace(settings.train, points=1)
    own = getattr(settings, settings.voice.family)
    (course,) = voice.courses(Lora(section.rank, section.alpha, section.rslora, section.dropout), own)
    course.begin()

    def training(clips: list[Utterance], exam: list[Utterance]) -> Training:
        return Training(voice, course, clips, exam, section, Path(scratch), ShiftedCurves(None, 0))

    with tempfile.TemporaryDirectory(prefix="timbre-share-") as scratch:
        demo = training(train, held)
        exams = [seconds(demo.evaluate) / len(demo.held) for _ in range(EXAMS)]
        with closing(demo.prepared()) as batches:
            steps = []
            for _ in range(STEPS):
                demo.state.step += 1
                steps.append(seconds(lambda: demo.step(batches)))
        step, exam = statistics.median(steps[2:]), statistics.median(exams)
        rows = []
        for count in options.clips:
            many, some = (
                [clip._replace(id=f"{clip.id}-{n}") for n, clip in enumerate(islice(cycle(clips), number))]
                for clips, number in ((train, count), (held, count // 10))
            )
            now = training(many, some)
            before = len(some) * exam / BEFORE
            after = (len(now.held) * exam) / now.every + (len(some) * exam / now.steps if len(some) > 50 else 0)
            shown = {"held out": str(len(some)), "before": share(before, step), "now": share(after, step)}
            rows.append(TimedRow(f"{count:,}", extra=shown | {"steps between": f"{BEFORE} → {now.every}"}))
    title = f"Clips for training (computed from {step:.2f} s a step, {exam * 1000:.0f} ms a clip evaluated)"
    yield ResultTable(title, rows)


def seconds(call: object) -> float:
    begun = time.process_time()
    call()  # type: ignore[operator]
    return time.process_time() - begun


def share(evaluation: float, step: float) -> str:
    return f"{evaluation / (evaluation + step):.0%}"


def main() -> None:
    run("evaluation_share", __doc__, arguments, measure)


if __name__ == "__main__":
    main()
