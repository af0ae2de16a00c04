"""What a finished training leaves: the table of losses, and the facts in training.json.

A voice has one course, or several that follow each other. Steps are counted through all of them; the table then has a
column `course`, 1 for the first.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from timbre.core.records import ENDED_EARLY, PLANNED
from timbre.families import Voice
from timbre.training.batches import Utterance
from timbre.training.courses import Run

COLUMNS = ("step", "epoch", "train_loss", "eval_loss", "grad_norm", "learning_rate")


def facts(voice: Voice, runs: Sequence[Run], clips: Sequence[Utterance]) -> dict[str, object]:
    """Numbers about the training; the losses are those of the last course."""
    trained, every = (sum(w.numel() for w in voice.model.parameters() if w.requires_grad or a) for a in (False, True))
    courses = {run.course.name: run.facts() for run in runs}
    return {
        **runs[-1].facts(),
        "points": [step for run in runs for step in run.points()],
        "trainable_share": round(trained / every, 5),
        "clips": len(clips),
        "seconds": round(sum(clip.seconds for clip in clips), 2),
        **({"courses": courses} if len(runs) > 1 else {}),
        **steps_taken(runs),
    }


def steps_taken(runs: Sequence[Run]) -> dict[str, object]:
    steps: dict[str, object] = {"steps": runs[-1].begun + runs[-1].state.step}
    early = any(run.ended_early for run in runs)
    return steps | ({ENDED_EARLY: True, PLANNED: sum(run.planned for run in runs)} if early else {})


def to_csv(runs: Sequence[Run]) -> str:
    """Six digits: the rest is noise of the machine. A cell is empty where nothing was measured.

    After the columns that every family has come those of its own losses, such as `eval_loss/text`.
    """
    rows = list(_rows(runs))
    first = ("course", *COLUMNS) if len(runs) > 1 else COLUMNS
    columns = list(dict.fromkeys([*first, *(name for row in rows for name in row)]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([f"{row[c]:.6g}" if c in row else "" for c in columns] for row in rows)
    return text.getvalue()


def _rows(runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    for number, run in enumerate(runs, 1):
        for row in run.state.history:
            course = {"course": number} if len(runs) > 1 else {}
            yield course | row | {"step": run.begun + row["step"]}
