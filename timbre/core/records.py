"""The records that stages hand to each other, and the JSONL files that hold them.

A record is validated when it is made, so what a file holds was valid when written, and a file that somebody damaged is
refused with its line. Numbers are rounded on writing (times to a millisecond): the same record, the same bytes.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from timbre.core.content import HASHES, write_atomic
from timbre.core.errors import DataError

# What may become a file name: no separators, no dots, no leading dash, nothing a shell or a URL would read otherwise.
ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_FILES = ("adapter_config.json", ADAPTER_WEIGHTS)  # that every adapter has

TRUE, SPOILT = "true", "spoilt"  # in the place of a voice: the speaker's own recording, a sound with noise in it

# What training.json says of a training that a person ended early
ENDED_EARLY = "ended_early"  # true, in training.json; else the key is not there
BEGUN_FROM = "begun_from"  # the version that a training began with; else the key is not there
PLANNED = "planned_steps"  # beside it: the steps that it would have gone to
EARLY_TAG = "ended early"  # of its run in MLflow
GO_ON = "`dvc repro -f train` goes on from there"

UNLESS_DEFAULT = {"unless_default": True}  # of a field that is written only where it says more than its default

Condition = Literal["base", "base_clone", "tuned", "tuned_clone"]
USED: Condition = "tuned_clone"  # the voice as it is used
Kind = Literal["domain", "hard", "true"]  # of a prompt


def check_id(text: object) -> str:
    if not isinstance(text, str) or not ID.fullmatch(text):
        raise DataError(f"{text!r} cannot be an id: use 1 to 64 of a-z, 0-9, - and _, beginning with a letter or digit")
    return text


@dataclass(frozen=True)
class Recording:
    """One entry of data/raw: what was fetched for an entry of data/sources.yaml, and whose voice and rights it is."""

    id: str
    speaker: str
    language: str
    licence: str
    consent: str
    origin: str  # URL, or path inside the repository
    sha256: str  # of the samples, not of the file: the container may change, the audio is the same
    sample_rate: int  # Hz
    seconds: float

    def __post_init__(self) -> None:
        check_id(self.id)
        check_id(self.speaker)


@dataclass(frozen=True)
class Segment:
    """A stretch of one recording with the words that are spoken in it."""

    recording: str
    start: float  # seconds from the beginning of the recording
    end: float
    speaker: str
    text: str
    dropped: bool = False  # a person marked the line to be left out
    confidence: float | None = None  # Whisper's in its words, 0 to 1, where they are a draft's; None where a person's
    # share of its speech in the turns of others, where that is most of it and no person has flagged the line
    others: float = field(default=0.0, metadata=UNLESS_DEFAULT)

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise DataError(f"{self.recording}: end {self.end:.2f} is not after start {self.start:.2f}")
        if not self.text.strip():
            raise DataError(f"{self.recording}: the segment at {self.start:.2f} s has no text")


@dataclass(frozen=True)
class SpeakerTurn:
    """A stretch of a recording in which one voice speaks; turns of two voices may overlap."""

    start: float  # seconds
    end: float
    voice: int  # from 1, the one that speaks most; a number for the recording alone, nobody's name

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end or self.voice < 1:
            raise DataError(f"{self.start:.2f} to {self.end:.2f} s is no turn of voice {self.voice}")


@dataclass(frozen=True)
class Clip:
    """A training example: spans of a recording, joined, and exactly the words spoken in them.

    `id` is the content key of the spans and the audio they come from, never of the text: another word is the same clip.
    """

    id: str
    recording: str
    speaker: str
    start: float  # seconds in the recording
    end: float
    spans: list[list[float]]  # [start, end] in the recording, in order; shorter than start–end where a pause was cut
    seconds: float  # of the clip
    text: str
    gain: float = 0.0  # dB by which it was made louder
    speech: float = 0.0  # seconds in which somebody speaks
    snr: float = 0.0  # dB from what is heard beside the speech up to the speech alone
    clipped: float = 0.0  # share of its samples that the recording cut off at full scale
    abrupt: bool = False  # somebody speaks where it begins or ends
    # where a sentence ends before the clip does: [characters of the text until there, seconds of the clip]
    sentence_ends: list[list[float]] = field(default_factory=list)

    @property
    def sentences(self) -> list[str]:
        edges = [0, *(int(characters) for characters, _ in self.sentence_ends), len(self.text)]
        return [self.text[start:end].strip() for start, end in pairwise(edges)]

    def to_recording(self, at: float) -> float:
        """The second of the recording that is heard `at` seconds into the clip."""
        for start, end in self.spans:
            if at < end - start:
                return start + max(at, 0.0)
            at -= end - start
        return self.end

    def to_clip(self, at: float) -> float | None:
        """When in the clip a second of the recording is heard; None where it lies outside, or in a pause cut short."""
        before = 0.0
        for start, end in self.spans:
            if start <= at <= end:
                return before + at - start
            before += end - start
        return None


@dataclass(frozen=True)
class Drop:
    """What is left out, a segment or a clip, and why; or a warning about a clip that is used all the same.

    A reason begins with its kind and a colon: `too short: 0.41 s alone, …`.
    """

    recording: str
    start: float
    end: float
    text: str
    reason: str
    kind: Literal["drop", "warning"] = "drop"
    clip: str | None = None  # id of the clip that holds its sound; None where it became none, only the recording has it


@dataclass(frozen=True)
class Label:
    """What Whisper hears in a clip beside the text that the clip is to be learnt with."""

    clip: str  # id
    recording: str
    start: float  # seconds in the recording
    end: float
    text: str
    heard: str
    cer: float  # wrong characters / characters, without case and punctuation
    language: float | None  # probability that it is in the recording's language; None where Whisper knows only one
    worst: float = 0.0  # the same rate in the sentence that has most
    numbers: str = ""  # `12 heard as 10`: few characters, another sense
    # its speaker's clips fall into two voices, and it is of the rarer one
    stranger: bool = field(default=False, metadata=UNLESS_DEFAULT)


@dataclass(frozen=True)
class Example:
    """A row of data/dataset: the columns `audio`, `text`, `source`, and where they come from."""

    audio: str  # path of the clip's file
    text: str
    source: str  # speaker
    id: str  # of the clip
    recording: str
    start: float
    end: float
    seconds: float
    language: str | None = None  # of the recording; None in tables of before
    sentence_ends: list[list[float]] = field(default_factory=list)  # as in the Clip
    number: int = field(default=0, metadata=UNLESS_DEFAULT)  # the speaker's, as data/speakers.yaml has it


@dataclass(frozen=True)
class Sample:
    """A generated sentence and everything that made it."""

    id: str  # <condition>-<line>-<seed>, the file stem under reports/samples
    condition: Condition
    prompt: str  # id of the prompt
    kind: Kind
    text: str
    clip: str | None  # id of the held-out clip in which the speaker says this; of prompts of the kind `true`
    seed: int
    reference: str | None  # id of the clip that was cloned from
    adapter: str | None  # content key of the adapter's weights
    base: str  # content key of the base model
    seconds: float
    ended: bool  # by its own end-of-speech frame, not by the cap
    key: str
    language: str = field(default="en", metadata=UNLESS_DEFAULT)  # in which it is spoken, heard and compared
    speaker: str = field(default="", metadata=UNLESS_DEFAULT)  # who is spoken as, where the voice learnt several

    @property
    def line(self) -> str:
        return line_of(self.prompt, self.speaker)


def adapter_files(names: Iterable[str]) -> list[str]:
    """Of the names in its folder, those that an adapter's content key is of: some families keep weights beside it."""
    return sorted({*ADAPTER_FILES, *(name for name in names if name.endswith(".safetensors") and "/" not in name)})


