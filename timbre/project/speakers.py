"""data/speakers.yaml: whose voices they are, and what each person allowed to be done with theirs.

    speakers:
      marina:                          # the `speaker` of data/sources.yaml and of transcripts
        name: Marina                   # or a pseudonym
        number: 0                      # by which a model knows the voice; may be left out
        consent:
          by: Marina Example           # who gave it
          when: 2026-03-01
          for: a voice for the harbour's announcements
          evidence: data/consent/marina.pdf   # a file of the repository or a link; null where there is none
          revoked: null                # or the day on which it was taken back; null may be left out

`read` checks the whole file and tells every mistake with its line; `parse` does so for a text, such as an older version
from git. Whoever has no entry here, or took their consent back, stops the pipeline at `segment`.

A number is a speaker's for good: an adapter has learnt it. Who has none takes the smallest that nobody has, in the
file's order, so the first speaker is 0. `timbre add` and `timbre import` write the next one down, and an entry keeps
its number when the speaker is taken out. Two branches that add a speaker each may give both the same number; after the
merge that is a mistake, told with the number to write instead.
"""

from __future__ import annotations

import datetime
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from timbre.core.content import line_of
from timbre.core.errors import DataError, SourceError, raise_all
from timbre.core.records import check_id
from timbre.project.sources import document, shown, text_of

PATH = Path("data/speakers.yaml")
TEXTS, DATES = ("by", "for"), ("when", "revoked")
ABOUT_CONSENT = ("by", "when", "for", "evidence", "revoked")
OPTIONAL = ("number", "revoked")  # keys that may be left out


@dataclass(frozen=True)
class Consent:
    by: str
    when: str  # YYYY-MM-DD
    use: str  # `for` in the file
    evidence: str | None  # path inside the repository, or a link
    revoked: str | None  # YYYY-MM-DD; any day counts, also one that is still to come

    def __str__(self) -> str:
        """A list, as a person's own words fit into no sentence."""
        return f"consent for: {self.use}; given by: {self.by}; on: {self.when}"


@dataclass(frozen=True)
class Person:
    """One entry of data/speakers.yaml."""

    id: str
    name: str
    consent: Consent
    line: int = field(default=1, compare=False)  # where the entry stands
    number: int = 0  # in the sequences of a family that tells speakers apart by numbers; no other speaker has it

    @property
    def allowed(self) -> bool:
        return self.consent.revoked is None

    @property
    def uses(self) -> frozenset[str]:
        """What the consent is for; several uses are separated by commas."""
        return frozenset(use.strip().casefold() for use in self.consent.use.split(","))


def read(path: Path = PATH) -> dict[str, Person]:
    """Every person by id; nobody where there is no file. Evidence that is a file has to be there."""
    people = parse(text_of(path), str(path)) if path.exists() else {}
    check_evidence(people, str(path))
    return people


def check_evidence(people: Mapping[str, Person], where: str) -> None:
    named = [(person, person.consent.evidence or "") for person in people.values()]
    raise_all(
        SourceError,
        (
            f"{where}:{person.line}: {person.id}: evidence: {file} does not exist; put it there, or give a link"
            for person, file in named
            if file and not is_there(file)
        ),
    )


def parse(text: str, where: str = str(PATH)) -> dict[str, Person]:
    """Every person by id, in the file's order; raises SourceError with a line per mistake."""
    content = document(text, where)
    entries = content.get("speakers") if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        if content is None or (isinstance(content, dict) and list(content) == ["speakers"] and entries is None):
            return {}
        raise SourceError(f"{where}:1: expected `speakers:` and below it one entry per voice, such as `marina:`")
    problems = [
        (_line(content, key), f"unknown key `{key}`; known is `speakers`") for key in content if key != "speakers"
    ]
    for name, entry in entries.items():
        problems += _problems(name, entry, _line(entries, name))
    problems += _shared_numbers(entries)
    raise_all(SourceError, (f"{where}:{line}: {problem}" for line, problem in sorted(problems)))
    numbers = _numbers(entries)
    return {
        str(name): _person(name, entry, _line(entries, name), numbers[str(name)]) for name, entry in entries.items()
    }


def next_number(people: Mapping[str, Person]) -> int:
    """For a new speaker: above all others, also above those who were taken out and whose entry stays."""
    return max((person.number for person in people.values()), default=-1) + 1


def _numbers(entries: Mapping[Any, Any]) -> dict[str, int]:
    written: dict[str, int] = {str(name): entry["number"] for name, entry in entries.items() if "number" in entry}
    taken = set(written.values())
    free = (number for number in itertools.count() if number not in taken)
    return {name: written[name] if name in written else next(free) for name in map(str, entries)}


