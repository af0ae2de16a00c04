"""data/sources.yaml: which recordings there are, whose voice each one is, and by what right it is used.

    - id: harbour-morning
      file: data/recordings/harbour-morning.flac   # or  url: https://…
      speaker: marina
      language: en
      licence: CC0-1.0
      consent: synthetic voice, no person
      start: 12.5      # optional, seconds or h:mm:ss: only this part of it
      end: 1:02:30     # optional
      draft: false     # optional: Whisper writes no draft, because the transcript is whole

`read` checks the whole file and tells every mistake with its line. Stages iterate over what is declared here, never
over what lies in a folder; `recordings` gives what was fetched for it, and fails where one is missing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from timbre.core.content import NotYaml, line_of, parse_yaml, plain_yaml, read_text
from timbre.core.errors import DataError, SourceError, raise_all
from timbre.core.records import Recording, check_id
from timbre.core.safe_text import short_repr

PATH = Path("data/sources.yaml")
RECORDINGS = Path("data/recordings")  # the only folder a local file may come from: git carries it, DVC watches it
REQUIRED = ("id", "speaker", "language", "licence", "consent")
ORIGINS = ("file", "url")  # keys that say where the sound is, of which an entry has one
OPTIONAL = (*ORIGINS, "start", "end", "draft")
CLOCK = re.compile(r"(?:(\d+):)?([0-5]?\d):([0-5]?\d(?:\.\d+)?)")  # h:mm:ss or m:ss, as players show it


@dataclass(frozen=True)
class Source:
    """One entry of data/sources.yaml."""

    id: str
    speaker: str
    language: str  # two or three letters, as Whisper names it
    licence: str
    consent: str
    file: str | None = None  # path inside the repository; exactly one of ORIGINS is given
    url: str | None = None
    start: float | None = None  # seconds
    end: float | None = None
    draft: bool = True  # whether Whisper writes one

    @property
    def origin(self) -> str:
        return next((str(getattr(self, key)) for key in ORIGINS if getattr(self, key)), "")

    def overlaps(self, other: Source) -> bool:
        return (
            self.origin == other.origin
            and (self.start or 0) < (math.inf if other.end is None else other.end)
            and (other.start or 0) < (math.inf if self.end is None else self.end)
        )


def read(path: Path) -> list[Source]:
    """Every source, in the file's order; raises SourceError with a line per mistake."""
    return parse(text_of(path), str(path))


def parse(text: str, where: str) -> list[Source]:
    """As `read`, of a text that is no file yet."""
    if faultless := _faultless(text):
        return faultless
    entries = _load(text, where)
    sources: list[Source] = []
    used = _Taken({}, {})
    problems: list[str] = []
    for index, entry in enumerate(entries):
        line = entries.lc.item(index)[0] + 1
        at = {key: line_of(entry, key) for key in entry} if isinstance(entry, dict) else {}
        mistakes = sorted(_problems(entry, line, at))  # by line; the keys of a set come in any order
        if not mistakes:
            sources.append(_source(entry))
            mistakes = [(line, text) for text in used.clashes(sources[-1], line)]
        problems += [f"{where}:{number}: {text}" for number, text in mistakes]
    raise_all(SourceError, problems)
    return sources


def _faultless(text: str) -> list[Source]:
    """The sources without the lines that they stand in, which take most of the time; none where anything is wrong."""
    try:
        entries = plain_yaml(text.encode())
    except ValueError:
        return []
    used = _Taken({}, {})
    sources: list[Source] = []
    for entry in entries if isinstance(entries, list) else ():
        if any(_problems(entry, 0, dict.fromkeys(entry, 0) if isinstance(entry, dict) else {})):
            return []
        sources.append(_source(entry))
        if any(used.clashes(sources[-1], 0)):
            return []
    return sources


def fetched(path: Path, raw: Path) -> list[Recording]:
    """The recordings of data/sources.yaml, as `fetch` left them in data/raw."""
    return recordings(read(path), raw)


def to_draft(path: Path, raw: Path) -> list[Recording]:
    """As `fetched`, but for those whose words are known."""
    return recordings([source for source in read(path) if source.draft], raw)


def recordings(sources: list[Source], raw: Path) -> list[Recording]:
    """What `fetch` made of every source, in order; a missing one is an error, whatever else lies in the folder."""
    fetched, problems = [], []
    for source in sources:
        try:
            fetched.append(Recording(**json.loads((raw / f"{source.id}.json").read_bytes())["recording"]))
            if not (raw / f"{source.id}.flac").exists():
                raise FileNotFoundError
        except FileNotFoundError:
            problems.append(f"{source.id}: not in {raw}; `dvc repro fetch` brings it, or `dvc pull {raw}`")
        except (ValueError, TypeError, KeyError, DataError) as error:
            problems.append(f"{raw / source.id}.json: not a Recording: {error}; remove it and run `dvc repro`")
    raise_all(SourceError, problems)
    return fetched


def _load(text: str, where: str) -> Any:
    entries = document(text, where)
    if entries == []:
        raise SourceError(f"{where}: there is no recording yet; `timbre add FILE` or `timbre review --record` adds one")
    if not isinstance(entries, list) or not entries:
        raise SourceError(f"{where}:1: expected a list of recordings, each beginning `- id: …`")
    return entries


