"""Warm starts: what `train.warm_start: previous` saves after an edit, and what it costs the voice.

    python -m benchmarks.warm_start [--edits 10] [--minutes 6]

It takes the outputs of `dvc repro` as they are here, in memory, and makes ten versions of them, one after the other, by
edits that a person would make: words put right in one clip, in several or in the lines of a recording, a clip left out,
a clip added. The version before them all has these clips wrong, in or not yet in, and is trained from the base. After
each edit one voice is trained from the base, and one goes on from the version before. The last one has ten warm starts
behind it, more than a training allows itself (`MOST_IN_A_ROW`), so that one sees what each more does. Both are held to
all held-out clips, to the clips that the edit was about, and to the sentences of benchmarks/development.txt, spoken
after a reference clip. Intervals are over the edits, by Student's distribution.

Each training is kept with its adapter in .timbre/warm_start as soon as it was judged, and the next call goes on from
there. `--minutes` says after how many of them a call begins no further training; 0 shows what is there.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
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
from timbre.families import Course
from timbre.training import distributed, warm_start
from timbre.training.batches import Utterance, utterances
from timbre.training.courses import learn

KEPT = Path(".timbre/warm_start")
KINDS = (  # what a person does, and to how many clips
    ("a word put right", 1),
    ("a word put right", 1),
    ("a clip left out", 1),
    ("a word put right", 1),
    ("a clip added", 1),
    ("a word put right in three clips", 3),
    ("two words put right", 1),
    ("a clip left out", 1),
    ("a clip added", 1),
    ("a word put right in four lines of a recording", 4),
)


class DatasetEdit(NamedTuple):
    kind: str
    texts: Mapping[str, str]  # clip → its text before the edit

    def before(self, clip: Utterance) -> Utterance | None:
        return None if "added" in self.kind else clip._replace(turn=clip.turn._replace(text=self.texts[clip.id]))

    def after(self, clip: Utterance) -> Utterance | None:
        return None if "left out" in self.kind else clip


class WarmTraining(NamedTuple):
    """Which one: after how many edits, and whether it goes on from the version before."""

    edits: int
    warm: bool

    @property
    def name(self) -> str:
        return f"{self.edits}-{'warm' if self.warm else 'cold'}"

    @property
    def before(self) -> WarmTraining:
        return WarmTraining(self.edits - 1, self.edits > 1)


class Trained(NamedTuple):
    steps: float
    seconds: float  # of CPU time
    loss: float  # on all held-out clips
    edited: float | None  # on the clips that the edit was about, as they are after it; none is left of one left out
    words: float  # wrong ones per word of the development sentences, after a reference clip
    similarity: float


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--edits", type=int, default=10, help="edits, one after the other (10)")
    parser.add_argument("--minutes", type=float, help="begin no training after so many; call it again to go on")


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    settings = params.read()
    clips = utterances(DATASET / "train.jsonl", CODES / settings.voice.family, settings.train.context_seconds)[0]
    edits = edits_of(clips)[: options.edits]
    asked = [WarmTraining(0, False)]
    asked += [WarmTraining(edit, warm) for edit in range(1, len(edits) + 1) for warm in (False, True)]
    begun, done = time.monotonic(), dict[WarmTraining, Trained]()
    for one in asked:
        if not is_kept(one) and options.minutes is not None and time.monotonic() - begun >= 60 * options.minutes:
            print(f"warm_start: {len(done)} of {len(asked)} trainings are there; call it again to go on")
            break
        done[one] = judged(settings, one, clips, edits)
    whole = [edit for edit in range(1, len(edits) + 1) if WarmTraining(edit, True) in done]
    if len(whole) > 1:
        yield from tables(done, edits, whole)


def tables(
    done: Mapping[WarmTraining, Trained], edits: Sequence[DatasetEdit], whole: Sequence[int]
) -> Iterator[ResultTable]:
    cold, warm = [[done[WarmTraining(edit, way)] for edit in whole] for way in (False, True)]
    rows = [row("from the base", cold), row("from the version before", warm)]
    pairs = [difference(w, c) for w, c in zip(warm, cold, strict=True)]
    counted = f"{len(whole)} edits" if len(whole) == len(edits) else f"the first {len(whole)} of {len(edits)} edits"
    yield ResultTable(f"After each of {counted}", [*rows, row("difference", pairs, sign="+")])
    one_by_one = [
        row(f"{number}: {edits[number - 1].kind}", [pair], sign="+") for number, pair in zip(whole, pairs, strict=True)
    ]
    yield ResultTable("Difference after edit", one_by_one)


def difference(warm: Trained, cold: Trained) -> Trained:
    return Trained(*(None if a is None else a - b for a, b in zip(warm, cold, strict=True)))  # type: ignore[arg-type]


def row(name: str, trainings: Sequence[Trained], sign: str = "") -> TimedRow:
    values = Trained(*map(list, zip(*trainings, strict=True)))  # type: ignore[arg-type]
    columns: list[tuple[str, Any, int, float, str]] = [
        ("steps", values.steps, 0, 1, ""),
        ("CPU seconds", values.seconds, 0, 1, ""),
        ("held-out loss", values.loss, 4, 1, ""),
        ("loss of the edited clips", values.edited, 4, 1, ""),
        ("WER, tuned + cloning", values.words, 1, 100, " %"),
        ("similarity, tuned + cloning", values.similarity, 4, 1, ""),
    ]
    known = [
        (column, [unit * number for number in numbers if number is not None], digits, after)
        for column, numbers, digits, unit, after in columns
    ]
    return TimedRow(
        name,
        extra={
            column: mean_and_interval(numbers, digits, after, sign) if numbers else "–"
            for column, numbers, digits, after in known
        },
    )


def edits_of(clips: Sequence[Utterance]) -> list[DatasetEdit]:
    """Each of clips of its own; one after the other in another recording."""
    draw = random.Random(0)
    vocabulary = sorted(
        {word for clip in clips for word in clip.turn.text.split() if word.isalpha() and word.islower()}
    )
    recordings: dict[str, list[Utterance]] = {}
    for clip in draw.sample(list(clips), len(clips)):
        recordings.setdefault(clip.recording, []).append(clip)
    names, edits = sorted(recordings), []
    for number, (kind, count) in enumerate(KINDS):
        taken = [recordings[names[number % len(names)]].pop() for _ in range(count)]
        edits.append(DatasetEdit(kind, {clip.id: before(clip, kind, vocabulary, draw) for clip in taken}))
    return edits


def before(clip: Utterance, kind: str, vocabulary: Sequence[str], draw: random.Random) -> str:
    """The clip's text as it was before an edit of this kind."""
    words = clip.turn.text.split()
    known = [number for number, word in enumerate(words) if word in vocabulary]
    wrong = 0 if "clip " in kind else 2 if "two words" in kind else 1
    for place in draw.sample(known, min(wrong, len(known))):
        words[place] = draw.choice([word for word in vocabulary if word != words[place]])
    return " ".join(words)


