"""Entries in data/sources.yaml and data/speakers.yaml, more or fewer; what people wrote there stays byte for byte.

A new entry is put below the last one with its indentation; an old one goes with its rows. A file that this does not
suit, such as one in JSON's style, is written anew by ruamel.yaml, which keeps comments and order. Either way the result
is read and checked whole first.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter

from timbre.core.errors import SourceError
from timbre.editing.owned_files import FileChange, content_of
from timbre.project import sources, speakers
from timbre.project.sources import Source
from timbre.project.speakers import Consent, Person

USE = "a voice that this repository learns"  # what a consent is for, where nobody says more
NOBODY_YET = "# Whose voices they are, and what each person allowed.\nspeakers:\n"


def read(path: Path) -> list[Source]:
    """As `sources.read`, but a file that is missing or names no recording yet is a beginning."""
    return [] if _is_empty(path) else sources.read(path)


def appended(path: Path, entry: dict[str, Any], origin: str, placed: str) -> FileChange:
    """The file with `entry`; SourceError with all that `sources.read` would say against it.

    A recording that is not at its `origin` yet is checked where it is `placed`.
    """
    checked = entry | {"file": placed} if "file" in entry else entry
    try:
        extended(path, [checked])
        before = content_of(path)
        return FileChange(path, before, _with(_text(before), [entry], path).encode())
    except SourceError as error:
        raise SourceError(str(error).replace(placed, origin)) from error


def extended(path: Path, entries: Sequence[dict[str, Any]]) -> FileChange:
    """The file with these entries below the others; their recordings are where they say."""
    before = content_of(path)
    after = _with(_text(before), entries, path)
    sources.parse(after, str(path))
    return FileChange(path, before, after.encode())


def newcomer(
    id: str, consent: str, *, name: str | None = None, use: str | None = None, evidence: str | None = None
) -> Person | None:
    """The speaker as the text of the consent tells, with the day that it names or today's; None for one who is known.

    SourceError for whoever took the consent back: nothing more of theirs comes in.
    """
    person = speakers.read().get(id)
    if person is None:
        days = [day for text in re.findall(r"\d{4}-\d\d-\d\d", consent) if (day := speakers.day_of(text))]
        when = days[0] if days else datetime.date.today().isoformat()
        return Person(id, name or id, Consent(_without_day(consent, when), when, use or USE, evidence, None))
    if not person.allowed:
        problem = f"{speakers.PATH}:{person.line}: {id} took the consent back on {person.consent.revoked}"
        raise SourceError(f"{problem}; nothing was added")
    return None


def _without_day(consent: str, day: str) -> str:
    """“Ann, 2026-03-01” is by Ann: the day has a place of its own. Within a sentence it stays."""
    parts = [part.strip() for part in consent.replace(f" ({day})", "").split(",")]
    return ", ".join(part for part in parts if part not in ("", day)) or consent


def with_people(path: Path, newcomers: Sequence[Person]) -> FileChange:
    """data/speakers.yaml with more people below the others, each with the next number."""
    before = content_of(path)
    text = _text(before)
    first = speakers.next_number(speakers.parse(text, str(path)))
    entries = {person.id: _entry(person, first + place) for place, person in enumerate(newcomers)}
    document = YAML(typ="rt").load(text) or CommentedMap()
    others = YAML(typ="safe", pure=True).load(text) or {}
    expected = others | {"speakers": (others.get("speakers") or {}) | entries}
    makes = (lambda: _under(text, document, entries), lambda: _known(document, entries))
    after = _first_read_as(expected, path, text, *makes)
    speakers.check_evidence(speakers.parse(after, str(path)), str(path))
    return FileChange(path, before, after.encode())


def _entry(person: Person, number: int) -> dict[str, Any]:
    """The first speaker's number is 0 without being written down."""
    consent = person.consent
    fields = {"by": consent.by, "when": datetime.date.fromisoformat(consent.when), "for": consent.use}
    numbered = {"number": number} if number else {}
    return {
        "name": person.name,
        **numbered,
        "consent": fields | {"evidence": consent.evidence, "revoked": consent.revoked},
    }


def without(path: Path, ids: Collection[str]) -> FileChange:
    """data/sources.yaml without the entries of these ids; `[]` where none is left."""
    before = content_of(path)
    text = _text(before)
    document = YAML(typ="rt").load(text)
    gone = [index for index, entry in enumerate(document) if entry["id"] in ids]
    expected = [entry for entry in YAML(typ="safe", pure=True).load(text) if entry["id"] not in ids]
    makes = (lambda: _cut(text, document, gone), lambda: _shrunk(document, gone))
    return FileChange(path, before, _first_read_as(expected, path, text, *makes).encode())