def line_of(prompt: str, speaker: str) -> str:
    """The prompt, and of several speakers who says it: what two samples have to share to be compared."""
    return f"{speaker}-{prompt}" if speaker else prompt


def cloned_clips(samples: Iterable[Sample], clips: Iterable[Example]) -> dict[str, Example]:
    """By speaker, the clip that the samples cloned: one for all samples of a speaker."""
    by_id = {clip.id: clip for clip in clips}
    used = dict.fromkeys(sample.reference for sample in samples if sample.reference in by_id)
    return {by_id[name].source: by_id[name] for name in used if name}


@dataclass(frozen=True)
class Point:
    """The sentence of a sample, said by the voice part of the way through its training."""

    step: int
    sample: str  # id of the sample that says it with the finished voice
    adapter: str  # content key of the adapter's weights
    seconds: float
    ended: bool
    key: str
    speaker: str = field(default="", metadata=UNLESS_DEFAULT)  # as in its sample

    @property
    def name(self) -> str:
        """Of its sound, reports/points/<name>.flac."""
        return f"{self.step:06}-{self.speaker}" if self.speaker else f"{self.step:06}"


@dataclass(frozen=True)
class ListeningAnswer:
    test: str  # 12 hex digits, of one sitting or of an exported test
    trial: int  # from 1
    kind: str  # ab: which is preferred; abx: which of the two is X; rating: from 0 to 100
    prompt: str
    first: str  # voice, as <condition>@<key>; `true` or `spoilt`
    first_sound: str  # first 16 digits of the file's SHA-256
    second: str  # empty where one sound was rated
    second_sound: str
    answer: str
    seconds: float  # that it took

    @property
    def is_catch(self) -> bool:
        """Whether everybody who listens knows the answer: one of the two is spoilt, or both are the same sound."""
        return self.kind != "rating" and (SPOILT in (self.first, self.second) or self.first_sound == self.second_sound)

    @property
    def key(self) -> tuple[str, int, str]:
        """What a listener can answer once."""
        return self.test, self.trial, self.first if self.kind == "rating" else ""


