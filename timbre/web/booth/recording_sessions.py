"""The recording booth: sentences to read, a take of each, and what becomes of them.

Reads   data/speakers.yaml, data/sources.yaml, data/prompts.tsv
Writes  .timbre/takes/<id>/      what is being recorded: session.json, and a FLAC per sentence as soon as it was spoken
        at the end data/recordings/<id>.flac, data/transcripts/<id>.tsv, an entry in data/sources.yaml; and one in
        data/speakers.yaml, for a speaker who has none, when the recording begins

A take is named by its sentence's words, so that a list may be put in another order or grow. Nothing that is there is
overwritten: an id that is declared, or whose files hold something else, is refused.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timbre import audio
from timbre.core.content import content_key, file_sha256, write_atomic
from timbre.core.errors import DataError, SourceError, TimbreError, TranscriptError, raise_all
from timbre.core.records import check_id
from timbre.core.text import normalise, words
from timbre.editing import yaml_entries
from timbre.editing.owned_files import FileChange, content_of, one_editor, write_all
from timbre.project import prompts, speakers, transcripts
from timbre.project.permissions import Permissions
from timbre.project.speakers import Consent, Person
from timbre.project.transcripts import Transcript
from timbre.web.booth import microphone_takes
from timbre.web.booth.microphone_takes import MeasuredTake

MOST, WIDEST = 2000, 400  # sentences of a list, characters of a sentence

ASKED = {
    "name": "a name or pseudonym",
    "by": "who consents",
    "when": "since when",
    "for": "for what the voice may be used",
}


@dataclass(frozen=True)
class BoothSession:
    """Who reads what."""

    id: str  # of the recording that it becomes
    speaker: str
    language: str
    licence: str
    sentences: tuple[str, ...]

    def __post_init__(self) -> None:
        check_id(self.id)
        check_id(self.speaker)


@dataclass(frozen=True)
class FinishedRecording:
    recording: str  # path
    transcript: str
    lines: int
    unreviewed: int  # lines whose take has a warning
    seconds: float


class Booth:
    def __init__(self, data: Path = Path("data"), folder: Path = Path(".timbre/takes")) -> None:
        self.data, self.folder = data, folder
        self.recordings, self.transcripts = data / "recordings", data / "transcripts"

    def speakers(self) -> dict[str, Person]:
        return speakers.read(self.data / "speakers.yaml")

    def sessions(self) -> list[str]:
        """What was begun and is not declared yet."""
        begun = (path.parent.name for path in sorted(self.folder.glob("*/session.json")))
        return [name for name in begun if name not in self._declared()]

    def begin(self, session: BoothSession, consent: dict[str, Any] | None = None) -> BoothSession:
        """Begin, or go on with another list: what was spoken stays. `consent` is for a speaker without an entry."""
        with one_editor():
            self.check_free(session.id)
            before = self._read(session.id)
            if before and before.speaker != session.speaker:
                raise DataError(
                    f"{session.id}: {before.speaker} is reading it; choose another id for {session.speaker}"
                )
            sentences = self.check_sentences(session.sentences)
            spoken = [s for s in before.sentences if self._path(session.id, key(s)).exists()] if before else []
            session = dataclasses.replace(session, sentences=tuple(dict.fromkeys([*spoken, *sentences])))
            if not session.sentences:
                raise DataError(f"{session.id}: there is nothing to read; give sentences, one per line")
            self._consent(session, consent)
            write_atomic(self._file(session.id), json.dumps(dataclasses.asdict(session), ensure_ascii=False, indent=1))
        return session

    def session(self, name: str) -> BoothSession:
        session = self._read(check_id(name))
        if not session:
            raise DataError(f"{name}: no recording of that id was begun here")
        return session

    def keep(self, name: str, sentence: str, upload: bytes) -> MeasuredTake:
        """Save a take at once, in place of an earlier one of the same sentence."""
        text = self._text(name, sentence)
        samples, rate = microphone_takes.read(upload)
        write_atomic(self._path(name, sentence), audio.flac_bytes(samples, rate))
        return microphone_takes.measure(samples, rate, text)

    def remove(self, name: str, sentence: str) -> None:
        self._text(name, sentence)
        self._path(name, sentence).unlink(missing_ok=True)

    def take(self, name: str, sentence: str) -> MeasuredTake | None:
        """What was measured of the take, if there is one."""
        text, path = self._text(name, sentence), self._path(name, sentence)
        return microphone_takes.measure(*audio.read(path), text) if path.exists() else None

    def sound(self, name: str, sentence: str) -> Path:
        """Of nobody who took the consent back: SourceError."""
        speaker, allowed = self.session(name).speaker, Permissions(speakers_file=self.data / "speakers.yaml")
        if allowed.withdrawn(speaker):
            allowed.check({speaker: [name]})
        self._text(name, sentence)
        return self._path(name, sentence)

    def finish(self, name: str) -> FinishedRecording:
        """One recording of all takes, its transcript, its entry. A finish that was cut short is finished by another."""
        session = self.session(name)
        self.check_free(name)
        spoken = [(s, path) for s in session.sentences if (path := self._path(name, key(s))).exists()]
        if not spoken:
            raise DataError(f"{name}: nothing was recorded yet")
        part = self.recordings / f".{name}.{secrets.token_hex(4)}.part.flac"
        try:
            lines, digest, seconds = microphone_takes.joined(spoken, part, session.speaker)
            content = transcripts.render(Transcript(tuple(lines), (f"# audio: {digest}",)), f"{name}.tsv")
            transcripts.parse(content, f"{name}.tsv", seconds)
            with one_editor():
                recording, transcript = self._declare(session, part, content)
        finally:
            part.unlink(missing_ok=True)
        unreviewed = sum(line.flag == "" for line in lines)
        return FinishedRecording(str(recording), str(transcript), len(lines), unreviewed, round(seconds, 2))

    def _declare(self, session: BoothSession, part: Path, content: bytes) -> tuple[Path, Path]:
        """Put the recording and its transcript where the project has them, and then the entry that names them."""
        self.check_free(session.id)
        self._consent(session, None)
        recording, transcript = self.recordings / f"{session.id}.flac", self.transcripts / f"{session.id}.tsv"
        self._check_same(part, recording, content, transcript)
        entry = _entry(session, recording)
        declared = yaml_entries.appended(self.data / "sources.yaml", entry, str(recording), str(part))
        part.replace(recording)
        write_all([FileChange(transcript, content_of(transcript), content), declared])
        return recording, transcript

    def _consent(self, session: BoothSession, consent: dict[str, Any] | None) -> None:
        people = self.speakers()
        if session.speaker not in people and consent:
            path = self.data / "speakers.yaml"
            yaml_entries.with_people(path, [person(session.speaker, consent)]).write()
            people = self.speakers()
        raise_all(SourceError, speakers.problems(people, {session.speaker: [session.id]}))

    def check_sentences(self, sentences: Sequence[str]) -> list[str]:
        """Each once and as it will be written; DataError with all that cannot be read out."""
        return cleaned(sentences, self._prompts())

    def check_free(self, name: str) -> None:
        if check_id(name) in self._declared():
            raise DataError(f"{name}: is recorded and declared already; choose another id for more")

    def _check_same(self, part: Path, recording: Path, content: bytes, transcript: Path) -> None:
        """An earlier finish may have left the same; anything else is a person's."""
        if recording.exists() and file_sha256(recording) != file_sha256(part):
            raise SourceError(f"{recording}: is there already, and stays; move it away, or record with another id")
        if transcript.exists() and transcript.read_bytes() != content:
            raise TranscriptError(f"{transcript}: is there already, and stays; move it away, or record with another id")

    def _declared(self) -> set[str]:
        return {source.id for source in yaml_entries.read(self.data / "sources.yaml")}

    def _prompts(self) -> set[tuple[str, ...]]:
        """The words that voices are evaluated on."""
        table = self.data / prompts.PATH.name
        return {tuple(words(prompt.text)) for prompt in prompts.read_prompts(table)} if table.exists() else set()

    def _read(self, name: str) -> BoothSession | None:
        try:
            values = json.loads(self._file(name).read_bytes())
            return BoothSession(**values | {"sentences": tuple(values["sentences"])})
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{self._file(name)}: is damaged ({error}); remove it and begin again") from error

    def _text(self, name: str, sentence: str) -> str:
        sentence_text = next((text for text in self.session(name).sentences if key(text) == sentence), None)
        if sentence_text is None:
            raise DataError(f"{name}: has no such sentence")
        return sentence_text

    def _file(self, name: str) -> Path:
        return self.folder / name / "session.json"

    def _path(self, name: str, sentence: str) -> Path:
        return self.folder / name / f"{sentence}.flac"


