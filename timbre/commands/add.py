"""Add a recording, from a file or an address, to data/sources.yaml.

A file is copied to data/recordings, unless it lies there already; `dvc repro fetch` downloads an address. Everything is
checked before anything is written, and other entries keep every byte. Licence, consent and speaker are never guessed: a
recording under a wrong name would rest on somebody else's consent. The language may be left out if all other recordings
have the same one. A new speaker gets an entry in data/speakers.yaml, dated with the day in --consent, or with today.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, unquote, urlsplit

from timbre.commands.options import add_rights
from timbre.commands.place import file_or_address
from timbre.core.content import file_sha256
from timbre.core.errors import SourceError, raise_all
from timbre.core.records import check_id
from timbre.core.safe_text import redacted
from timbre.editing import yaml_entries
from timbre.editing.owned_files import one_editor, write_all
from timbre.project import known_words, sources, speakers
from timbre.project.sources import RECORDINGS, Source
from timbre.project.speakers import Person

EXAMPLES = [
    (
        "timbre add talk.m4a --speaker ann --language en --licence CC-BY-4.0 --consent 'Ann, 2026-03-01'",
        "copies it",
    ),
    (
        "timbre add https://example.org/talk --start 1:30 --speaker eve --licence CC0-1.0 …",
        "part of a download",
    ),
]


@dataclass(frozen=True)
class NewSound:
    """Where the recording comes from, and what its entry will call it."""

    key: str  # of the entry, one of `sources.ORIGINS`
    origin: str  # URL, or path of the recording in the repository
    copy_of: Path | None = None  # a file elsewhere that is to be copied to `origin`


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        metavar="URL|FILE",
        type=file_or_address,
        help="file of audio or video, or an address that yt-dlp downloads",
    )
    parser.add_argument("--id", help="id of the recording (made from the file name or address)")
    parser.add_argument("--speaker", help="id of the person who speaks; required, one id per voice")
    add_rights(parser)
    use_help = f"what a new speaker consents to; serve and publish in it allow just that (“{yaml_entries.USE}”)"
    parser.add_argument("--for", dest="use", help=use_help)
    parser.add_argument("--evidence", help="a new speaker's consent in writing: file or link")
    parser.add_argument("--start", help="use the recording from here on: seconds or h:mm:ss")
    parser.add_argument("--end", help="use the recording up to here")


def command(args: argparse.Namespace) -> int:
    with one_editor():
        add(args)
    print("next: `dvc repro transcribe` drafts its words, `timbre review` shows them; `dvc repro` learns from it")
    if note := known_words.note():
        print(note)
    return 0


def add(args: argparse.Namespace) -> None:
    others = yaml_entries.read(sources.PATH)
    span = {key: _time(value) for key in ("start", "end") if (value := getattr(args, key)) is not None}
    name = args.id or make_id(args.what, tuple(span.values()), {source.id for source in others})
    sound = recognised(args.what, name)
    entry = {"id": name, sound.key: sound.origin}
    entry |= {key: value for key in sources.REQUIRED[1:] if (value := _told(key, args, others)) is not None}
    _check_told(entry)
    with _place(sound) as placed:
        changes = [yaml_entries.appended(sources.PATH, entry | span, sound.origin, placed)]
        person = newcomer(entry, args)
        if person:
            changes.insert(0, yaml_entries.with_people(speakers.PATH, [person]))
        if sound.key == "file":
            _check_sound(args.what, span)
        _copy(sound, placed)
        write_all(changes)
    print(f"{sources.PATH}: added {name} from {redacted(sound.origin)}")
    print("\n".join(f"  {key}: {value}" for key, value in entry.items() if key not in ("id", *sources.ORIGINS)))
    if person:
        consent = person.consent
        print(f"{speakers.PATH}: added {person.id}; see whether it says what was agreed")
        evidence = consent.evidence or "none yet"
        print(f"  by: {consent.by}\n  when: {consent.when}\n  for: {consent.use}\n  evidence: {evidence}")


def recognised(what: str, name: str) -> NewSound:
    """What kind of source it is; `name` is the recording's id."""
    return _address(what) if _is_url(what) else _file(Path(what), name)


def _check_sound(file: str, span: Mapping[str, object]) -> None:
    """Refuse now what `fetch` would refuse later, when the person is gone."""
    from timbre import audio

    audio.check(Path(file), file, *(sources.seconds_of(span.get(key)) for key in ("start", "end")))


