"""What a second ear and a second speaker encoder make of the same samples, for page, Markdown and terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from timbre.evaluation.measures import BY_NAME, SECOND, Measure
from timbre.evaluation.metrics import CONDITIONS, Evidence, SecondJudge, disagreements
from timbre.report.verdict import NAMES

GATED = {  # differences that a gate leans on, as `measure/first-second`
    "words": ("wer/tuned_clone-base_clone", "wer/tuned_clone-base"),
    "similarity": ("similarity/tuned_clone-base_clone",),
}


@dataclass(frozen=True)
class TwiceJudged:
    first: Measure
    second: Measure
    judge: str
    rows: list[tuple[str, str, str]]  # condition, by the first judge, by the second
    agreement: str
    rank: str
    codec: str  # a sentence on what the codec costs; empty where nobody heard it


@dataclass(frozen=True)
class SecondFigures:
    judged: list[TwiceJudged]
    warnings: list[str]


def second(evidence: Evidence) -> SecondFigures | None:
    """None where nobody was asked."""
    if not evidence.second:
        return None
    judged = [_figures(evidence, measure, judge) for measure, judge in evidence.second.items() if measure in SECOND]
    return SecondFigures(judged, list(disagreements(evidence).values()))


def _figures(evidence: Evidence, name: str, judge: SecondJudge) -> TwiceJudged:
    first, other = BY_NAME[name], SECOND[name]
    rows = [
        (NAMES[one][0], first.text(first.interval(evidence.conditions[one])[0]), other.text(getattr(judge, one)))
        for one in CONDITIONS
        if one in evidence.conditions
    ]
    agreement = "" if judge.agreement is None else f"{100 * judge.agreement:.0f}%"
    rank = "" if judge.rank is None else f"{judge.rank:+.2f}".replace("-", "−")
    return TwiceJudged(first, other, judge.name, rows, agreement, rank, _codec(judge))


def _codec(judge: SecondJudge) -> str:
    if judge.codec is None or judge.codec_first is None:
        return ""
    return (
        f"Of 100 words of the speaker’s own held-out clips, the codec makes {100 * judge.codec_first:+.1f} wrong by "
        f"the first ear, {100 * judge.codec:+.1f} by {judge.name}"
    ).replace("-", "−")


def sentences(evidence: Evidence) -> Iterator[str]:
    """The rates by both judges, how far they agree, and each order that the second turns round."""
    figures = second(evidence)
    if figures is None:
        return
    for one in figures.judged:
        rates = "; ".join(f"{name} {first}, by {one.judge} {other}" for name, first, other in one.rows)
        agreed = [f"they agree on {one.agreement} of the samples"] if one.agreement else []
        agreed += [f"rank correlation {one.rank}"] if one.rank else []
        yield f"{one.first.title}: {rates}" + (f" ({', '.join(agreed)})" if agreed else "")
        if one.codec:
            yield one.codec
    yield from (f"warning: {line}" for line in figures.warnings)


def doubt(evidence: Evidence, gate: str) -> str:
    """What the second judge says against a gate's value; empty where it says nothing."""
    lines = disagreements(evidence)
    return "".join(f"; {lines[difference]}" for difference in GATED.get(gate, ()) if difference in lines)
