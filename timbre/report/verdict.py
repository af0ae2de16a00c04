"""What does the adapter add to cloning alone, and how sure is that? In sentences, for page, Markdown and terminal.

"This voice" is the tuned one with a clip to clone, which is how it is used; "cloning alone" is the base model with the
same clip. A difference is one where its interval of 95 % leaves out zero, and a gain in similarity one where its gate
passed, too: it says that the gain is large enough to matter. Where the interval of the words holds zero, they are
called as good only if the gate on them passed, which says that it ends before a loss that matters; what was not shown
is not claimed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from timbre.evaluation.measures import BY_NAME, Measure
from timbre.evaluation.metrics import Difference, Evidence, Metric

NAMES = {
    "base": ("Base", "the model as it came"),
    "base_clone": ("Base + cloning", "as it came, after a clip of the speaker"),
    "tuned": ("Tuned", "with the adapter that was trained here"),
    "tuned_clone": ("Tuned + cloning", "with the adapter, after a clip of the speaker"),
}
HEADLINES = {  # by similarity (better, not clear, worse, not measured) and words (better, as good, not sure, worse)
    (1, 1): "This voice is better than cloning alone: more like the speaker, and easier to understand",
    (1, 0): "This voice is better than cloning alone: more like the speaker, and about as easy to understand",
    (1, None): "This voice is more like the speaker than cloning alone, but it may be harder to understand",
    (1, -1): "This voice is more like the speaker than cloning alone, but harder to understand",
    (0, 1): "This voice is easier to understand than cloning alone, but not clearly more like the speaker",
    (0, 0): "This voice adds nothing clear to cloning alone, neither to its words nor to its similarity",
    (0, None): "This voice is not clearly more like the speaker than cloning alone, and may be harder to understand",
    (0, -1): "This voice is worse than cloning alone: harder to understand, and not clearly more like the speaker",
    (-1, 1): "This voice is easier to understand than cloning alone, but less like the speaker",
    (-1, 0): "This voice is worse than cloning alone: less like the speaker, and about as easy to understand",
    (-1, None): "This voice is worse than cloning alone: less like the speaker, and it may be harder to understand",
    (-1, -1): "This voice is worse than cloning alone: less like the speaker, and harder to understand",
    (None, 1): "This voice is easier to understand than cloning alone",
    (None, 0): "This voice is about as easy to understand as cloning alone",
    (None, None): "This voice may be harder to understand than cloning alone",
    (None, -1): "This voice is harder to understand than cloning alone",
}
BLIND = (
    "Nothing can be said of this voice’s similarity: speaker.model finds the speaker’s own recordings no nearer to the "
    "speaker than other voices"
)
UNKNOWN = "Whether this voice is better than cloning alone was not measured"
VOID = {  # gates without which nothing else counts
    "leakage": "Nothing can be said of this voice: some of what it is judged by was learnt",
    "reference": "Nothing can be said of this voice: the clip that it cloned is not the speaker’s",
    "named": "This voice is not the speaker’s: too few of its samples are nearer to the speaker than to other voices",
}


@dataclass(frozen=True)
class Verdict:
    headline: str  # without a full stop
    sure: list[str]  # sentences: how sure that is
    more: list[str]  # and where it comes from


def verdict(evidence: Evidence) -> Verdict:
    added = evidence.differences.get("tuned_clone-base_clone", Difference())
    return Verdict(_headline(evidence, added), list(_sure(evidence, added)), list(_more(evidence, added)))


def _headline(evidence: Evidence, added: Difference) -> str:
    for name, headline in VOID.items():
        if name in evidence.failed and evidence.gates[name].value is not None:
            return headline
    if evidence.speaker and evidence.speaker.blind:
        return BLIND
    words = _direction(added.wer_low, added.wer_high)
    similarity = _direction(added.similarity_low, added.similarity_high)
    if words is None:
        return UNKNOWN
    if similarity == 1 and "similarity" in evidence.failed:
        similarity = 0
    as_good = "words" in evidence.gates and evidence.gates["words"].passed
    better = None if words == -1 and "words" in evidence.failed else -words or (0 if as_good else None)
    return HEADLINES[similarity, better]


def _direction(low: float | None, high: float | None) -> int | None:
    """Above zero, below, or 0 where the interval holds it."""
    return None if low is None or high is None else (low > 0) - (high < 0)


def _sure(evidence: Evidence, added: Difference) -> Iterator[str]:
    for name, one in {"": evidence, **evidence.speakers}.items():
        if one.speaker and one.speaker.second_voice:
            yield (
                f"There may be two voices under {f'the name {name}' if name else 'one name'}: "
                f"{one.speaker.second_voice:.0%} of the held-out clips sound like somebody else than the others."
            )
    names = ("tuned_clone", "base_clone", "base")
    this, cloned, base = (evidence.conditions.get(name, Metric()) for name in names)
    if this.similarity is not None and cloned.similarity is not None and base.similarity is not None:
        sure = f" The adapter adds {span(added, 'similarity')}." if added.similarity is not None else ""
        yield (
            f"Its similarity to the speaker is {this.similarity:.3f}; cloning alone reaches {cloned.similarity:.3f}, "
            f"the base without a clip {base.similarity:.3f}.{sure}"
        )
    if this.wer is not None and cloned.wer is not None and base.wer is not None:
        sure = f" The difference to cloning alone is {span(added, 'wer')}." if added.wer is not None else ""
        yield (
            f"Of 100 words it gets {100 * this.wer:.1f} wrong, cloning alone {100 * cloned.wer:.1f}, the base without "
            f"a clip {100 * base.wer:.1f}.{sure}"
        )


def _more(evidence: Evidence, added: Difference) -> Iterator[str]:
    if effect := _told(evidence.differences.get("tuned_clone-base", Difference())):
        yield f"Adapter and clip together, against the base without a clip: {effect}."
    alone = evidence.conditions.get("tuned", Metric())
    if alone.similarity is not None and alone.wer is not None:
        yield f"Without a clip: similarity {alone.similarity:.3f}, {100 * alone.wer:.1f} wrong of 100 words."
    if added.wins is not None and added.ties is not None and added.losses is not None:
        yield (
            f"Of {added.wins + added.ties + added.losses} sentences, {added.wins} are understood better than with "
            f"cloning alone, {added.ties} as well and {added.losses} worse."
        )


def _told(difference: Difference) -> str:
    parts = []
    if difference.similarity is not None:
        parts.append(f"similarity {signed(difference.similarity)} ({span(difference, 'similarity')})")
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
