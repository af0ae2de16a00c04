"""How it learnt: curves, where learning turned into learning by heart, and one sentence at points on the way."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from timbre.core.records import Point, beginning, early_ending, from_json
from timbre.report.charts import Chart, ChartLine, draw
from timbre.report.sample_rows import ShownScore
from timbre.report.sound import EmbeddedSound, spoken

STYLES = ("eval", "second", "third", "fourth", "train")  # classes of the style sheet, for lines in one chart
LOSS = "eval_loss"  # column of the history: the sum of all parts
OVERFIT = 0.01  # of the best loss; less is no more than the wobble of a few evaluation clips
History = list[dict[str, str]]


@dataclass(frozen=True)
class LossPoint:
    """The sentence as it sounded at a step."""

    title: str
    note: str
    sound: EmbeddedSound


@dataclass(frozen=True)
class HeardLearning:
    text: str
    speaker: str  # empty where the voice learnt one
    points: list[LossPoint]


@dataclass(frozen=True)
class TrainingFigures:
    charts: list[Chart]
    best: str  # a sentence on the best step; empty where nothing was evaluated
    ended: str  # sentences; empty of a training that began at the base and went to its end
    overfit: str  # a sentence; empty where the last step is about as good as the best
    measured: list[tuple[str, str, str]]  # step, training loss and evaluation loss, where there was an evaluation
    heard: list[HeardLearning]


def read(
    training: Path, history: Path, points: Path, scores: Sequence[ShownScore], samples: Path, adapter: str | None
) -> TrainingFigures:
    """`adapter` is the version's key."""
    rows = read_history(history)
    facts = json.loads(training.read_bytes())
    chosen_by = str(facts.get("chosen_by", LOSS))
    best, overfit = sentences(rows, chosen_by)
    measured = [(r["step"], _last_train(rows, r), r["eval_loss"]) for r in rows if r.get("eval_loss")]
    remarks = [beginning(facts), early_ending(facts)]
    sentence = " ".join(f"{one[0].upper()}{one[1:]}." for one in remarks if one)
    heard = learning(points, scores, samples, adapter, best_step=facts.get("best_step"))
    return TrainingFigures(curves(rows, chosen_by), best, sentence, overfit, measured, heard)


def read_history(path: Path) -> History:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _last_train(rows: History, row: dict[str, str]) -> str:
    return row.get("train_loss") or next((r["train_loss"] for r in rows if r.get("train_loss")), "")


def curves(history: History, chosen_by: str = LOSS) -> list[Chart]:
    """The chosen step is marked in the chart of all losses, and in that of the one that chose it."""

    def line(name: str, column: str, style: str, dots: bool = False) -> ChartLine:
        points = [(float(row["step"]), float(row[column])) for row in history if row.get(column)]
        return ChartLine(name, points, style, dots)

    def both(train: str, evaluation: str) -> list[ChartLine]:
        return [line("training", train, "train"), line("evaluation", evaluation, "eval", dots=True)]

    best = best_step(history, chosen_by)
    mark = (best[0], f"best, step {best[0]:,.0f}") if best else None
    charts = [draw("Loss", "step", both("train_loss", "eval_loss"), mark)]
    for part, members in parts(history).items():
        if members:
            lines = [line(n, f"eval_loss/{part}/{n}", STYLES[i % len(STYLES)]) for i, n in enumerate(members)]
            charts.append(draw(f"Evaluation loss by {part}", "step", lines, narrow=True))
        else:
            title = f"{part.replace('_', ' ').capitalize()} loss"
            own = mark if chosen_by == f"{LOSS}/{part}" else None
            charts.append(draw(title, "step", both(f"train_loss/{part}", f"eval_loss/{part}"), own, narrow=True))
    charts += [
        draw("Gradient norm", "step", [line("gradient norm", "grad_norm", "train")], narrow=True),
        draw("Learning rate", "step", [line("learning rate", "learning_rate", "train")], narrow=True),
    ]
    return [chart for chart in charts if chart]


def parts(history: History) -> dict[str, list[str]]:
    """The parts of the loss as the family names them, in its order; of a part with a slash, what follows it."""
    groups: dict[str, list[str]] = {}
    for column in history[0] if history else {}:
        kind, _, name = column.partition("/")
        if kind in ("train_loss", "eval_loss") and name:
            part, _, member = name.partition("/")
            members = groups.setdefault(part, [])
            if member and member not in members:
                members.append(member)
    return groups


def best_step(history: History, chosen_by: str = LOSS) -> tuple[float, float] | None:
    """Of the last course: the losses of another are of something else."""
    last = history[-1].get("course") if history else None
    rows = [row for row in history if row.get("course") == last]
    measured = [(float(row[chosen_by]), float(row["step"])) for row in rows if row.get(chosen_by)]
    loss, step = min(measured, default=(0.0, -1.0))
    return (step, loss) if measured else None


def sentences(history: History, chosen_by: str = LOSS) -> tuple[str, str]:
    """On the best step, and on over-fitting."""
    best = best_step(history, chosen_by)
    if not best:
        return "", ""
    step, loss = best
    part = chosen_by.partition("/")[2].replace("_", " ")
    name = f"the {part}’s evaluation loss" if part else "the evaluation loss"
    best_sentence = f"The adapter is the one of step {step:,.0f}, where {name} was lowest, {loss:.3f}."
    last = [row for row in history if row.get(chosen_by)][-1]
    rise = float(last[chosen_by]) - loss
    if rise <= OVERFIT * loss:
        return best_sentence, ""
    return best_sentence, (
        f"It over-fitted from there: by step {float(last['step']):,.0f} {name} had risen by {rise:.3f} "
        f"({rise / loss:.0%}) to {float(last[chosen_by]):.3f}. More recordings, a lower rank or fewer epochs help."
    )


def learning(
    points: Path, scores: Sequence[ShownScore], samples: Path, adapter: str | None, *, best_step: int | None
) -> list[HeardLearning]:
    """By speaker, how the base said the sentence, the adapters on the way, and the adapter that was kept.

    A training that was too short for points on the way has that adapter as its only one.
    """
    records = [from_json(path.read_text(encoding="utf-8"), Point, str(path)) for path in sorted(points.glob("*.json"))]
    by_id, heard = {score.sample.id: score.sample for score in scores}, []
    for name in dict.fromkeys(point.sample for point in records):
        if (last := by_id.get(name)) is None:
            continue
        first = samples / f"base_clone-{last.line}-{last.seed}.flac"
        sounds = [LossPoint("Base", "before the first step", spoken(first, replace(last, adapter=None), None))]
        sounds += [
            LossPoint(f"Step {point.step:,}", "on the way", spoken(points / f"{point.name}.flac", last, adapter))
            for point in sorted(records, key=lambda point: point.step)
            if point.sample == name and point.step != best_step
        ]
        sounds.append(LossPoint("The adapter", "as it was kept", spoken(samples / f"{last.id}.flac", last, adapter)))
        heard.append(HeardLearning(last.text, last.speaker, sounds))
    return heard
