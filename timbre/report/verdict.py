"""Is this voice better than the base, and how sure is that? In sentences, for page, Markdown and terminal.

"This voice" is the tuned one with a clip to clone, which is how it is used. A difference is one where its interval of
95 % leaves out zero. Where it holds zero, the words are called as good only if the gate on them passed, which says that
the interval ends before a loss that matters; what was not shown is not claimed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from timbre.evaluation.measures import BY_NAME, Measure
from timbre.evaluation.metrics import Difference, Evidence, Metric

NAMES = {
    "base": ("Base", "the model as it came"),
    "base_clone": ("Base, cloning", "as it came, after a clip of the speaker"),
    "tuned": ("Tuned", "with the adapter that was trained here"),
    "tuned_clone": ("Tuned, cloning", "with the adapter, after a clip of the speaker"),
}
HEADLINES = {  # by likeness (better, not shown, worse, not measured) and words (better, as good, not sure, worse)
    (1, 1): "This voice is better than the base: more like the speaker, and easier to understand",
    (1, 0): "This voice is better than the base: more like the speaker, and about as easy to understand",
    (1, None): "This voice is more like the speaker than the base, but it may be harder to understand",
    (1, -1): "This voice is more like the speaker than the base, but harder to understand",
    (0, 1): "This voice is easier to understand than the base, and not measurably more like the speaker",
    (0, 0): "This voice can’t be told from the base, neither by its words nor by its likeness",
    (0, None): "This voice is not measurably more like the speaker than the base, and it may be harder to understand",
    (0, -1): "This voice is worse than the base: harder to understand, and not measurably more like the speaker",
    (-1, 1): "This voice is easier to understand than the base, but less like the speaker",
    (-1, 0): "This voice is worse than the base: less like the speaker, and about as easy to understand",
    (-1, None): "This voice is worse than the base: less like the speaker, and it may be harder to understand",
    (-1, -1): "This voice is worse than the base: less like the speaker, and harder to understand",
    (None, 1): "This voice is easier to understand than the base",
    (None, 0): "This voice is about as easy to understand as the base",
    (None, None): "This voice may be harder to understand than the base",
    (None, -1): "This voice is harder to understand than the base",
}
UNKNOWN = "Whether this voice is better than the base was not measured"
VOID = {  # gates without which nothing else counts
    "leakage": "Nothing can be said of this voice: some of what it is judged by was learnt",
    "changes": "This voice is the base: the adapter does not change what one hears",
}


@dataclass(frozen=True)
class Verdict:
    headline: str  # without a full stop
    sure: list[str]  # sentences: how sure that is
    more: list[str]  # and where it comes from


def verdict(evidence: Evidence) -> Verdict:
    whole = evidence.differences.get("tuned_clone-base", Difference())
    return Verdict(_headline(evidence, whole), list(_sure(evidence, whole)), list(_more(evidence, whole)))


def _headline(evidence: Evidence, whole: Difference) -> str:
    for name, headline in VOID.items():
        if name in evidence.failed:
            return headline
    words = _direction(whole.wer_low, whole.wer_high)
    likeness = _direction(whole.similarity_low, whole.similarity_high)
    if words is None:
        return UNKNOWN
    as_good = "words" in evidence.gates and evidence.gates["words"].passed
    return HEADLINES[likeness, -words if words or as_good else None]


def _direction(low: float | None, high: float | None) -> int | None:
    """Above zero, below, or 0 where the interval holds it."""
    return None if low is None or high is None else (low > 0) - (high < 0)


def _sure(evidence: Evidence, whole: Difference) -> Iterator[str]:
    this, base = (evidence.conditions.get(name, Metric()) for name in ("tuned_clone", "base"))
    if this.similarity is not None and base.similarity is not None:
        sure = f": a difference of {span(whole, 'similarity')}" if whole.similarity is not None else ""
        yield f"Its likeness to the speaker is {this.similarity:.3f}, the base’s {base.similarity:.3f}{sure}."
    if this.wer is not None and base.wer is not None:
        sure = f": a difference of {span(whole, 'wer')}" if whole.wer is not None else ""
        yield f"Of 100 words it gets {100 * this.wer:.1f} wrong, the base {100 * base.wer:.1f}{sure}."


def _more(evidence: Evidence, whole: Difference) -> Iterator[str]:
    if effect := _told(evidence.differences.get("tuned_clone-base_clone", Difference())):
        yield f"What the adapter adds to cloning alone: {effect}."
    alone = evidence.conditions.get("tuned", Metric())
    if alone.similarity is not None and alone.wer is not None:
        yield f"Without a clip: likeness {alone.similarity:.3f}, {100 * alone.wer:.1f} wrong of 100 words."
    if None not in (whole.wins, whole.ties, whole.losses):
        yield (
            f"Sentence by sentence it is understood better than the base {times(whole.wins)}, "
            f"as well {times(whole.ties)}, and worse {times(whole.losses)}."
        )


def _told(difference: Difference) -> str:
    parts = []
    if difference.similarity is not None:
        parts.append(f"likeness {signed(difference.similarity)} ({span(difference, 'similarity')})")
    if difference.wer is not None:
        parts.append(f"wrong words {points(difference.wer)} points ({span(difference, 'wer')})")
    return ", ".join(parts)


def change(difference: Difference, measure: Measure) -> str:
    """A difference and its interval, such as `−1.4 (−4.0 to +1.2)`; empty where it was not measured."""
    value, _, _ = measure.interval(difference)
    return "" if value is None else f"{_change(measure, value)} ({span(difference, measure.name)})"


def span(difference: Difference, name: str) -> str:
    """Its interval, such as `−4.0 to +1.2`."""
    measure = BY_NAME[name]
    _, low, high = measure.interval(difference)
    return "no interval" if low is None or high is None else f"{_change(measure, low)} to {_change(measure, high)}"


def _change(measure: Measure, value: float) -> str:
    return points(value) if measure.unit == "share" else signed(value)


def signed(value: float, digits: int = 3) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def points(share: float) -> str:
    """A difference of rates, in percentage points."""
    return signed(100 * share, 1)


def times(number: int | None) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(number or 0, f"{number} times")