def person(speaker: str, answers: dict[str, Any]) -> Person:
    """An entry for data/speakers.yaml from what was told in the page; one error with all that is missing."""
    fields = {name: str(answers.get(name) or "").strip() for name in ("name", "by", "when", "for", "evidence")}
    missing = [f"{speaker}: say {wording}" for name, wording in ASKED.items() if not fields[name]]
    if fields["when"] and not speakers.day_of(fields["when"]):
        missing.append(f"{speaker}: {fields['when']} is not a day; write it as 2026-03-01")
    raise_all(SourceError, missing)
    consent = Consent(fields["by"], fields["when"], fields["for"], fields["evidence"] or None, None)
    return Person(speaker, fields["name"], consent)


def _entry(session: BoothSession, recording: Path) -> dict[str, Any]:
    about = {"speaker": session.speaker, "language": session.language, "licence": session.licence}
    said = {"consent": "recorded by the speaker", "draft": False}  # every word is known
    return {"id": session.id, "file": recording.as_posix(), **about, **said}


def key(sentence: str) -> str:
    return content_key(words(sentence))


def cleaned(sentences: Sequence[str], measured_on: set[tuple[str, ...]] = frozenset()) -> list[str]:  # type: ignore[assignment]
    """Each sentence once; every one that cannot be read is told with its line."""
    by_key: dict[str, str] = {}
    problems = []
    for number, raw in enumerate(sentences, 1):
        text = normalise(raw)
        if not text or text.startswith("#"):
            continue
        if not words(text):
            problems.append(f"sentence {number} has no words: {text[:40]}")
        elif len(text) > WIDEST:
            problems.append(f"sentence {number} has {len(text)} characters; {WIDEST} are the most, break it up")
        elif tuple(words(text)) in measured_on:
            problems.append(
                f"sentence {number} is one of data/prompts.tsv; a voice must not train on what it is evaluated by"
            )
        else:
            by_key.setdefault(key(text), text)
    if len(by_key) > MOST:
        problems.append(f"{len(by_key)} sentences; {MOST} are the most for one recording")
    raise_all(DataError, problems)
    return list(by_key.values())


def session_state(booth: Booth, name: str) -> dict[str, Any]:
    """A session as the page shows it."""
    session = booth.session(name)
    return dataclasses.asdict(session) | {"sentences": list(_shown(booth, session))}


def _shown(booth: Booth, session: BoothSession) -> Iterator[dict[str, Any]]:
    for text in session.sentences:
        try:
            take, problem = booth.take(session.id, key(text)), ""
        except TimbreError as error:
            take, problem = None, str(error)
        yield {"key": key(text), "text": text, "take": take and dataclasses.asdict(take), "problem": problem}
