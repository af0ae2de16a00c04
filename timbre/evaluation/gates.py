"""What must hold before a voice is called better: questions, their limits in params.yaml, `evaluate.gates`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Protocol

from timbre.core.records import Example
from timbre.core.text import judged_sentences
from timbre.evaluation.metrics import Evidence, Gate, Preference

NARROW = 0.05  # cosine: where cloning alone is as near to the ceiling as this, nothing is left to gain but noise
EACH = ("words", "similarity", "named", "reference", "ends")  # that each of several speakers has to pass
OVERLAP = 0.5  # seconds that two clips of a recording may share: the silence that both were padded with


class GateLimits(Protocol):
    """Section `evaluate.gates` of params.yaml, which says what each is."""

    @property
    def words(self) -> float: ...
    @property
    def similarity(self) -> float: ...
    @property
    def named(self) -> float: ...
    @property
    def reference(self) -> float: ...
    @property
    def ends(self) -> float: ...
    @property
    def leakage(self) -> int: ...
    @property
    def preferred(self) -> float | None: ...


def judge(evidence: Evidence, reference: float | None, leaks: int, limits: GateLimits) -> dict[str, Gate]:
    """What could not be measured does not pass.

    `reference` is the share of the cloned clips that are named as the speaker, `leaks` how much is learnt and judged.
    """
    read = _worst(evidence.differences[name].wer_high for name in ("tuned_clone-base_clone", "tuned_clone-base"))
    like, named = _gain(evidence), evidence.conditions["tuned_clone"].named
    ended = min(evidence.conditions[name].ended or 0.0 for name in ("tuned", "tuned_clone"))
    asked = {"preferred": _at_least(_preferred(evidence), limits.preferred)} if limits.preferred is not None else {}
    return {
        "words": Gate(read is not None and read <= limits.words, read, limits.words),
        "similarity": _at_least(like, limits.similarity),
        "named": _at_least(named, limits.named),
        "reference": _at_least(reference, limits.reference),
        "ends": _at_least(ended, limits.ends),
        "leakage": Gate(leaks <= limits.leakage, float(leaks), limits.leakage),
        **asked,
    }


def of_all(speakers: Mapping[str, Evidence], together: Evidence, leaks: int, limits: GateLimits) -> dict[str, Gate]:
    """Of a voice of several speakers: the worst speaker's, since a mean would let one speaker hide another.

    People are asked of all speakers together, and so is the leakage.
    """
    asked = {"preferred": _at_least(_preferred(together), limits.preferred)} if limits.preferred is not None else {}
    gates = {name: _worst_gate([each.gates[name] for each in speakers.values()], name) for name in EACH}
    return {**gates, "leakage": Gate(leaks <= limits.leakage, float(leaks), limits.leakage), **asked}


def _worst_gate(gates: Sequence[Gate], name: str) -> Gate:
    """One that was not measured is worse than any that was."""
    sign = -1 if name == "words" else 1
    return min(gates, key=lambda gate: (gate.value is not None, sign * (gate.value or 0.0)))


def _at_least(value: float | None, limit: float) -> Gate:
    return Gate(value is not None and value >= limit, value, limit)


def _preferred(evidence: Evidence) -> float | None:
    """Of the answers of people who listened; None where nobody did."""
    return evidence.preferences.get("tuned_clone-base_clone", Preference()).share_low


def _worst(values: Iterable[float | None]) -> float | None:
    """None where one was not measured."""
    measured = list(values)
    return None if None in measured else max(value for value in measured if value is not None)


def _gain(evidence: Evidence) -> float | None:
    """The share of the gap in similarity that cloning leaves open which the adapter closes, at the lower end."""
    gained = evidence.differences["tuned_clone-base_clone"].similarity_low
    cloned = evidence.conditions["base_clone"].similarity
    ceiling = evidence.speaker.ceiling if evidence.speaker else None
    if gained is None or cloned is None or ceiling is None:
        return None
    return gained / max(ceiling - cloned, NARROW)


def leaks(train: Sequence[Example], evaluation: Sequence[Example], prompts: Mapping[str, str]) -> Iterator[str]:
    """What is judged though it was learnt, in a line each: sentences and sound of evaluation, and prompts."""
    sentences = learnt_sentences(train)
    sounds = {name: _Learnt(rows) for name, rows in _by_recording(train).items()}
    ids = {row.id: row for row in train}
    for clip in evaluation:
        if double := said(clip.text, sentences):
            yield f"{clip.id}: is for evaluation, and {double.id} of training says the same: {clip.text}"
        elif shared := ids.get(clip.id) or (clip.recording in sounds and sounds[clip.recording].shares(clip)) or None:
            yield f"{clip.id}: is for evaluation, and shares sound with {shared.id} of training"
    for prompt, text in prompts.items():
        if double := said(text, sentences):
            yield f"prompt {prompt}: {double.id} of training says the same: {text}"


def learnt_sentences(rows: Iterable[Example]) -> dict[tuple[str, ...], Example]:
    """By what is said: whole texts, and each sentence of them that is long enough to be nobody else's."""
    by_sentence: dict[tuple[str, ...], Example] = {}
    for row in rows:
        for sentence in judged_sentences(row.text):
            by_sentence.setdefault(sentence, row)
    return by_sentence


def said(text: str, learnt: Mapping[tuple[str, ...], Example]) -> Example | None:
    """The row that says one of the text's sentences."""
    return next((learnt[sentence] for sentence in judged_sentences(text) if sentence in learnt), None)


def _by_recording(rows: Iterable[Example]) -> dict[str, list[Example]]:
    by_recording: dict[str, list[Example]] = {}
    for row in rows:
        by_recording.setdefault(row.recording, []).append(row)
    return by_recording


class _Learnt:
    """The clips of one recording, in order, to be asked in less than a look at each of them."""

    def __init__(self, rows: Sequence[Example]) -> None:
        self._rows = sorted(rows, key=lambda row: row.start)
        self._starts = [row.start for row in self._rows]
        self._last = list(accumulate(self._rows, _later))

    def shares(self, clip: Example) -> Example | None:
        """A clip that overlaps with this one by more than the silence that both were padded with."""
        before = bisect_left(self._starts, clip.end - OVERLAP)
        latest = self._last[before - 1] if before else None
        return latest if latest and latest.end > clip.start + OVERLAP else None


def _later(one: Example, other: Example) -> Example:
    return one if one.end >= other.end else other
