"""Whose voices and recordings they are: what changed in sources and consent, and what may not be merged."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from timbre.core.safe_text import redacted
from timbre.project import speakers as people
from timbre.project.speakers import Person
from timbre.versions.lenient_rows import Problem
from timbre.versions.tables import SOURCES, SPEAKERS, VersionTables, recording

RIGHTS = ("licence", "consent")
Values = dict[str, tuple[str | None, str | None]]


@dataclass(frozen=True)
class SourceChange:
    """An entry of data/sources.yaml that changed: key → old and new value, None where it had none."""

    id: str
    kind: str  # added, removed or changed
    values: dict[str, tuple[str | None, str | None]]


@dataclass(frozen=True)
class Change:
    """A speaker whose entry changed: what is told of them, old and new, None where nothing was."""

    id: str
    kind: str  # added, removed, revoked, allowed again or changed
    values: dict[str, tuple[str | None, str | None]]


def problems(version: VersionTables) -> Iterator[Problem]:
    """A recording without licence or consent; a speaker who never allowed it, or took it back."""
    text = (version.snapshot.read(SOURCES) or b"").decode(errors="replace").splitlines()
    ids = ((number, re.search(r"\bid:\s*['\"]?([^'\"\s]+)", line)) for number, line in enumerate(text, 1))
    line_of = {match[1]: number for number, match in ids if match}
    for name, entry in version.sources.items():
        for key in RIGHTS:
            if not entry.get(key, "").strip():
                yield Problem(SOURCES, line_of.get(name, 0), f"{name} has no {key}")
    yield from map(_placed, version.mistakes)
    if version.people is not None:
        yield from map(_placed, people.problems(version.people, voices(version), SPEAKERS))


def voices(version: VersionTables) -> dict[str, list[str]]:
    """Speaker → recordings that hold their voice, as `segment` sees it; a dropped line needs nobody's consent."""
    used: dict[str, list[str]] = defaultdict(list)
    rows_of = {recording(path): transcript.rows for path, transcript in version.transcripts.items()}
    for name, entry in version.sources.items():
        lines = (row.speaker for row in rows_of.get(name, ()) if not row.dropped)
        for speaker in dict.fromkeys([entry.get("speaker", ""), *lines]):
            used[speaker].append(name)
    return used


def _placed(problem: str) -> Problem:
    """`data/speakers.yaml:3: …` as a place and what is there; a hostile name may have broken the line."""
    match = re.match(rf"{re.escape(SPEAKERS)}:(?:(?P<line>\d+):)? (?P<what>.*)", problem, re.DOTALL)
    return Problem(SPEAKERS, int(match["line"] or 0), match["what"]) if match else Problem(SPEAKERS, 0, problem)


def sources(old: dict[str, dict[str, str]], new: dict[str, dict[str, str]]) -> Iterator[SourceChange]:
    for name in [*new, *(name for name in old if name not in new)]:
        differing = _differing(_without_id(old.get(name, {})), _without_id(new.get(name, {})))
        values = {key: (before and redacted(before), now and redacted(now)) for key, (before, now) in differing.items()}
        if name not in old or name not in new:
            yield SourceChange(name, "added" if name in new else "removed", values)
        elif values:
            yield SourceChange(name, "changed", values)


def speakers(old: dict[str, Person] | None, new: dict[str, Person] | None) -> Iterator[Change]:
    """Who took their consent back stands first; nobody where one of the versions cannot be read."""
    changes = []
    if old is None or new is None:
        return
    for name in [*new, *(name for name in old if name not in new)]:
        before, after = old.get(name), new.get(name)
        values = _differing(_told(before), _told(after))
        if not values:
            continue
        kind = "changed"
        if not before or not after:
            kind = "added" if after else "removed"
        elif before.allowed != after.allowed:
            kind = "allowed again" if after.allowed else "revoked"
        changes.append(Change(name, kind, values))
    yield from sorted(changes, key=lambda change: change.kind != "revoked")


def _differing(old: dict[str, str], new: dict[str, str]) -> Values:
    keys = [*new, *(key for key in old if key not in new)]
    return {key: (old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)}


def _without_id(entry: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in entry.items() if key != "id"}


def _told(person: Person | None) -> dict[str, str]:
    if person is None:
        return {}
    consent = person.consent
    values = {"revoked": consent.revoked, "name": person.name, "by": consent.by, "when": consent.when}
    values |= {"for": consent.use, "evidence": consent.evidence}
    return {key: value for key, value in values.items() if value is not None}
