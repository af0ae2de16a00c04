"""What was measured of the voice, in two versions: rates with their margins, gates, and the samples that changed."""

from __future__ import annotations

from collections.abc import Iterator

from timbre.diff import regression
from timbre.diff.report import GateChange, PromptChange, Rate
from timbre.evaluation.measures import AMOUNTS, BY_NAME, COMPARED, MEASURES, asks
from timbre.evaluation.metrics import Metric
from timbre.evaluation.score_rows import ScoreRow
from timbre.versions.tables import VersionTables

ENOUGH = 5  # sentences that say something about chance
AUDIBLE = 0.05  # of similarity, from which a sample is told for it alone
Scores = dict[str, ScoreRow]


def rates(old: VersionTables, new: VersionTables) -> Iterator[Rate]:
    before, after = old.evidence.conditions, new.evidence.conditions
    names = [measure.name for measure in MEASURES if measure.name not in AMOUNTS]
    for condition in [*after, *(name for name in before if name not in after)]:
        a, b = before.get(condition, Metric()), after.get(condition, Metric())
        for name in names:
            if getattr(a, name) != getattr(b, name):
                margin = margins(condition, name, old.scores or {}, new.scores or {})
                values = getattr(a, name), getattr(b, name)
                yield Rate(condition, name, *values, margin, _range(a, name), _range(b, name))


def _range(metric: Metric, name: str) -> tuple[float, float] | None:
    _, low, high = BY_NAME[name].interval(metric)
    return None if low is None or high is None else (low, high)


def margins(condition: str, name: str, old: Scores, new: Scores) -> float | None:
    """Half of a 95 % interval of a change; None where the versions did not speak the same sentences, or too few.

    Word errors count over words, so each sentence's part in the change is how far its errors changed more than its
    share of all words would have it: the usual variance of a ratio, with each sentence paired with itself. Similarity
    is a mean, a ratio over the count of samples.
    """
    if BY_NAME[name] not in COMPARED or _spoken(condition, old) != _spoken(condition, new):
        return None
    change = regression.paired(condition, old, new, regression.of_measure(name))
    return round(change.margin, 4) if change and change.sentences >= ENOUGH else None


def _spoken(condition: str, scores: Scores) -> set[tuple[str, str]]:
    return {(sample, row.text) for sample, row in scores.items() if row.condition == condition}


def gates(old: VersionTables, new: VersionTables) -> Iterator[GateChange]:
    before, after = old.evidence.gates, new.evidence.gates
    for name in [*after, *(name for name in before if name not in after)]:
        a, b = before.get(name), after.get(name)
        passed = (a.passed if a else None), (b.passed if b else None)
        yield GateChange(name, asks(name), *passed, b.value if b else None, b.limit if b else None)


def prompts(old: Scores | None, new: Scores | None) -> list[PromptChange]:
    """Samples that are understood or sound otherwise, what became worse first."""
    old, new = old or {}, new or {}
    changed = []
    for sample in old.keys() & new.keys():
        a, b = old[sample], new[sample]
        like = None if a.similarity is None or b.similarity is None else (a.similarity, b.similarity)
        if a.wer != b.wer or (like and abs(like[1] - like[0]) >= AUDIBLE):
            was = "" if a.text == b.text else a.text
            where = (sample, b.condition, b.prompt, str(b.seed), b.text)
            changed.append(PromptChange(*where, a.wer, b.wer, a.heard, b.heard, like, was))
    return sorted(changed, key=lambda p: (p.old - p.new, _lost(p), p.condition, p.prompt, p.seed))


def _lost(prompt: PromptChange) -> float:
    return prompt.similarity[1] - prompt.similarity[0] if prompt.similarity else 0.0
