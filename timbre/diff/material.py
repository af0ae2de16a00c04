"""What is new in what a voice is made from: its recordings, transcripts, clips, people and parameters.

A line of the history says this much; a whole comparison goes on to results.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from timbre.diff import clips, lines, rights, totals
from timbre.diff.clips import ClipChange
from timbre.diff.lines import LineChange
from timbre.diff.rights import Change, SourceChange
from timbre.diff.totals import Total
from timbre.report.numbers import plural, signed
from timbre.versions import dvc_lock
from timbre.versions.dvc_lock import document
from timbre.versions.snapshot import Snapshot
from timbre.versions.tables import PARAMS, SOURCES, VersionTables, recording


@dataclass(frozen=True)
class Transcribed:
    """A transcript that only one of the two versions has."""

    recording: str
    path: str
    kind: str  # added or removed
    lines: int
    seconds: float


@dataclass(frozen=True)
class Param:
    key: str
    old: Any
    new: Any


@dataclass(frozen=True)
class DataChanges:
    totals: list[Total]
    transcripts: list[Transcribed]
    words: list[LineChange]
    clips: list[ClipChange]
    sources: list[SourceChange]
    people: list[Change]
    params: list[Param]


def data_changes(old: VersionTables, new: VersionTables) -> DataChanges:
    words, transcripts = _lines(old, new)
    settings = [document(side.snapshot, PARAMS) for side in (old, new)]
    return DataChanges(
        totals=list(totals.compare(old, new)),
        transcripts=transcripts,
        words=words,
        clips=clips.compare(old.clips or [], new.clips or []) if comparable(old, new) else [],
        sources=list(rights.sources(old.sources, new.sources)) if _readable(SOURCES, old, new) else [],
        people=list(rights.speakers(old.people, new.people)),
        params=[Param(*change) for change in dvc_lock.changed_values(*settings)] if None not in settings else [],
    )


def comparable(*versions: VersionTables) -> bool:
    """The clips of one side alone would look as if all were added, unless the other side never had any."""
    return all(side.clips is not None or not side.has_run for side in versions)


def _readable(path: str, *versions: VersionTables) -> bool:
    return all(is_yaml(path, version.snapshot) for version in versions)


def is_yaml(path: str, snapshot: Snapshot) -> bool:
    """Or is not there: what cannot be read is a problem, and nobody removed it."""
    return snapshot.read(path) is None or document(snapshot, path) is not None


def _lines(old: VersionTables, new: VersionTables) -> tuple[list[lines.LineChange], list[Transcribed]]:
    changed: list[lines.LineChange] = []
    whole: list[Transcribed] = []
    for path in sorted(old.transcripts | new.transcripts):
        before, after = old.transcripts.get(path), new.transcripts.get(path)
        name = recording(path)
        if before and after:
            changed += lines.compare(name, before.rows, after.rows) if before != after else []
        elif one := before or after:
            seconds = round(sum(row.seconds for row in one.rows), 2)
            whole.append(Transcribed(name, path, "added" if after else "removed", len(one.rows), seconds))
    return changed, whole


def said(changes: DataChanges) -> str:
    """Empty where nothing is new."""
    return ", ".join(_said(changes))


def _said(changes: DataChanges) -> Iterator[str]:
    for kind in ("added", "removed"):
        sources = [source for source in changes.sources if source.kind == kind]
        if sources:
            yield f"{plural(len(sources), 'recording')} {kind}"
        named = {source.id for source in sources}
        changed_files = [change for change in changes.transcripts if change.kind == kind]
        if whole := [change for change in changed_files if change.recording not in named]:
            yield f"{plural(len(whole), 'transcript')} {kind}"
    kinds = lines.count(changes.words)
    for kind in ("reworded", "split", "merged", "regrouped", "retimed", "dropped", "restored", "added", "removed"):
        if times := kinds[kind]:  # type: ignore[index]
            where = len({change.recording for change in changes.words if kind in change.kinds})
            yield f"{plural(times, 'line')} in {plural(where, 'recording')} {kind}"
    clips_changed = Counter(change.kind for change in changes.clips)
    for name in ("re-cut", "re-worded", "moved", "added", "removed"):
        if times := clips_changed[name]:
            yield f"{plural(times, 'clip')} {name}"
    minutes = next((t.new - t.old for t in changes.totals if t.name == "clips, time"), 0.0)
    if abs(minutes) >= 0.05:
        yield signed(minutes) + " min"
    yield from _people(changes)
    if in_rights := [s for s in changes.sources if s.kind == "changed" and {"consent", "licence"} & set(s.values)]:
        yield f"rights of {plural(len(in_rights), 'recording')} changed"
    if changes.params:
        yield f"{plural(len(changes.params), 'parameter')} changed"


def _people(changes: DataChanges) -> Iterator[str]:
    for kind, said_so in (("added", "added"), ("removed", "removed"), ("revoked", "took the consent back")):
        if names := [person.id for person in changes.people if person.kind == kind]:
            yield f"{plural(len(names), 'speaker')} {said_so}"
