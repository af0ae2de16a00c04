"""What the voice learnt from: recordings, clips, how much a person has heard, and what was left out, to be heard."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timbre import audio
from timbre.audio import recording_sound
from timbre.audio.recording_sound import RecordingSound
from timbre.core.errors import DataError
from timbre.core.records import Drop, Example, read_jsonl
from timbre.report.sound import EmbeddedSound, sound

PLAYERS = 40  # of drops and warnings, together; the page must stay small enough to send
LISTED = 200  # lines of one reason
LONGEST = 12.0  # seconds of a left-out stretch in its player
Barred = Callable[[str, float, float], bool]  # of a recording and seconds: whether a voice there may not be heard


@dataclass(frozen=True)
class ReportedSource:
    """What one recording gave."""

    id: str
    train: int  # clips
    evaluation: int
    seconds: float
    dropped: int
    review: dict[str, Any]
    sound: RecordingSound


@dataclass(frozen=True)
class Rejected:
    drop: Drop
    sound: EmbeddedSound | None


@dataclass(frozen=True)
class Reason:
    """Drops, or warnings, whose reason begins with the same words (`too short: 0.41 s …`)."""

    name: str
    warning: bool
    rows: list[Rejected]
    more: int  # that are not listed


@dataclass(frozen=True)
class Data:
    train: list[Example]
    evaluation: list[Example]
    median: float  # seconds of a clip
    sources: list[ReportedSource]
    review: dict[str, Any]
    drops: int
    warnings: int
    reasons: list[Reason]

    @property
    def seconds(self) -> tuple[float, float]:
        """Of training and of evaluation."""
        return sum(e.seconds for e in self.train), sum(e.seconds for e in self.evaluation)


def read(dataset: Path, review: Path, clips: Path, raw: Path, speech: Path, barred: Barred) -> Data:
    train, evaluation = (read_jsonl(dataset / f"{name}.jsonl", Example) for name in ("train", "eval"))
    rejected = read_jsonl(dataset / "rejected.jsonl", Drop)
    reviewed = json.loads(review.read_text(encoding="utf-8"))
    drops = [drop for drop in rejected if not is_warning(drop)]
    if not train:
        raise DataError(f"{dataset}/train.jsonl: no clips; run `dvc repro`")
    return Data(
        train=train,
        evaluation=evaluation,
        median=statistics.median(e.seconds for e in [*train, *evaluation]),
        sources=sources(train, evaluation, drops, reviewed, speech),
        review=reviewed,
        drops=len(drops),
        warnings=len(rejected) - len(drops),
        reasons=reasons(rejected, clips, raw, barred),
    )


def is_warning(drop: Drop) -> bool:
    return drop.kind == "warning"


def sources(
    train: Sequence[Example], evaluation: Sequence[Example], drops: Sequence[Drop], review: Any, speech: Path
) -> list[ReportedSource]:
    named = {e.recording for e in [*train, *evaluation]} | {d.recording for d in drops}
    return [
        ReportedSource(
            id=name,
            train=sum(e.recording == name for e in train),
            evaluation=sum(e.recording == name for e in evaluation),
            seconds=sum(e.seconds for e in [*train, *evaluation] if e.recording == name),
            dropped=sum(d.recording == name for d in drops),
            review=review["recordings"].get(name, {}),
            sound=recording_sound.read(speech, name),
        )
        for name in sorted(named | set(review["recordings"]))
    ]


def reasons(rejected: Sequence[Drop], clips: Path, raw: Path, barred: Barred) -> list[Reason]:
    """Drops before warnings, the commonest reason first. The first of each have players, in turns."""
    by_reason: dict[tuple[bool, str], list[Drop]] = {}
    for drop in rejected:
        by_reason.setdefault((is_warning(drop), drop.reason.partition(":")[0]), []).append(drop)
    ranked = sorted(by_reason.items(), key=lambda item: (item[0][0], -len(item[1]), item[0][1]))
    played = set(_in_turns([drops for _, drops in ranked])[:PLAYERS])
    return [
        Reason(
            name=name,
            warning=warning,
            rows=[Rejected(d, stretch(d, clips, raw, barred) if d in played else None) for d in drops[:LISTED]],
            more=max(0, len(drops) - LISTED),
        )
        for (warning, name), drops in ranked
    ]


def _in_turns(groups: Sequence[Sequence[Drop]]) -> list[Drop]:
    """The first of each group, then the second of each …"""
    longest = max(map(len, groups), default=0)
    return [group[place] for place in range(longest) for group in groups if place < len(group)]


def stretch(drop: Drop, clips: Path, raw: Path, barred: Barred) -> EmbeddedSound | None:
    """Its sound: the clip's where it became one, else that of the recording.

    None where neither is here, or where somebody speaks in it whose voice may not be heard.
    """
    if barred(drop.recording, drop.start, drop.end):
        return None
    if drop.clip and audio.is_there(clips / f"{drop.clip}.flac"):
        return sound(clips / f"{drop.clip}.flac")
    recording = raw / f"{drop.recording}.flac"
    if not recording.exists():
        return None
    return sound(recording, drop.start, min(drop.end, drop.start + LONGEST))
