"""What must hold before a voice is called better: five questions, their limits in params.yaml, `evaluate.gates`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from timbre.core.records import Example
from timbre.core.text import words
from timbre.evaluation.metrics import Evidence, Gate

OVERLAP = 0.5  # seconds that two clips of a recording may share: the silence that both were padded with


class GateLimits(Protocol):
    """Section `evaluate.gates` of params.yaml, which says what each is."""

    @property
    def changes(self) -> float: ...
    @property
    def words(self) -> float: ...
    @property
    def likeness(self) -> float: ...
    @property
    def ends(self) -> float: ...
    @property
    def leakage(self) -> int: ...


def judge(evidence: Evidence, changed: float, leaks: int, limits: GateLimits) -> dict[str, Gate]:
    """`changed` is the share of samples that the adapter made other ones, `leaks` how much is learnt and judged.

    What could not be measured does not pass.
    """
    read = evidence.differences["tuned_clone-base"].wer_high
    like = evidence.differences["tuned_clone-base_clone"].similarity_low
    ended = min(evidence.conditions[name].ended or 0.0 for name in ("tuned", "tuned_clone"))
    return {
        "changes": Gate(changed >= limits.changes, changed, limits.changes),
        "words": Gate(read is not None and read <= limits.words, read, limits.words),
        "likeness": Gate(like is not None and like > limits.likeness, like, limits.likeness),
        "ends": Gate(ended >= limits.ends, ended, limits.ends),
        "leakage": Gate(leaks <= limits.leakage, float(leaks), limits.leakage),
    }


def leaks(train: Sequence[Example], evaluation: Sequence[Example], prompts: Mapping[str, str]) -> Iterator[str]:
    """What is judged though it was learnt, in a line each: clips and texts of evaluation, and prompts."""
    sentences = {tuple(words(row.text)): row for row in train}
    for held in evaluation:
        if double := sentences.get(tuple(words(held.text))):
            yield f"{held.id}: is for evaluation, and {double.id} of training says the same: {held.text}"
        elif shared := next((row for row in train if _overlap(row, held)), None):
            yield f"{held.id}: is for evaluation, and shares sound with {shared.id} of training"
    for prompt, text in prompts.items():
        if double := sentences.get(tuple(words(text))):
            yield f"prompt {prompt}: {double.id} of training says the same: {text}"


def _overlap(one: Example, other: Example) -> bool:
    shared = min(one.end, other.end) - max(one.start, other.start)
    return one.id == other.id or (one.recording == other.recording and shared > OVERLAP)
