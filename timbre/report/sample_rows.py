"""Samples side by side: a row per prompt, the four conditions in it, and the speaker where there is a true recording.

Read from reports/scores.csv and the samples' own records. The worst prompts come first, because a voice is mended where
it fails; the worst samples of the tuned voice are listed on top.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from timbre.core.errors import DataError
from timbre.core.records import Sample, from_json
from timbre.evaluation import score_rows
from timbre.evaluation.measures import BY_NAME, MEASURES
from timbre.evaluation.score_rows import ScoreRow
from timbre.report.sound import EmbeddedSound, spoken
from timbre.report.verdict import NAMES

WORST = 8  # samples that are listed on top
KINDS = {"domain": "in-domain", "hard": "hard", "true": "held out"}


@dataclass(frozen=True)
class ShownWord:
    kind: str  # right, missed or added
    text: str


@dataclass(frozen=True)
class Take:
    """One sample as the page shows it."""

    id: str
    condition: str
    name: str  # of the condition
    prompt: str
    text: str
    seed: int
    sound: EmbeddedSound
    wer: float
    similarity: float | None
    complaints: list[str]
    words: list[ShownWord]


@dataclass(frozen=True)
class SampleRow:
    """A prompt in every condition: one take of each in sight, those with other seeds behind a fold."""

    prompt: str
    speaker: str  # of several; else empty
    kind: str
    text: str
    true: EmbeddedSound | None  # the speaker's own recording
    first: list[Take]
    others: list[list[Take]]  # by seed


@dataclass(frozen=True)
class ShownScore:
    """What the page needs of a row of reports/scores.csv."""

    sample: Sample
    errors: int
    words: int
    wer: float
    similarity: float | None
    flags: dict[str, bool]  # columns in which a sample can have something wrong
    diff: str


@dataclass(frozen=True)
class Kind:
    """How the sentences of one kind are read."""

    name: str
    prompts: int
    wer: list[float | None]  # in the conditions' order


def read_scores(table: Path, folder: Path) -> list[ShownScore]:
    try:
        return [_score(row, folder) for row in score_rows.read(table.read_bytes())]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{table}: not the table of scores; run `dvc repro evaluate`") from error


def _score(row: ScoreRow, folder: Path) -> ShownScore:
    path = folder / f"{row.sample}.json"
    try:
        sample = from_json(path.read_text(encoding="utf-8"), Sample, str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); run `dvc repro`") from error
    return ShownScore(sample, row.errors, row.words, row.wer, row.similarity, row.flags, row.diff)


def by_kind(scores: Sequence[ShownScore]) -> list[Kind]:
    """Nothing where all sentences are of one kind."""
    kinds = sorted({score.sample.kind for score in scores}, key=list(KINDS).index)
    return [_kind(kind, [s for s in scores if s.sample.kind == kind]) for kind in kinds] if len(kinds) > 1 else []


def _kind(kind: str, scores: Sequence[ShownScore]) -> Kind:
    def rate(condition: str) -> float | None:
        chosen = [score for score in scores if score.sample.condition == condition]
        return BY_NAME["wer"].total.of(chosen)

    return Kind(KINDS[kind], len({score.sample.prompt for score in scores}), [rate(name) for name in NAMES])


def rows(
    scores: Sequence[ShownScore], samples: Path, adapter: str | None, true: Callable[[str], EmbeddedSound | None]
) -> list[SampleRow]:
    """`adapter` is the version's key, `true` finds the sound of a clip by its id.

    The prompts whose tuned takes are worst come first.
    """
    by_prompt: dict[str, dict[int, list[ShownScore]]] = {}
    for score in scores:
        by_prompt.setdefault(score.sample.line, {}).setdefault(score.sample.seed, []).append(score)
    ranked = sorted(by_prompt.values(), key=lambda seeds: _badness([s for takes in seeds.values() for s in takes]))
    return [_row(seeds, samples, adapter, true) for seeds in ranked]


def _badness(scores: Sequence[ShownScore]) -> tuple[float, float, str]:
    tuned = [score for score in scores if score.sample.adapter] or list(scores)
    similarity = [score.similarity for score in tuned if score.similarity is not None]
    return (
        -sum(score.wer for score in tuned) / len(tuned),
        sum(similarity) / len(similarity) if similarity else 1.0,
        tuned[0].sample.line,
    )


def _row(
    seeds: dict[int, list[ShownScore]],
    samples: Path,
    adapter: str | None,
    true: Callable[[str], EmbeddedSound | None],
) -> SampleRow:
    takes = [[take(score, samples, adapter) for score in seeds[seed]] for seed in sorted(seeds)]
    sample = seeds[min(seeds)][0].sample
    recording = true(sample.clip) if sample.clip else None
    return SampleRow(sample.prompt, sample.speaker, sample.kind, sample.text, recording, takes[0], takes[1:])


def take(score: ShownScore, samples: Path, adapter: str | None) -> Take:
    sample = score.sample
    return Take(
        id=sample.id,
        condition=sample.condition,
        name=NAMES[sample.condition][0],
        prompt=sample.line,
        text=sample.text,
        seed=sample.seed,
        sound=spoken(samples / f"{sample.id}.flac", sample, adapter),
        wer=score.wer,
        similarity=score.similarity,
        complaints=complaints(score),
        words=words(score.diff),
    )


def complaints(score: ShownScore) -> list[str]:
    return [m.complaint for m in MEASURES if m.complaint and score.flags.get(m.name) is m.complains]


def worst(rows: Sequence[SampleRow], most: int = WORST) -> list[Take]:
    """Of the tuned voice: most words wrong, then least like the speaker; none that has nothing wrong."""
    every = [take for row in rows for takes in (row.first, *row.others) for take in takes]
    wrong = [t for t in every if t.condition.startswith("tuned") and (t.wer > 0 or t.complaints)]
    return sorted(wrong, key=lambda t: (-t.wer, 1.0 if t.similarity is None else t.similarity, t.id))[:most]


def words(diff: str) -> list[ShownWord]:
    """The pieces of a comparison in wdiff's notation: said [-left out-] {+added+}."""
    matches = re.findall(r"\[-(.*?)-\]|\{\+(.*?)\+\}|((?:(?!\[-|\{\+).)+)", diff)
    pieces = [("missed", a) if a else ("added", b) if b else ("right", c.strip()) for a, b, c in matches]
    return [ShownWord(kind, text) for kind, text in pieces if text]
