"""reports/scores.csv, a row per sample; and what rows come to: a condition's rates, and how two conditions differ.

    conditions, differences = summarise(scores)     # for timbre/evaluation/metrics.py

Rates are sums over all samples: wrong words over words, characters over seconds of speech. Intervals are drawn over
prompts, see timbre/evaluation/bootstrap.py.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from timbre.asr import alignment
from timbre.core.content import write_atomic
from timbre.core.records import UNLESS_DEFAULT, line_of, unless_default
from timbre.evaluation import bootstrap
from timbre.evaluation.aggregates import Mean, Ratio
from timbre.evaluation.bootstrap import Estimate, TallyPart
from timbre.evaluation.measures import BY_NAME, COMPARED, MEASURES, Measure
from timbre.evaluation.metrics import COMPARISONS, CONDITIONS, Difference, Metric


@dataclass(frozen=True)
class Score:
    """None is what a silent sample has not, or nobody could measure; an empty cell in the table."""

    sample: str
    condition: str
    prompt: str
    seed: int
    wer: float  # errors / words, at most 1
    cer: float  # wrong characters / characters
    errors: int  # words substituted, left out or added; at most as many as the prompt has
    words: int  # of the prompt, after the normaliser
    similarity: float | None  # to the speaker; 0 of a silent sample
    named: bool | None  # nearer to the speaker than to any other voice
    pace: float | None  # characters per second of speech, as a share of the speaker's own
    pauses: float | None  # share of the seconds without speech
    seconds: float
    ended: bool  # by itself, not by the cap on its length
    silent: bool
    clipped: bool
    repeated: bool  # words are heard again that the prompt has once
    text: str
    heard: str  # as Whisper wrote it
    diff: str  # both texts after the normaliser, word by word, in the notation of wdiff: said [-left out-] {+added+}
    looped: bool = False  # Whisper wrote the same words over and over
    language: str = field(default="en", metadata=UNLESS_DEFAULT)  # in which it was heard and compared
    speaker: str = field(default="", metadata=UNLESS_DEFAULT)  # who is spoken as, where the voice learnt several
    second_heard: str | None = field(default=None, metadata=UNLESS_DEFAULT)  # by the second ear
    second_errors: int | None = field(default=None, metadata=UNLESS_DEFAULT)
    second_similarity: float | None = field(default=None, metadata=UNLESS_DEFAULT)  # by the second encoder
    second_named: bool | None = field(default=None, metadata=UNLESS_DEFAULT)

    @property
    def line(self) -> str:
        return line_of(self.prompt, self.speaker)

    @property
    def speech(self) -> float:
        """Seconds."""
        return 0.0 if self.pauses is None else self.seconds * (1 - self.pauses)

    @property
    def characters(self) -> int:
        """Of the prompt, after the normaliser."""
        return alignment.characters(self.text, self.heard, self.language).of

    @property
    def wrong_characters(self) -> int:
        return alignment.characters(self.text, self.heard, self.language).wrong


def write(path: Path, scores: Sequence[Score]) -> None:
    """An optional column is left out where all samples have its default."""
    unused = {
        one.name for one in unless_default(Score) if all(getattr(score, one.name) == one.default for score in scores)
    }
    columns = [one.name for one in fields(Score) if one.name not in unused]
    write_atomic(path, to_csv([{name: getattr(score, name) for name in columns} for score in scores], columns))


def to_csv(rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def summarise(scores: Sequence[Score]) -> tuple[dict[str, Metric], dict[str, Difference]]:
    """By condition; and by `first-second`, the first minus the second."""
    of = {name: [score for score in scores if score.condition == name] for name in CONDITIONS}
    differences = {f"{one}-{other}": difference(of[one], of[other]) for one, other in COMPARISONS}
    return {name: metric(rows_of_condition) for name, rows_of_condition in of.items()}, differences


def metric(scores: Sequence[Score]) -> Metric:
    """Every measure of the table."""
    values: dict[str, Any] = {}
    for measure in MEASURES:
        values[measure.name] = measure.total.of(scores)
        if measure.compared and (prompts := parts(scores, measure)):
            of = bootstrap.share if isinstance(measure.total, Ratio) else bootstrap.estimate
            values |= _ends(measure.name, of(prompts))
    return Metric(**values)


def difference(first: Sequence[Score], second: Sequence[Score]) -> Difference:
    values: dict[str, Any] = {}
    for measure in COMPARED:
        one, other = parts(first, measure), parts(second, measure)
        if one and other:
            estimate = bootstrap.difference(one, other)
            values |= {measure.name: estimate.value, **_ends(measure.name, estimate)}
    won = bootstrap.tally(*(parts(some, BY_NAME["wer"]) or [] for some in (first, second)))
    return Difference(**values, **won._asdict())


def _ends(name: str, estimate: Estimate) -> dict[str, float | None]:
    return {f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def parts(scores: Sequence[Score], measure: Measure) -> list[TallyPart] | None:
    """A part per prompt, all its seeds and speakers together, in the order of the prompts' names.

    None where a sample has no value, as where nobody knows the speaker's voice.
    """
    assert isinstance(measure.total, Ratio | Mean), f"{measure.name} is a sum, and has no interval"
    mine: dict[str, list[tuple[float, float]]] = {prompt: [] for prompt in sorted({score.prompt for score in scores})}
    for score in scores:
        part = measure.total.part(score)
        if part is None:
            return None
        mine[score.prompt].append(part)
    return [TallyPart(sum(total for total, _ in some), sum(over for _, over in some)) for some in mine.values()]
