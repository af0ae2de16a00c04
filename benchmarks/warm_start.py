"""Warm starts: what `train.warm_start: previous` saves after an edit, and what it costs the voice.

    python -m benchmarks.warm_start [--edits 10]

It takes the outputs of `dvc repro` as they are here, in memory. In ten training clips a word is exchanged for another
one of the data; a voice is trained on that from the base. Each edit then puts one clip right, as a person would who
corrects a transcript. After each, one voice is trained from the base and one goes on from the version before, so the
last one has ten warm starts behind it. Both are held to all held-out clips, and to the sentences of
benchmarks/development.txt. Intervals are over the edits, by Student's distribution. What is done is kept in
.timbre/warm_start.json, and the next call goes on from there.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.kept import kept
from benchmarks.step_choice import CODES, DATASET, mean_and_interval, said
from benchmarks.table import ResultTable, TimedRow, run
from timbre import families
from timbre.core import params
from timbre.core.running import settle
from timbre.core.sections import Settings
from timbre.training import warm_start
from timbre.training.batches import Utterance, utterances
from timbre.training.courses import learn

STATE, ADAPTERS = Path(".timbre/warm_start.json"), Path(".timbre/warm_start")


class Trained(NamedTuple):
    steps: float
    seconds: float  # of CPU time
    loss: float  # on all held-out clips
    words: float  # wrong ones per word of the development sentences, with a reference clip
    similarity: float


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--edits", type=int, default=10, help="edits of a clip each, one after the other (10)")


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    settings = params.read()
    table = utterances(DATASET / "train.jsonl", CODES / settings.voice.family, settings.train.context_seconds)[0]
    wrong = spoilt(table, options.edits)
    one(settings, "0 cold", table, wrong, None)
    cold, warm = [], []
    for edit in range(1, options.edits + 1):
        left = dict(list(wrong.items())[edit:])
        cold.append(one(settings, f"{edit} cold", table, left, None))
        warm.append(one(settings, f"{edit} warm", table, left, f"{edit - 1} {'warm' if edit > 1 else 'cold'}"))
    rows = [row("from the base", cold), row("from the version before", warm)]
    pairs = [Trained(*(a - b for a, b in zip(w, c, strict=True))) for w, c in zip(warm, cold, strict=True)]
    yield ResultTable(f"After each of {options.edits} edits", [*rows, row("difference", pairs, sign="+")])


def row(name: str, trainings: Sequence[Trained], sign: str = "") -> TimedRow:
    values = Trained(*map(list, zip(*trainings, strict=True)))  # type: ignore[arg-type]
    columns: list[tuple[str, Any, int, float, str]] = [
        ("steps", values.steps, 0, 1, ""),
        ("CPU seconds", values.seconds, 0, 1, ""),
        ("held-out loss", values.loss, 4, 1, ""),
        ("WER, tuned + cloning", values.words, 1, 100, " %"),
        ("similarity, tuned + cloning", values.similarity, 4, 1, ""),
    ]
    return TimedRow(
        name,
        extra={
            column: mean_and_interval([unit * number for number in numbers], digits, after, sign)
            for column, numbers, digits, unit, after in columns
        },
    )


def spoilt(clips: Sequence[Utterance], count: int) -> dict[str, str]:
    """Clip → its text with one word of another clip in it."""
    draw = random.Random(0)
    vocabulary = sorted(
        {word for clip in clips for word in clip.turn.text.split() if word.isalpha() and word.islower()}
    )
    texts = {}
    for clip in draw.sample(list(clips), count):
        said = clip.turn.text.split()
        place = draw.choice([number for number, word in enumerate(said) if word in vocabulary])
        said[place] = draw.choice([word for word in vocabulary if word != said[place]])
        texts[clip.id] = " ".join(said)
    return texts


def one(
    settings: Settings, name: str, clips: Sequence[Utterance], wrong: dict[str, str], before: str | None
) -> Trained:
    def train() -> list[float]:
        folder = ADAPTERS / name.replace(" ", "-")
        start = ADAPTERS / before.replace(" ", "-") if before else None
        return list(trained(settings, [edited(clip, wrong) for clip in clips], start, folder))

    return Trained(*kept(STATE, name, train))


def edited(clip: Utterance, wrong: dict[str, str]) -> Utterance:
    return clip._replace(turn=clip.turn._replace(text=wrong.get(clip.id, clip.turn.text)))


def trained(settings: Settings, clips: Sequence[Utterance], before: Path | None, folder: Path) -> Trained:
    voice = families.load(settings.voice)
    settle(voice.model)
    held, _ = utterances(DATASET / "eval.jsonl", CODES / settings.voice.family)
    own = getattr(settings, settings.voice.family)
    # one evaluation sees all held-out clips
    asked = replace(warm_start.gentler(settings.train) if before else settings.train, eval_clips=len(held))
    start = time.process_time()
    with tempfile.TemporaryDirectory(prefix="timbre-warm-") as scratch:
        (done,) = learn(voice, clips, held, asked, own, Path(scratch), before=before)
    seconds = time.process_time() - start
    voice.save_adapter(folder)
    tuned = families.load(settings.voice, folder, settings.generate.precision)
    settle(tuned.model)
    words, similarity = said(settings, tuned, cloned=True)
    return Trained(done.state.step, seconds, done.state.best_loss, words, similarity)


def main() -> None:
    run("warm_start", __doc__, arguments, measure)


if __name__ == "__main__":
    main()