R = TypeVar("R")
_WRITTEN_AS_IT_IS = {str, int, bool, type(None)}  # most values of a row; a call for each takes as long as the rest
_ENCODE = json.JSONEncoder(ensure_ascii=False).encode  # made once: json.dumps makes an encoder for each row


def to_json(record: Any) -> str:
    """One line, keys in the record's order, floats rounded to a thousandth."""
    kind: Any = type(record)
    known = vars(record)
    values = {
        name: value if type(value := known[name]) in _WRITTEN_AS_IT_IS else _rounded(value) for name in _names(kind)
    }
    for each in unless_default(kind):
        if known[each.name] == each.default:
            del values[each.name]
    return _ENCODE(values)


@functools.cache  # tables have thousands of rows
def _names(kind: type) -> tuple[str, ...]:
    return tuple(each.name for each in dataclasses.fields(kind))


@functools.cache
def _known(kind: type) -> frozenset[str]:
    return frozenset(_names(kind))


@functools.cache
def _needed(kind: type) -> frozenset[str]:
    fields = dataclasses.fields(kind)
    return frozenset(f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING)


@functools.cache
def unless_default(kind: type) -> list[dataclasses.Field[Any]]:
    """The fields that are left out where they have their default, so that what was written before keeps its bytes."""
    return [each for each in dataclasses.fields(kind) if each.metadata.get("unless_default")]


def from_json(line: str, kind: type[R], where: str) -> R:
    """A record as `to_json` wrote it; the hashes that an entry's record has beside it are nobody's business here."""
    try:
        values = json.loads(line)
        values.pop(HASHES, None)
        needed, known = _needed(cast(Any, kind)), _known(cast(Any, kind))
        if wrong := (needed - values.keys()) | (values.keys() - known):
            raise ValueError(f"missing or unknown: {', '.join(sorted(wrong))}")
        return kind(**values)
    except (ValueError, TypeError, DataError) as error:
        raise DataError(f"{where}: not a {kind.__name__}: {error}; remove the file and run `dvc repro`") from error


def write_jsonl(path: Path, records: Iterable[Any]) -> None:
    write_atomic(path, "".join(to_json(record) + "\n" for record in records))


def read_jsonl(path: Path, kind: type[R]) -> list[R]:
    return list(iterate_jsonl(path, kind))


def iterate_jsonl(path: Path, kind: type[R]) -> Iterator[R]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                yield from_json(line, kind, f"{path}:{number}")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); `dvc repro` makes it") from error


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _rounded(dataclasses.asdict(value))
    return value


def early_ending(training: Mapping[str, Any]) -> str:
    """What is told of a training that a person ended; empty of one that went to its end."""
    if not training.get(ENDED_EARLY):
        return ""
    return f"a person ended it early, at step {training.get('steps', '?')} of {training.get(PLANNED, '?')}"


def beginning(training: Mapping[str, Any]) -> str:
    """What is told of a training that began with the adapter of another version; empty of one from the base."""
    before = training.get(BEGUN_FROM)
    if not isinstance(before, dict):
        return ""
    changed = before.get("clips_changed", "?")
    clips = "1 clip differs" if changed == 1 else f"{changed} clips differ"
    return f"it began with version {str(before.get('version', '?'))[:8]}, from which {clips}"
