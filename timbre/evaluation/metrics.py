"""reports/details.json, typed: what was measured of each condition, their differences, and the gates.

`evaluate` writes the file, `read` gives it back. Files of earlier versions (rates per condition alone) read as well:
what they lack is None, or an empty dict. A key that this version does not know is left out.

    evidence = read(Path("reports/details.json"))
    evidence.conditions["tuned"].wer, evidence.differences["tuned-base"].wer_high, evidence.failed
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from timbre.core.content import write_atomic
from timbre.core.errors import DataError
from timbre.evaluation.aggregates import DIGITS
from timbre.evaluation.measures import BY_NAME, GATES

CONDITIONS = ("base", "base_clone", "tuned", "tuned_clone")
JUDGED = ("tuned_clone", "tuned")  # a voice is judged by the first of these that it has
# Which conditions are compared, the first minus the second; each is told as `first-second`.
COMPARISONS = (
    ("tuned_clone", "base"),
    ("tuned_clone", "base_clone"),
    ("tuned", "base"),
    ("tuned_clone", "tuned"),
    ("base_clone", "base"),
)


@dataclass(frozen=True)
class Metric:
    """A condition: all its samples, over prompts and seeds; MEASURES says what each is. Intervals are 95 %."""

    wer: float | None = None
    wer_low: float | None = None
    wer_high: float | None = None
    cer: float | None = None
    similarity: float | None = None
    similarity_low: float | None = None
    similarity_high: float | None = None
    named: float | None = None
    pace: float | None = None
    pauses: float | None = None
    ended: float | None = None
    silent: int | None = None
    clipped: int | None = None
    repeated: int | None = None
    looped: int | None = None
    errors: int | None = None
    words: int | None = None
    samples: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Difference:
    """One condition minus another, over the same prompts and seeds. Intervals are 95 %."""

    wer: float | None = None
    wer_low: float | None = None
    wer_high: float | None = None
    similarity: float | None = None
    similarity_low: float | None = None
    similarity_high: float | None = None
    wins: int | None = None  # prompts of which the first condition reads more words right
    ties: int | None = None
    losses: int | None = None


@dataclass(frozen=True)
class Preference:
    """What people said of two conditions in blind listening tests. Intervals are 95 %."""

    share: float | None = None  # of the answers that prefer the first; a tie counts as half
    share_low: float | None = None
    share_high: float | None = None
    answers: int | None = None
    listeners: int | None = None
    apart: float | None = None  # share of ABX trials in which the two were told apart; chance gives a half
    apart_low: float | None = None
    apart_high: float | None = None
    with_words: float | None = None  # rank correlation of preference with fewer wrong words, over sentences
    with_similarity: float | None = None  # likewise with similarity


@dataclass(frozen=True)
class HeardCondition:
    """What people said of one condition."""

    rating: float | None = None  # from 0 to 100, against the true recording
    rating_low: float | None = None
    rating_high: float | None = None
    ratings: int | None = None
    strength: float | None = None  # share of comparisons with the others that it would win; of three or more


@dataclass(frozen=True)
class ListenerRecord:
    answers: int
    catches: int  # trials whose answer everybody knows who listens …
    caught: int  # … and how many were answered so
    reliable: bool  # else nothing of this listener counts
    why: str = ""  # not


@dataclass(frozen=True)
class Speaker:
    """The scale that similarity, pace and pauses are read on."""

    ceiling: float | None = None  # similarity of the speaker's own held-out clips, through the codec
    floor: float | None = None  # similarity of other voices
    characters_per_second: float | None = None  # of the speaker's held-out clips, while speaking
    pauses: float | None = None  # share of their time
    second_voice: float | None = None  # share of those clips that are of another voice; None where there is one voice

    @classmethod
    def mean(cls, speakers: Iterable[Speaker]) -> Speaker:
        """Of what was measured of all of them."""
        columns = zip(*map(dataclasses.astuple, speakers), strict=True)  # a second voice is told of each
        return cls(*(None if None in column else sum(column) / len(column) for column in columns))

    @property
    def blind(self) -> bool:
        """Whether the encoder finds the speaker's own recordings no nearer to the speaker than other voices."""
        return self.ceiling is not None and self.floor is not None and self.ceiling <= self.floor