def version(clips: Sequence[Utterance], edits: Sequence[DatasetEdit], done: int) -> list[Utterance]:
    """The clips after so many of the edits."""
    owners = {clip: (edit, number < done) for number, edit in enumerate(edits) for clip in edit.texts}
    shown = [
        clip if clip.id not in owners else owners[clip.id][0].after(clip) if owners[clip.id][1]
        else owners[clip.id][0].before(clip)
        for clip in clips
    ]  # fmt: skip
    return [clip for clip in shown if clip is not None]


def is_kept(one: WarmTraining) -> bool:
    return result_of(one).is_file()


def result_of(one: WarmTraining) -> Path:
    return KEPT / f"{one.name}.json"


def judged(settings: Settings, one: WarmTraining, clips: Sequence[Utterance], edits: Sequence[DatasetEdit]) -> Trained:
    def train() -> list[float | None]:
        mine = version(clips, edits, one.edits)
        about = edits[one.edits - 1].texts if one.edits else {}
        edited = [clip for clip in mine if clip.id in about]
        return list(trained(settings, mine, edited, KEPT / one.before.name if one.warm else None, KEPT / one.name))

    return Trained(*kept(result_of(one), one.name, train))


def trained(
    settings: Settings, clips: Sequence[Utterance], edited: Sequence[Utterance], before: Path | None, folder: Path
) -> Trained:
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
    shutil.rmtree(folder, ignore_errors=True)
    voice.save_adapter(folder)
    of_edited = loss(done.course, edited) if edited else None
    tuned = families.load(settings.voice, folder, settings.generate.precision)
    settle(tuned.model)
    words, similarity = said(settings, tuned, cloned=True)
    return Trained(done.state.step, seconds, done.state.best_loss, of_edited, words, similarity)


def loss(course: Course, clips: Sequence[Utterance]) -> float:
    """What an evaluation of these clips gives, with the weights that the course has now."""
    import torch

    course.model.eval()
    with torch.no_grad():
        exam = course.exam([[clip.turn] for clip in clips], distributed.part())
        return float(course.evaluate(exam).total)


def main() -> None:
    run("warm_start", __doc__, arguments, measure)


if __name__ == "__main__":
    main()
