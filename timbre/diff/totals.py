"""How much there is in both versions: recordings, speakers, lines, minutes, clips; what a person has heard of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from timbre.versions.clip_rows import PARTS
from timbre.versions.tables import VersionTables, recording


@dataclass(frozen=True)
class Total:
    name: str
    old: float
    new: float
    unit: str = ""


def compare(old: VersionTables, new: VersionTables) -> Iterator[Total]:
    sides = (old, new)
    yield Total("recordings", len(old.sources), len(new.sources))
    waiting = [_waiting(side) for side in sides]
    if any(waiting):
        yield Total("recordings that nobody corrected yet", len(waiting[0]), len(waiting[1]))
    speakers = [{entry.get("speaker") for entry in side.sources.values()} for side in sides]
    yield Total("speakers", len(speakers[0]), len(speakers[1]))
    every = [[row for transcript in side.transcripts.values() for row in transcript.rows] for side in sides]
    yield Total("transcribed lines", len(every[0]), len(every[1]))
    minutes = [sum(row.seconds for row in side if not row.dropped) / 60 for side in every]
    yield Total("transcribed", round(minutes[0], 2), round(minutes[1], 2), "min")
    yield from _heard(old, new)
    yield from _clips(old, new)


def _waiting(version: VersionTables) -> set[str]:
    """Recordings that have a draft at most."""
    return set(version.sources) - {recording(path) for path in version.transcripts}


def _heard(old: VersionTables, new: VersionTables) -> Iterator[Total]:
    """The share that a person has heard, of everything; of what is transcribed, where the drafts' length is unknown."""
    drafts = [_drafted(side) for side in (old, new)]
    both_known = None not in drafts
    shares = []
    for side, drafted in zip((old, new), drafts, strict=True):
        rows = [row for transcript in side.transcripts.values() for row in transcript.rows]
        whole = sum(row.seconds for row in rows) + ((drafted or 0.0) if both_known else 0.0)
        shares.append(round(100 * sum(row.seconds for row in rows if row.flag) / (whole or 1), 1))
    name = "heard by a person" if both_known else "heard by a person, of what is transcribed"
    yield Total(name, shares[0], shares[1], "%")


def _drafted(version: VersionTables) -> float | None:
    """Seconds of drafts that nobody has begun to correct; None where nobody knows."""
    waiting = _waiting(version)
    if not waiting:
        return 0.0
    drafted = version.drafted or {}
    return sum(drafted[name] for name in waiting) if waiting <= drafted.keys() else None


def _clips(old: VersionTables, new: VersionTables) -> Iterator[Total]:
    if old.clips is None or new.clips is None:
        return
    for part in (None, *PARTS):
        chosen = [[c for c in side if part is None or c.part == part] for side in (old.clips, new.clips)]
        name = "clips" if part is None else f"clips for {part}"
        yield Total(name, len(chosen[0]), len(chosen[1]))
        long = [round(sum(clip.seconds for clip in clips) / 60, 2) for clips in chosen]
        yield Total(f"{name}, time", long[0], long[1], "min")