@dataclass(frozen=True)
class Gate:
    passed: bool
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class SecondJudge:
    """What another recogniser, or another speaker encoder, makes of the same samples."""

    name: str  # as params.yaml names it
    base: float | None = None  # the same measure of each condition
    base_clone: float | None = None
    tuned: float | None = None
    tuned_clone: float | None = None
    agreement: float | None = None  # share of samples that both call right or both wrong: word for word, or the speaker
    rank: float | None = None  # Spearman’s correlation with the first judge, over samples
    codec: float | None = None  # wrong words that the codec adds to the speaker's clips, per word; of an ear …
    codec_first: float | None = None  # … and of the first ear
    opposed: list[str] = field(default_factory=list)  # differences whose sign it turns round where one of both is sure


@dataclass(frozen=True)
class Evidence:
    conditions: dict[str, Metric] = field(default_factory=dict)
    differences: dict[str, Difference] = field(default_factory=dict)  # `tuned-base` → tuned minus base
    speaker: Speaker | None = None
    gates: dict[str, Gate] = field(default_factory=dict)
    preferences: dict[str, Preference] = field(default_factory=dict)  # as differences; empty where nobody listened
    heard: dict[str, HeardCondition] = field(default_factory=dict)  # by condition
    listeners: dict[str, ListenerRecord] = field(default_factory=dict)
    second: dict[str, SecondJudge] = field(default_factory=dict)  # by measure; empty where nobody was asked
    speakers: dict[str, Evidence] = field(default_factory=dict)  # each of several; all else is then over all of them

    @property
    def judged(self) -> str:
        """The condition that tells how good the voice is."""
        return next((name for name in JUDGED if name in self.conditions), JUDGED[-1])

    @property
    def failed(self) -> list[str]:
        """Names of the gates that did not pass."""
        return [name for name, gate in self.gates.items() if not gate.passed]

    @property
    def passed(self) -> bool:
        """All gates passed, and there are some."""
        return bool(self.gates) and not self.failed


def disagreements(evidence: Evidence) -> dict[str, str]:
    """By `measure/first-second`: a line for each order that the second judge turns round."""
    return {
        f"{measure}/{difference}": (
            f"{judge.name} puts {_words(difference)} in the other order by {BY_NAME[measure].title}, and one of "
            "the two judges is sure"
        )
        for measure, judge in evidence.second.items()
        for difference in judge.opposed
    }


def _words(difference: str) -> str:
    return " and ".join(name.replace("_clone", " + cloning") for name in difference.split("-"))


def read(path: Path) -> Evidence:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); `dvc repro` makes it") from error
    try:
        return from_dict(json.loads(text))
    except ValueError as error:
        raise DataError(f"{path}: does not hold what a voice's evaluation writes ({error}); run `dvc repro`") from error


def from_dict(values: Any) -> Evidence:
    """What the file holds, of this version or of one before; ValueError where it is something else."""
    records = _object(values, "the file")
    differences, gates = (_object(records.get(name, {}), name) for name in ("differences", "gates"))
    speaker, people = records.get("speaker"), _object(records.get("people", {}), "people")
    return Evidence(
        conditions={name: _made(Metric, records[name], name) for name in CONDITIONS if name in records},
        differences={name: _made(Difference, record, name) for name, record in differences.items()},
        speaker=None if speaker is None else _made(Speaker, speaker, "speaker"),
        gates={name: _made(Gate, record, name) for name, record in sorted(gates.items(), key=_place)},
        second=_all(SecondJudge, records.get("second", {}), "second"),
        **{name: _all(kind, people.get(name, {}), name) for name, kind in PEOPLE.items()},
        speakers={name: from_dict(record) for name, record in _object(records.get("speakers", {}), "speakers").items()},
    )


