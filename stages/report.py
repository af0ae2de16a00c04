"""One page that says how good the voice is, lets you hear it, and opens without a network.

Reads   reports/samples, reports/scores.csv, reports/metrics.json   what was said, heard and counted
        models/history.csv                                          the curves
        data/dataset, data/clips, data/review.json                  what it learnt from; the clip that was cloned
Writes  reports/index.html                                          sound, style and charts inside the one file

    python -m stages.report --samples reports/samples --scores reports/scores.csv --metrics reports/metrics.json \\
        --history models/history.csv --dataset data/dataset --clips data/clips --review data/review.json \\
        --out reports/index.html

The page holds no time and no path of this machine: the same inputs give the same bytes.
"""

from __future__ import annotations

import argparse
import base64
import csv
import json
import math
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import soundfile

from timbre.charts import Chart, Line, draw
from timbre.errors import DataError, run
from timbre.mapping import write_atomic
from timbre.records import Drop, Example, Sample, from_json, read_jsonl

WEB = Path("timbre/web")
BARS = 64  # of a waveform
SAME = "about as easy"
NAMES = {
    "base": ("Base", "the model as it came"),
    "base_clone": ("Base, cloning", "the model as it came, with a clip of the speaker before the sentence"),
    "tuned": ("Tuned", "with the adapter that was trained here"),
    "tuned_clone": ("Tuned, cloning", "with the adapter, and a clip of the speaker before the sentence"),
}


@dataclass(frozen=True)
class Word:
    kind: str  # right, missed or added
    text: str


@dataclass(frozen=True)
class Sound:
    data: str  # base64 of the FLAC file
    seconds: float
    wave: str  # SVG path of the bars, in a box of BARS × 2, loudest possible bar from 0 to 2


@dataclass(frozen=True)
class Take:
    """One sample as the page shows it."""

    id: str
    condition: str
    name: str
    sound: Sound
    wer: float
    ended: bool
    silent: bool
    words: list[Word]


@dataclass(frozen=True)
class Row:
    """A prompt in every condition, with one seed."""

    prompt: str
    seed: int
    text: str
    takes: list[Take]


@dataclass(frozen=True)
class Verdict:
    headline: str
    sentences: list[str]


@dataclass(frozen=True)
class Source:
    """What one recording gave."""

    id: str
    train: int  # clips
    evaluation: int
    seconds: float
    dropped: int
    review: dict[str, Any]


def verdict(metrics: dict[str, dict[str, Any]]) -> Verdict:
    """Like is compared with like: the adapter's effect without a reference clip, and its effect with one."""
    alone, cloning = change(metrics["base"], metrics["tuned"]), change(metrics["base_clone"], metrics["tuned_clone"])
    if alone == cloning:
        headline = f"The tuned voice is {alone} to understand {'as' if alone == SAME else 'than'} the base voice"
    elif SAME in (alone, cloning):
        changed, place, other = (
            (alone, "by itself", "when it clones a clip")
            if cloning == SAME
            else (cloning, "when it clones a clip", "by itself")
        )
        headline = f"The tuned voice is {changed} to understand {place}, and {SAME} {other}"
    else:
        headline = f"The tuned voice is {alone} to understand by itself, but {cloning} when it clones a clip"
    rates = {name: f"{100 * m['wer']:.0f}" for name, m in metrics.items()}
    return Verdict(
        headline=headline,
        sentences=[
            f"Of 100 words that it speaks by itself, Whisper gets {rates['tuned']} wrong; of the base voice's,"
            f" {rates['base']}.",
            f"With a clip of the speaker to clone, {rates['tuned_clone']} instead of {rates['base_clone']}.",
        ],
    )


def change(before: dict[str, Any], after: dict[str, Any]) -> str:
    """In a word; a difference that chance alone would often bring is none (two standard deviations of a count)."""
    difference = after["errors"] - before["errors"]
    if abs(difference) <= 2 * math.sqrt(after["errors"] + before["errors"]):
        return SAME
    return "easier" if difference < 0 else "harder"


def words(diff: str) -> list[Word]:
    """The pieces of a comparison in wdiff's notation: said [-left out-] {+added+}."""
    found = re.findall(r"\[-(.*?)-\]|\{\+(.*?)\+\}|([^\[{]+)", diff)
    pieces = [("missed", a) if a else ("added", b) if b else ("right", c.strip()) for a, b, c in found]
    return [Word(kind, text) for kind, text in pieces if text]


def sound(path: Path) -> Sound:
    try:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
        content = path.read_bytes()
    except (OSError, soundfile.LibsndfileError) as error:
        raise DataError(f"{path}: cannot be read as audio; run `dvc repro`") from error
    mono = audio.mean(axis=1)
    return Sound(base64.b64encode(content).decode(), len(mono) / rate, wave(mono))


def wave(audio: np.ndarray) -> str:
    parts = np.array_split(audio, BARS) if len(audio) >= BARS else []
    # a root, because the ear and a meter's scale are not linear either: quiet syllables stay visible
    heights = [max(0.06, min(1.0, float(np.sqrt(np.sqrt((part**2).mean()) * 3)))) for part in parts]
    return "".join(f"M{i + 0.5:g} {1 - h:.2f}v{2 * h:.2f}" for i, h in enumerate(heights))


def rows(folder: Path, scores: Sequence[dict[str, str]]) -> list[Row]:
    found: dict[tuple[str, int], list[Take]] = {}
    texts: dict[str, str] = {}
    for score in scores:
        take = Take(
            id=score["sample"],
            condition=score["condition"],
            name=NAMES[score["condition"]][0],
            sound=sound(folder / f"{score['sample']}.flac"),
            wer=float(score["wer"]),
            ended=score["ended"] == "True",
            silent=score["silent"] == "True",
            words=words(score["diff"]),
        )
        found.setdefault((score["prompt"], int(score["seed"])), []).append(take)
        texts[score["prompt"]] = score["text"]
    return [Row(prompt, seed, texts[prompt], takes) for (prompt, seed), takes in sorted(found.items())]