def _shared_numbers(entries: Mapping[Any, Any]) -> Iterator[tuple[int, str]]:
    """A line for every speaker whose written number an earlier entry has written, too."""
    written = {
        name: entry["number"]
        for name, entry in entries.items()
        if isinstance(entry, dict) and _is_number(entry.get("number"))
    }
    owners: dict[int, object] = {}
    free = max(written.values(), default=-1) + 1
    for name, number in written.items():
        owner = owners.setdefault(number, name)
        if owner != name:
            yield (
                _line(entries[name], "number"),
                f"{name}: number: {number} is {owner}'s already, as where two branches add a speaker each; "
                f"write {free} here",
            )
            free += 1


def problems(people: Mapping[str, Person], used: Mapping[str, Sequence[str]], where: str = str(PATH)) -> Iterator[str]:
    """A line for every speaker who is `used`, in those recordings, and has not allowed it."""
    for speaker, recordings in used.items():
        person, named = people.get(speaker), ", ".join(recordings)
        if person is None:
            yield (
                f"{where}: no entry for {speaker}, whose voice is in {named}; "
                "write down there who consented, when and for what"
            )
        elif not person.allowed:
            yield (
                f"{where}:{person.line}: {speaker} took the consent back on {person.consent.revoked}; "
                f"`timbre remove {speaker}` takes {named} out, `timbre trace {speaker}` lists what was made of it"
            )


def _problems(name: object, entry: Any, line: int) -> Iterator[tuple[int, str]]:
    try:
        check_id(name)
    except DataError as error:
        yield line, str(error)
    if not isinstance(entry, dict):
        yield line, f"{name}: expected `name:` and `consent:` below it"
        return
    yield from ((at, f"{name}: {text}") for at, text in _keys(entry, ("name", "number", "consent"), line))
    if "number" in entry and not _is_number(entry["number"]):
        yield _line(entry, "number"), f"{name}: number: {shown(entry['number'])} is not a whole number, 0 or more"
    if "name" in entry and not _is_text(entry["name"]):
        yield _line(entry, "name"), f"{name}: name: {shown(entry['name'])} is not text; put it in quotes"
    if "consent" in entry:
        at = _line(entry, "consent")
        yield from ((number, f"{name}: consent: {text}") for number, text in _consent_problems(entry["consent"], at))


def _consent_problems(consent: Any, line: int) -> Iterator[tuple[int, str]]:
    if not isinstance(consent, dict):
        yield line, f"{shown(consent)} says too little; expected {', '.join(ABOUT_CONSENT)} below it"
        return
    yield from _keys(consent, ABOUT_CONSENT, line)
    for key in (key for key in ABOUT_CONSENT if key in consent):
        value, at = consent[key], _line(consent, key)
        if key in TEXTS and not _is_text(value):
            yield at, f"{key}: {shown(value)} is not text; put it in quotes"
        elif key in DATES and not (day_of(value) or (key == "revoked" and value is None)):
            yield at, f"{key}: {shown(value)} is not a day; write it as 2026-03-01" + " or null" * (key == "revoked")
        elif key == "evidence" and value is not None and not is_evidence(value):
            yield at, f"evidence: {shown(value)} is neither a file inside the repository nor a link (https://…)"


def _keys(entry: dict[str, Any], allowed: Sequence[str], line: int) -> Iterator[tuple[int, str]]:
    for key in entry:
        if key not in allowed:
            yield _line(entry, key), f"unknown key `{key}`; known are {', '.join(allowed)}"
    yield from ((line, f"`{key}` is missing") for key in allowed if key not in entry and key not in OPTIONAL)


def _person(name: object, entry: Any, line: int, number: int) -> Person:
    consent = entry["consent"]
    evidence = None if consent["evidence"] is None else str(consent["evidence"])
    when, revoked = day_of(consent["when"]), day_of(consent.get("revoked"))
    return Person(
        str(name),
        str(entry["name"]),
        Consent(str(consent["by"]), str(when), str(consent["for"]), evidence, revoked),
        line,
        number,
    )


def day_of(value: object) -> str | None:
    """The day as YYYY-MM-DD; YAML reads one that is not in quotes as a date."""
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
        try:
            return datetime.date.fromisoformat(value).isoformat()
        except ValueError:
            pass
    return None


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def is_evidence(value: object) -> bool:
    if not isinstance(value, str):
        return False
    path = PurePosixPath(value)
    if "://" in value:
        return _is_link(value)
    return bool(value.strip()) and not path.is_absolute() and ".." not in path.parts


def is_there(evidence: str) -> bool:
    return _is_link(evidence) or Path(evidence).is_file()


def _is_link(value: str) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:  # an address that no parser takes, such as https://[
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"\s", value)


def _line(entry: Any, key: object) -> int:
    return line_of(entry, key)