def to_dict(evidence: Evidence) -> dict[str, Any]:
    """As the file holds it: rounded, and without what was not measured."""
    values: dict[str, Any] = {name: _told(metric) for name, metric in evidence.conditions.items()}
    values["differences"] = {name: _told(difference) for name, difference in evidence.differences.items()}
    values["gates"] = {name: _told(gate) for name, gate in evidence.gates.items()}
    people = {name: {key: _told(one) for key, one in getattr(evidence, name).items()} for name in PEOPLE}
    if evidence.listeners:  # where nobody listened, the file says nothing of people
        values["people"] = people
    if evidence.second:
        values["second"] = {name: _told(judge) for name, judge in evidence.second.items()}
    if evidence.speakers:  # of one, all is told already
        values["speakers"] = {name: to_dict(one) for name, one in evidence.speakers.items()}
    return values if evidence.speaker is None else values | {"speaker": _told(evidence.speaker)}


def headline(evidence: Evidence) -> dict[str, float | int]:
    """The few numbers that a person compares versions by: of tuned + cloning, and what the adapter adds to cloning."""
    voice = evidence.conditions.get("tuned_clone", Metric())
    added = evidence.differences.get("tuned_clone-base_clone", Difference())
    preferred = evidence.preferences.get("tuned_clone-base_clone", Preference())
    values = {
        "wer": voice.wer,
        "wer_added": added.wer,
        "similarity": voice.similarity,
        "similarity_added": added.similarity,
        "named": voice.named,
        "preferred": preferred.share,
        "gates_failed": len(evidence.failed) if evidence.gates else None,
    }
    return {name: round(value, DIGITS) for name, value in values.items() if value is not None}


def write_headline(path: Path, evidence: Evidence) -> None:
    write_atomic(path, json.dumps(headline(evidence), indent=2) + "\n")


def write(path: Path, evidence: Evidence) -> None:
    write_atomic(path, json.dumps(to_dict(evidence), indent=2, sort_keys=True) + "\n")


T = TypeVar("T")
PEOPLE: dict[str, Any] = {"preferences": Preference, "heard": HeardCondition, "listeners": ListenerRecord}


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}: no object")
    return value


def _made(kind: type[T], values: Any, name: str) -> T:
    """Each value of the type that the record declares: a text would only fail where it is shown."""
    held, found = _object(values, name), {}
    for each in dataclasses.fields(kind):  # type: ignore[arg-type]
        if each.name in held:
            found[each.name] = _checked(held[each.name], str(each.type), f"{name}.{each.name}")
    try:
        return kind(**found)
    except TypeError as error:  # one that must be there is not
        raise ValueError(f"{name}: {error}") from error


def _checked(value: Any, declared: str, name: str) -> Any:
    """By hand, so that `timbre log` need not import pydantic. A whole number is a fine float."""
    kinds = declared.removesuffix(" | None")
    if value is None and kinds != declared:
        return None
    if kinds == "list[str]":
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
    else:
        fits = type(value).__name__ in (kinds, "int" if kinds == "float" else kinds)
    if not fits:
        raise ValueError(f"{name}: {value!r} is no {kinds}")
    return float(value) if kinds == "float" else value


def _all(kind: type[T], records: Any, place: str) -> dict[str, T]:
    return {name: _made(kind, record, f"{place}.{name}") for name, record in _object(records, place).items()}


def _place(item: tuple[str, Any]) -> int:
    return list(GATES).index(item[0]) if item[0] in GATES else len(GATES)


def _told(record: Any) -> dict[str, Any]:
    values = dataclasses.asdict(record)
    return {k: round(v, DIGITS) if isinstance(v, float) else v for k, v in values.items() if v is not None}