def slug(text: str, longest: int = 48) -> str:
    """What of a name may be an id; "" where nothing may."""
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_only).strip("-")[:longest].strip("-")


def _text(content: bytes | None) -> str:
    return (content or b"").decode()


def _is_empty(path: Path) -> bool:
    with contextlib.suppress(OSError, UnicodeDecodeError, YAMLError):
        return not YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    return not path.exists()


def _with(text: str, entries: Sequence[dict[str, Any]], path: Path) -> str:
    document = YAML(typ="rt").load(text) or CommentedSeq()
    expected = [*(YAML(typ="safe", pure=True).load(text) or []), *entries]
    makes = (lambda: _below(text, document, entries), lambda: _grown(document, entries))
    return _first_read_as(expected, path, text, *makes)


def _first_read_as(expected: Any, path: Path, text: str, *makes: Callable[[], str]) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    for make in makes:
        candidate = make().replace("\r\n", "\n").replace("\n", newline)
        with contextlib.suppress(YAMLError):
            if YAML(typ="safe", pure=True).load(candidate) == expected:
                return candidate
    raise SourceError(f"{path}: the entry would not be read back as it is written; edit the file with an editor")


def _below(text: str, document: CommentedSeq, entries: Sequence[dict[str, Any]]) -> str:
    """No YAML that holds the entries, where others are not written one key a line; the caller reads it to see."""
    if not document:
        text = "" if text.strip() == "[]" else text
    indent = " " * (document.lc.item(len(document) - 1)[1] - 2) if document else ""
    rows = "".join(f"{indent}{row}\n" for row in _rows(list(entries)))
    return text + ("\n" if text and not text.endswith("\n") else "") + rows


def _grown(document: CommentedSeq, entries: Sequence[dict[str, Any]]) -> str:
    document.extend(entries)
    return _dumped(document)


def _under(text: str, document: CommentedMap, entries: dict[str, Any]) -> str:
    """As `_below`: no YAML that holds the entries, where `speakers` is not the last key or in JSON's style."""
    speakers = document.get("speakers")
    indent = " " * (speakers.lc.key(next(iter(speakers)))[1] if speakers else 2)
    head = "" if "speakers" in document else NOBODY_YET
    rows = "".join(f"{indent}{row}\n" for row in _rows(entries))
    return text + ("\n" if text and not text.endswith("\n") else "") + head + rows


def _known(document: CommentedMap, entries: dict[str, Any]) -> str:
    document["speakers"] = document.get("speakers") or CommentedMap()
    document["speakers"].update(entries)
    return _dumped(document)


def _cut(text: str, document: CommentedSeq, gone: Sequence[int]) -> str:
    """Without the rows of these entries; the comments above the next entry are the next entry's."""
    rows = text.splitlines(keepends=True)
    starts = [document.lc.item(index)[0] for index in range(len(document))]
    kept = [True] * len(rows)
    for index in gone:
        last = index + 1 == len(document)
        end = len(rows) if last else starts[index + 1]
        column = document.lc.item(index)[1] - 2
        while not last and re.match(rf"\s*$| {{0,{column}}}#", rows[end - 1]):
            end -= 1
        kept[starts[index] : end] = [False] * (end - starts[index])
    text = "".join(row for row, stays in zip(rows, kept, strict=True) if stays)
    return text if len(gone) < len(document) else text + "[]\n"


def _shrunk(document: CommentedSeq, gone: Sequence[int]) -> str:
    for index in reversed(gone):
        del document[index]
    return _dumped(document)


def _rows(value: Any) -> list[str]:
    return _dumped(value).rstrip("\n").split("\n")  # not splitlines, which also parts at characters within a text


class _Spelled(RoundTripRepresenter):
    """Writes `revoked: null`, where ruamel.yaml would leave the place empty, and quotes what YAML reads as a break."""


def _text_scalar(dumper: _Spelled, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if "\x85" in text else None)


_Spelled.add_representer(str, _text_scalar)
_Spelled.add_representer(type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null"))


def _dumped(value: Any) -> str:
    dumper, out = YAML(typ="rt"), io.StringIO()
    dumper.Representer = _Spelled
    dumper.width = 10_000  # a line of text stays a line
    dumper.allow_unicode = True
    dumper.dump(value, out)
    return out.getvalue()
