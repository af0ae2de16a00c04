"""reports/scores.csv, a row per sample; and what rows come to: a condition's rates, and how two conditions differ.

    conditions, differences = summarise(scores)     # for timbre/evaluation/metrics.py

Rates are sums over all samples: wrong words over words, characters over seconds of speech. Intervals are drawn over
prompts, see timbre/evaluation/bootstrap.py.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from timbre.core.content import write_atomic
from timbre.evaluation import bootstrap, word_errors
from timbre.evaluation.bootstrap import Part
from timbre.evaluation.metrics import COMPARISONS, CONDITIONS, Difference, Metric


@dataclass(frozen=True)
class Score:
    """None is what a silent sample has not, or nobody could measure; an empty cell in the table."""

    sample: str
    condition: str
    prompt: str
    seed: int
    wer: float  # errors / words
    cer: float  # wrong characters / characters
    errors: int  # words substituted, left out or added
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

    @property
    def speech(self) -> float:
        """Seconds."""
        return 0.0 if self.pauses is None else self.seconds * (1 - self.pauses)


def write(path: Path, scores: Sequence[Score]) -> None:
    write_atomic(path, to_csv([asdict(score) for score in scores], [field.name for field in fields(Score)]))


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
    return {name: metric(some) for name, some in of.items()}, differences


def metric(scores: Sequence[Score]) -> Metric:
    """Rounded as the rows are, so that the tables agree."""
    wer, similar = bootstrap.estimate(word_parts(scores)), voice_parts(scores)
    like = bootstrap.estimate(similar) if similar else None
    audible = [score for score in scores if score.pauses is not None]
    seconds, speech = (sum(getattr(score, name) for score in audible) for name in ("seconds", "speech"))
    paced = [score for score in audible if score.pace is not None]
    return Metric(
        wer=round(wer.value, 4),
        wer_low=wer.low,
        wer_high=wer.high,
        cer=round(word_errors.wrong_characters([score.text for score in scores], [score.heard for score in scores]), 4),
        similarity=like.value if like else None,
        similarity_low=like.low if like else None,
        similarity_high=like.high if like else None,
        named=_share(score.named for score in scores),
        pace=sum((score.pace or 0) * score.speech for score in paced) / speech if paced else None,
        pauses=1 - speech / seconds if audible else None,
        ended=_share(score.ended for score in scores),
        silent=sum(score.silent for score in scores),
        clipped=sum(score.clipped for score in scores),
        repeated=sum(score.repeated for score in scores),
        errors=sum(score.errors for score in scores),
        words=sum(score.words for score in scores),
        samples=len(scores),
        seconds=round(sum(score.seconds for score in scores), 2),
    )


def difference(first: Sequence[Score], second: Sequence[Score]) -> Difference:
    wer = bootstrap.difference(word_parts(first), word_parts(second))
    won = bootstrap.tally(word_parts(first), word_parts(second))
    one, other = voice_parts(first), voice_parts(second)
    like = bootstrap.difference(one, other) if one and other else None
    return Difference(
        wer=wer.value,
        wer_low=wer.low,
        wer_high=wer.high,
        similarity=like.value if like else None,
        similarity_low=like.low if like else None,
        similarity_high=like.high if like else None,
        wins=won.wins,
        ties=won.ties,
        losses=won.losses,
    )


def word_parts(scores: Sequence[Score]) -> list[Part]:
    return _parts(scores, lambda score: score.errors, lambda score: score.words)


def voice_parts(scores: Sequence[Score]) -> list[Part] | None:
    """None where nobody knows the speaker's voice."""
    if any(score.similarity is None for score in scores):
        return None
    return _parts(scores, lambda score: score.similarity or 0.0, lambda score: 1)


def _parts(scores: Sequence[Score], count: Callable[[Score], float], of: Callable[[Score], float]) -> list[Part]:
    """A part per prompt, all its seeds together, in the order of the prompts' names."""
    mine: dict[str, list[Score]] = {prompt: [] for prompt in sorted({score.prompt for score in scores})}
    for score in scores:
        mine[score.prompt].append(score)
    return [Part(sum(map(count, some)), sum(map(of, some))) for some in mine.values()]


def _share(answers: Iterable[bool | None]) -> float | None:
    known = [answer for answer in answers if answer is not None]
    return sum(known) / len(known) if known else None
