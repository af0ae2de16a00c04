"""What a trace tells, as values: the text and the JSON of `timbre trace` are drawn from these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from timbre.tracking.run import TrackedRun
from timbre.versions.origins import Origin, TracedLine, TracedVoice


@dataclass(frozen=True)
class TracedClip:
    id: str
    audio: str
    recording: Origin
    start: float  # seconds in the recording
    end: float
    spans: tuple[tuple[float, float], ...]
    seconds: float
    text: str
    part: str  # training, evaluation or left out
    lines: tuple[TracedLine, ...]
    changed: bool  # the lines say something else today than the clip was made with
    notes: tuple[str, ...]  # why it was left out, and warnings about it
    learnt_by: str | None  # the id of the version, or the adapter's path where that is not known
    cloned_by: tuple[str, ...]  # samples


@dataclass(frozen=True)
class TracedPiece:
    """A clip that an adapter learnt from."""

    id: str
    start: float  # seconds in the recording
    end: float
    text: str
    lines: tuple[str, ...]  # file:line


@dataclass(frozen=True)
class TrainedClips:
    """What an adapter learnt from one recording."""

    recording: Origin
    clips: tuple[TracedPiece, ...]
    seconds: float


@dataclass(frozen=True)
class Adapter:
    version: str | None  # its id, which is DVC's hash of the folder
    key: str | None  # content key of its weights, by which samples name it
    path: str
    base: str | None
    base_licence: str | None  # of its weights, where it forbids something
    best_step: int | None
    steps: int | None
    best_eval_loss: float | None
    ended_early: str  # a sentence, where a person ended the training
    began_with: str  # a sentence, where the training began with another version
    params: dict[str, Any]  # the section `train` that it was trained with
    table: str | None  # MD5 of the training table, as dvc.lock has it
    seconds: float
    learnt: tuple[TrainedClips, ...]
    samples: tuple[str, ...]  # that it spoke


@dataclass(frozen=True)
class TracedSample:
    id: str
    audio: str
    condition: str
    text: str
    prompt: str
    prompt_where: str | None  # file:line; None for a sentence that a held-out clip says
    kind: str | None  # of prompt: domain, hard or true
    truth: TracedClip | None  # the held-out clip in which the speaker says it
    seed: int
    seconds: float
    ended: bool
    heard: str | None  # by Whisper
    errors: int | None  # wrong words
    words: int | None
    similarity: float | None  # of its voice to the speaker's
    sampling: dict[str, Any]  # the section `generate` that it was made with
    base: str | None  # folder or hub name
    base_licence: str | None  # of its weights, where it forbids something
    base_key: str
    adapter_key: str | None
    reference: TracedClip | None
    reference_id: str | None
    adapter: Adapter | None  # None also where the one that spoke it is not here any more


@dataclass(frozen=True)
class Use:
    """What was made of one recording in one version."""

    recording: Origin
    files: tuple[str, ...]  # of its own, that are here: they go when its entry in data/sources.yaml has gone
    transcript: str | None
    lines: int
    heard: int  # lines that a person has flagged
    training: tuple[str, ...] | None  # clips; None where the tables cannot be reached
    evaluation: tuple[str, ...]
    left_out: int  # lines and clips that are in no table
    learnt: tuple[str, ...] | None  # clips that the adapter learnt from, of whatever table that was
    adapter: str | None  # its key, where it learnt from any
    version: str | None  # the id of that adapter's version
    spoken: tuple[str, ...]  # samples of that adapter
    cloned: tuple[str, ...]  # samples that clone one of its clips


@dataclass(frozen=True)
class Forward:
    """What was made of a recording, or of all that a speaker is heard in."""

    name: str  # that was asked for
    voice: TracedVoice | None  # where a speaker was asked for
    uses: tuple[Use, ...]


@dataclass(frozen=True)
class Past:
    """An adapter that has learnt from it, in the first version that has it."""

    commit: str
    date: str
    tags: tuple[str, ...]  # of any commit that holds this adapter
    subject: str
    recordings: tuple[str, ...]
    adapter: str | None  # its key, as samples name it; None where its weights are not here
    md5: str | None  # DVC's, of its folder; None where there is none yet
    clips: int | None  # of its training table; None where that cannot be reached
    of: int | None
    runs: tuple[TrackedRun, ...]


@dataclass(frozen=True)
class Trace:
    commit: str | None
    changed: int  # files that differ from the commit
    found: TracedSample | TracedClip | Adapter | Forward
    runs: tuple[TrackedRun, ...]  # MLflow's, of the adapter that is meant
    history: tuple[Past, ...]
    missing: tuple[str, ...]  # what could not be reached, and what brings it