def newcomer(entry: dict[str, str], args: argparse.Namespace) -> Person | None:
    id = entry["speaker"]
    if args.evidence and speakers.is_evidence(args.evidence) and not speakers.is_there(args.evidence):
        raise SourceError(
            f"--evidence: {args.evidence} does not exist; put it there first, give a link, or leave it out"
        )
    person = yaml_entries.newcomer(id, entry["consent"], use=args.use, evidence=args.evidence)
    if person is None and (args.use or args.evidence):
        line = speakers.read()[id].line
        raise SourceError(f"{speakers.PATH}:{line}: knows {id}; say there what changed, not by --for, --evidence")
    return person


def make_id(address: str, span: Sequence[object], used: set[str]) -> str:
    """From the file's name, or the last part of the address; with a short hash where that says too little."""
    if _is_url(address):
        parts = _parts(address)
        stem = PurePosixPath(unquote(parts.path)).stem or parts.hostname or ""
        vague = bool(parts.query)  # …/watch?v=1 and …/watch?v=2 have the same name
    else:
        stem, vague = Path(address).stem, False
    name = yaml_entries.slug(stem) or "recording"
    if vague or name == "recording" or name in used:
        name += "-" + hashlib.sha256(repr((address, *span)).encode()).hexdigest()[:6]
    return name


def _is_url(address: str) -> bool:
    return "://" in address


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise SourceError(f"{url}: is not an address ({error})") from error


def _address(url: str) -> NewSound:
    parts = _parts(url)
    if parts.username or parts.password:
        raise SourceError("the address holds a user name or password, and git would keep it; give one without")
    return NewSound("url", url)


def _file(path: Path, name: str) -> NewSound:
    if not path.is_file():
        raise SourceError(f"{path}: " + ("is a folder; add each of its files" if path.is_dir() else "does not exist"))
    if not path.stat().st_size:
        raise SourceError(f"{path}: is empty (0 bytes)")
    if path.resolve().is_relative_to(RECORDINGS.resolve()):
        return NewSound("file", path.resolve().relative_to(Path.cwd().resolve()).as_posix())
    suffix = path.suffix.lower() if re.fullmatch(r"\.[A-Za-z0-9]{1,5}", path.suffix) else ""
    for other in sorted(RECORDINGS.glob("*")):
        if other.is_file() and other.stat().st_size == path.stat().st_size and file_sha256(other) == file_sha256(path):
            raise SourceError(f"{path}: is the same file as {other}; to use another part of it, `timbre add {other}`")
    check_id(name)  # before it becomes a path
    return NewSound("file", (RECORDINGS / f"{name}{suffix}").as_posix(), path)


@contextlib.contextmanager
def _place(sound: NewSound) -> Iterator[str]:
    """A name in data/recordings under which the file can be checked and copied; gone again if anything fails."""
    if not sound.copy_of:
        yield sound.origin
        return
    if Path(sound.origin).exists():
        raise SourceError(f"{sound.origin}: is there already, and stays; choose another name with --id")
    temporary = RECORDINGS / f".{Path(sound.origin).name}.part"
    RECORDINGS.mkdir(parents=True, exist_ok=True)
    try:
        temporary.touch()
        yield temporary.as_posix()
    except BaseException:
        if temporary.exists() and Path(sound.origin).exists() and temporary.samefile(sound.origin):
            Path(sound.origin).unlink()  # it was ours, and its entry could not be written
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _copy(sound: NewSound, placed: str) -> None:
    if sound.copy_of:
        try:
            shutil.copyfile(sound.copy_of, placed)
            os.link(placed, sound.origin)  # unlike a rename, never over a file that came meanwhile
        except FileExistsError as error:
            raise SourceError(f"{sound.origin}: is there already, and stays; choose another name with --id") from error
        except OSError as error:
            raise SourceError(f"{sound.copy_of}: cannot be copied to {RECORDINGS} ({error.strerror})") from error


def _told(key: str, args: argparse.Namespace, others: Sequence[Source]) -> str | None:
    value: str | None = getattr(args, key)
    languages = {source.language for source in others}
    return languages.pop() if value is None and key == "language" and len(languages) == 1 else value


def _check_told(entry: dict[str, str]) -> None:
    missing = [f"--{key}" for key in sources.REQUIRED if key not in entry]
    raise_all(SourceError, [f"{entry['id']}: give {', '.join(missing)} too"] if missing else [])


def _time(text: str) -> str | float:
    """As it is written to the file: a number of seconds as a number, all else as text."""
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        return float(text) if "." in text else int(text)
    return text