def text_of(path: Path) -> str:
    return read_text(path, SourceError, "run this in the repository's root")


def document(text: str, where: str) -> Any:
    """YAML 1.2, as DVC reads it (`no` is text); its lists and mappings know the line of every item, as `lc`."""
    try:
        return _parsed(text)
    except NotYaml as error:
        raise SourceError(f"{error.at(where)}: {error}") from error


def plain(text: str, where: str) -> Any:
    """`document` without the lines, which take most of the time."""
    try:
        return plain_yaml(text.encode())
    except ValueError:
        return document(text, where)


@lru_cache(
    maxsize=4
)  # a stage asks for the same text several times, and hundreds of recordings take a third of a second
def _parsed(text: str) -> Any:
    """Whoever gets it changes nothing in it."""
    return parse_yaml(text)


def _problems(entry: Any, line: int, at: Mapping[Any, int]) -> Iterator[tuple[int, str]]:
    """The mistakes of one entry, each with the line to look at; `at` has those of its keys."""
    if not isinstance(entry, dict):
        yield line, f"{shown(entry)} is not a recording; expected `- id: …` with its keys below"
        return
    for key in entry:
        if key not in REQUIRED + OPTIONAL:
            yield at[key], f"unknown key `{key}`; known are {', '.join(REQUIRED + OPTIONAL)}"
    for key in REQUIRED:
        if key not in entry:
            yield line, f"`{key}` is missing"
    for key in {*REQUIRED, *ORIGINS} & set(entry):
        if not isinstance(entry[key], str) or not entry[key].strip():
            yield at[key], f"{key}: {shown(entry[key])} is not text; put it in quotes"
        elif key in CHECKS:
            yield from ((at[key], f"{key}: {text}") for text in CHECKS[key](str(entry[key])))
    origins = [key for key in ORIGINS if key in entry]
    if len(origins) != 1:
        yield line, f"give either {' or '.join(f'`{key}`' for key in ORIGINS)}" + (", not both" if origins else "")
    for key in {"start", "end"} & set(entry):
        if seconds_of(entry[key]) is None:
            yield at[key], f"{key}: {shown(entry[key])} is not a time; write seconds (90.5) or h:mm:ss"
    if not isinstance(entry.get("draft", True), bool):
        yield at["draft"], f"draft: {shown(entry['draft'])} is neither true nor false"
    start, end = seconds_of(entry.get("start", 0)), seconds_of(entry.get("end"))
    if start is not None and end is not None and start >= end:
        yield at["end"], f"end {end:.2f} is not after start {start:.2f}"


def _check_name(text: str) -> Iterator[str]:
    try:
        check_id(text)
    except DataError as error:
        yield str(error)


def check_language(text: str) -> Iterator[str]:
    if not re.fullmatch(r"[a-z]{2,3}", text):
        yield f"{text!r} is no language code; write two or three letters, such as en"


def _check_file(text: str) -> Iterator[str]:
    path = Path(text)
    if "\0" in text:
        yield f"{text} cannot be a file's name"
    elif path.is_absolute() or not path.resolve().is_relative_to(RECORDINGS.resolve()):
        yield f"{text} is outside {RECORDINGS}; put the recording there, so that the repository carries it"
    elif not path.is_file():
        yield f"{text} does not exist"


def _check_url(text: str) -> Iterator[str]:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:  # http://[ or a port that is no number
        usable = False
    if not usable or re.search(r"\s", text):
        yield f"{text} is not an http:// or https:// address"


CHECKS = {
    "id": _check_name,
    "speaker": _check_name,
    "language": check_language,
    "file": _check_file,
    "url": _check_url,
}


@dataclass(frozen=True)
class _Taken:
    """What the entries before this one have claimed, and in which line."""

    ids: dict[str, int]
    origins: dict[str, list[tuple[Source, int]]]

    def clashes(self, source: Source, line: int) -> Iterator[str]:
        if source.id in self.ids:
            yield f"id {source.id} is already taken in line {self.ids[source.id]}"
            return
        for other, other_line in self.origins.get(source.origin, []):
            if source.overlaps(other):
                # the same words in two recordings would be learnt twice, and could land in training and evaluation both
                yield (f"{source.origin} is already in line {other_line} as {other.id}; give parts that do not overlap")
        self.ids[source.id] = line
        self.origins.setdefault(source.origin, []).append((source, line))


def _source(entry: dict[str, Any]) -> Source:
    texts = {key: str(entry[key]) for key in (*REQUIRED, *ORIGINS) if key in entry}
    if "file" in texts:
        texts["file"] = Path(texts["file"]).as_posix()
    start, end = seconds_of(entry.get("start")), seconds_of(entry.get("end"))
    return Source(**texts, start=start, end=end, draft=entry.get("draft", True))


def seconds_of(value: Any) -> float | None:
    """A number, or a text such as 1:30; None of what is no time."""
    if isinstance(value, str) and (clock := CLOCK.fullmatch(value.strip())):
        hours, minutes, seconds = clock.groups()
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value < math.inf else None


def shown(value: Any) -> str:
    return "nothing" if value is None else short_repr(value, 120)