def curves(history: Sequence[dict[str, str]]) -> tuple[list[Chart], str]:
    """The charts, and a sentence on the best step."""

    def line(name: str, column: str, style: str, dots: bool = False) -> Line:
        points = [(float(row["step"]), float(row[column])) for row in history if row.get(column)]
        return Line(name, points, style, dots)

    def both(train: str, evaluation: str) -> list[Line]:
        return [line("training", train, "train"), line("evaluation", evaluation, "eval", dots=True)]

    measured = line("", "eval_loss", "").points
    best = min(measured, key=lambda point: (point[1], point[0]), default=None)
    mark = (best[0], f"best, step {best[0]:,.0f}") if best else None
    charts = [
        draw("Loss", "step", both("train_loss", "eval_loss"), mark),
        draw("Backbone loss", "step", both("backbone_loss", "eval_backbone_loss"), narrow=True),
        draw("Depth decoder loss", "step", both("depth_loss", "eval_depth_loss"), narrow=True),
        draw("Gradient norm", "step", [line("gradient norm", "grad_norm", "train")], narrow=True),
        draw("Learning rate", "step", [line("learning rate", "learning_rate", "train")], narrow=True),
    ]
    sentence = ""
    if best:
        last = measured[-1]
        sentence = (
            f"The adapter is the one of step {best[0]:,.0f}, where the evaluation loss was lowest, {best[1]:.3f}."
        )
        if last[1] > best[1]:
            sentence += f" By the last measurement, at step {last[0]:,.0f}, it had risen to {last[1]:.3f}."
    return [chart for chart in charts if chart], sentence


def sources(
    train: Sequence[Example], evaluation: Sequence[Example], drops: Sequence[Drop], review: Any
) -> list[Source]:
    named = {e.recording for e in [*train, *evaluation]} | {d.recording for d in drops}
    every = sorted(named | set(review["recordings"]))
    return [
        Source(
            id=name,
            train=sum(e.recording == name for e in train),
            evaluation=sum(e.recording == name for e in evaluation),
            seconds=sum(e.seconds for e in [*train, *evaluation] if e.recording == name),
            dropped=sum(d.recording == name for d in drops),
            review=review["recordings"].get(name, {}),
        )
        for name in every
    ]


def reference(samples: Sequence[Sample], examples: Sequence[Example], clips: Path) -> tuple[Example, Sound] | None:
    """The clip of the true speaker that the cloning conditions heard first."""
    used = next((s.reference for s in samples if s.reference), None)
    example = next((e for e in examples if e.id == used), None)
    return (example, sound(clips / f"{example.id}.flac")) if example else None


def reasons(drops: Iterable[Drop]) -> dict[str, list[Drop]]:
    """The drops by what a reason begins with (`too short: 0.41 s …`), the commonest first."""
    found: dict[str, list[Drop]] = {}
    for drop in drops:
        found.setdefault(drop.reason.partition(":")[0], []).append(drop)
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))


def clock(seconds: float) -> str:
    return f"{int(seconds + 0.5) // 60}:{int(seconds + 0.5) % 60:02d}"


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f}%"


def render(**page: object) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(WEB),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"clock": clock, "percent": percent}
    style, script = ((WEB / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return environment.get_template("report.html").render(style=style, script=script, names=NAMES, **page) + "\n"


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=Path, required=True, help="folder of generated samples")
    parser.add_argument("--scores", type=Path, required=True, help="what was heard, a row per sample")
    parser.add_argument("--metrics", type=Path, required=True, help="the conditions' rates")
    parser.add_argument("--history", type=Path, required=True, help="training curves")
    parser.add_argument("--dataset", type=Path, required=True, help="folder of the training and evaluation tables")
    parser.add_argument("--clips", type=Path, required=True, help="folder of the clips")
    parser.add_argument("--review", type=Path, required=True, help="how much of the transcripts a person has heard")
    parser.add_argument("--out", type=Path, required=True, help="the page")
    args = parser.parse_args()
    train, evaluation = (read_jsonl(args.dataset / f"{name}.jsonl", Example) for name in ("train", "eval"))
    drops = read_jsonl(args.dataset / "rejected.jsonl", Drop)
    review = json.loads(args.review.read_text(encoding="utf-8"))
    metrics = json.loads(args.metrics.read_text(encoding="utf-8"))
    scores = read_csv(args.scores)
    charts, best = curves(read_csv(args.history))
    takes = rows(args.samples, scores)
    samples = [
        from_json((args.samples / f"{s['sample']}.json").read_text(encoding="utf-8"), Sample, s["sample"])
        for s in scores
    ]
    page = render(
        verdict=verdict(metrics),
        metrics={name: metrics[name] for name in NAMES},
        worst=max(0.01, *(m["wer"] for m in metrics.values())),
        rows=takes,
        seeds=len({row.seed for row in takes}),
        prompts=len({row.prompt for row in takes}),
        charts=charts,
        best=best,
        train=train,
        evaluation=evaluation,
        median=statistics.median(e.seconds for e in [*train, *evaluation]),
        drops=reasons(drops),
        sources=sources(train, evaluation, drops, review),
        review=review,
        reference=reference(samples, [*train, *evaluation], args.clips),
        base=samples[0].base,
        adapter=next(s.adapter for s in samples if s.adapter),
    )
    write_atomic(args.out, page)


if __name__ == "__main__":
    run(main)
