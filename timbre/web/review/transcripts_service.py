"""What the review page shows and saves: each recording's transcript, or its draft while there is no transcript yet.

Reads   data/sources.yaml, data/speakers.yaml, data/raw, data/speech, data/drafts, data/transcripts, data/labels.jsonl,
        reports/value.json
Writes  data/transcripts/<id>.tsv, only when asked to save, only over the content that the edit was made from
        .timbre/peaks, .timbre/dismissed, .timbre/muted, caches

An edit names the content it was made from by its digest. Where the file is another by now nothing is written, and the
page is given what the file says instead.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timbre.audio import recording_sound
from timbre.core.errors import DataError, TimbreError, TranscriptError
from timbre.core.records import Recording, check_id
from timbre.editing import find_replace, owned_files, transcript_edits, yaml_entries
from timbre.editing.find_replace import NearMiss, ReplacePlan, Search
from timbre.editing.owned_files import ChangedMeanwhile, FileChange, one_editor, write_all
from timbre.project import glossary, sources, transcripts
from timbre.project.permissions import Permissions
from timbre.project.sources import Source
from timbre.project.transcripts import Line, Transcript
from timbre.web.review import muted, suggestions
from timbre.web.review.peaks import peaks
from timbre.web.review.sound_facts import sound_facts, usual_pace
from timbre.web.review.suggestions import Dismissals

LONGEST = 1e7  # seconds: what seven digits can write


@dataclass(frozen=True)
class RecordingSummary:
    """A recording as the page's menu shows it."""

    id: str
    speaker: str
    lines: int = 0
    heard: int = 0  # flagged ok or drop
    sound: str = ""  # its loudness and noise
    problem: str = ""  # why it cannot be opened


@dataclass(frozen=True)
class OpenRecording:
    """A recording with its lines as they are on disk."""

    id: str
    speaker: str
    seconds: float
    digest: str  # of the transcript's content; empty while there is none
    lines: tuple[Line, ...]
    words: list[tuple[float, float, str, float]]  # start, end, word, Whisper's probability
    draft: str  # key of the draft that the words are of
    newer: bool  # the transcript did not begin from it: where the two differ is worth a look
    dismissed: list[str]  # suggestions of this draft
    labels: list[dict[str, Any]]  # what the label check says
    harms: list[dict[str, Any]]  # what `timbre value` says
    warning: str = ""


@dataclass(frozen=True)
class ReplacementPreview:
    """A line that find and replace would change."""

    id: str
    number: int
    pieces: list[tuple[str, str, str]]  # unchanged, old, new


class TranscriptsService:
    def __init__(self, data: Path = Path("data"), cache: Path = Path(".timbre")) -> None:
        self._sources: tuple[object, dict[str, Source]] = (None, {})
        self.path, self.transcripts = data / "sources.yaml", data / "transcripts"
        self.raw, self.drafts, self.glossary = data / "raw", data / "drafts", data / "glossary.txt"
        self.speech = data / "speech"
        self.labels, self.cache, self.dismissals = (
            data / "labels.jsonl",
            cache / "peaks",
            Dismissals(cache / "dismissed"),
        )
        self._muted = cache / "muted"
        self.worth, self.adapter = data.parent / "reports/value.json", data.parent / "models/adapter"
        self._replacements: list[list[FileChange]] = []  # of this run, so that they can be taken back
        self._drawing = threading.Lock()  # two pages do not compute the same peaks
        self._muting = threading.Lock()  # nor write the same copy; who wants to hear a line waits for no peaks
        _ = self.sources  # what is wrong there is told before a page opens

    @property
    def sources(self) -> dict[str, Source]:
        """What is declared, read again when the file changed; none where nobody has declared anything yet."""
        stamp = self.path.stat().st_mtime_ns if self.path.exists() else 0
        if self._sources[0] != stamp:
            self._sources = stamp, {source.id: source for source in yaml_entries.read(self.path)}
        return self._sources[1]

    def summaries(self) -> list[RecordingSummary]:
        return [self._summary(name, source.speaker) for name, source in self.sources.items()]

    def opened(self, name: str) -> OpenRecording:
        recording = self.recording(name)
        transcript, content = self._transcript(recording)
        warning = ""
        if content is not None and transcript.audio not in (None, recording.sha256):
            warning = "The transcript was written for other audio; its times may not fit this recording."
        if muted.silenced(recording, self._permissions()):
            warning = (
                f"{warning} Who took the consent back is silent here; `timbre remove` takes the voice out.".strip()
            )
        draft, words = self._draft(recording)
        return OpenRecording(
            name,
            recording.speaker,
            recording.seconds,
            owned_files.digest(content),
            transcript.lines,
            words,
            draft,
            bool(draft and content is not None and transcript.draft != draft),
            self.dismissals.read(name, draft),
            suggestions.labels(self.labels, name),
            suggestions.harms(self.worth, self.adapter, name),
            warning,
        )

    def dismiss(self, name: str, draft: str, names: Sequence[object]) -> None:
        self.dismissals.write(self._known(name), draft, names)

    def digest(self, name: str) -> str:
        return owned_files.digest(owned_files.content_of(self._path(name)))

    def save(self, name: str, digest: str, lines: Sequence[Line]) -> str:
        """The new digest; ChangedMeanwhile where the file is not the one that was edited."""
        recording = self.recording(name)
        path = self._path(name)
        with one_editor():
            content = owned_files.content_of(path)
            if owned_files.digest(content) != digest:
                raise ChangedMeanwhile(f"{path}: was changed by somebody else; nothing was written")
            if content is None:
                seeded, _ = self._transcript(recording)
                after = transcripts.render(Transcript(tuple(lines), seeded.comments), str(path))
                transcripts.parse(after, str(path), recording.seconds)
            else:
                after = transcript_edits.splice(content, lines, str(path), recording.seconds)
            FileChange(path, content, after).write()
        return owned_files.digest(after)

    def find(self, search: Search) -> tuple[list[ReplacementPreview], dict[str, str]]:
        """Every line that would change, and the digest of each file that it stands in."""
        plans = self._plans(search)
        previews = [
            ReplacementPreview(p.path.stem, edit.number, list(edit.pieces())) for p in plans for edit in p.edits
        ]
        return previews, {plan.path.stem: owned_files.digest(plan.content) for plan in plans}

    def offers(self) -> list[NearMiss]:
        """Words that are nearly a term of the glossary."""
        terms = glossary.terms(self.glossary) if self.glossary.exists() else []
        return find_replace.near_misses(self._begun(), terms) if terms else []

    def replace(self, search: Search, digests: dict[str, str]) -> tuple[int, int]:
        """How many places were replaced, and the replacement's number; only what a preview showed is written."""
        with one_editor():
            plans = self._plans(search)
            if {plan.path.stem: owned_files.digest(plan.content) for plan in plans} != digests:
                raise ChangedMeanwhile("the transcripts changed after the preview; nothing was written")
            write_all(changes := [plan.change for plan in plans])
            self._replacements.append(changes)
            number = len(self._replacements) - 1
        return sum(len(edit.hits) for plan in plans for edit in plan.edits), number

    def replace_again(self, number: int, *, redo: bool, besides: str) -> list[str]:
        """Take a replacement back, or do it again, in all recordings but one; those that were edited since stay."""
        if number >= len(self._replacements):
            raise DataError("that replacement was made before this page was started")
        changes = [change for change in self._replacements[number] if change.path.stem != besides]
        wanted = (
            changes if redo else [FileChange(change.path, change.after, change.before or b"") for change in changes]
        )
        with one_editor():
            ours = [change for change in wanted if owned_files.content_of(change.path) == change.before]
            write_all(ours)
        return [change.path.stem for change in wanted if change not in ours]

    def peaks(self, name: str) -> bytes:
        recording = self.recording(name)
        with self._drawing:
            return peaks(recording, self.audio(name), self.cache)

    def heard_in(self, name: str) -> dict[str, Any]:
        """When somebody speaks, what is clipped, and the pace that is usual in the lines as they are on disk."""
        recording = self.recording(name)
        with self._drawing:
            facts = sound_facts(recording, self.audio(name), self.speech, self.cache)
        return facts._asdict() | {"pace": usual_pace(self._transcript(recording)[0].lines, facts.speech)}

    def audio(self, name: str) -> Path:
        return self.raw / f"{self._known(name)}.flac"

    def playable(self, name: str) -> Path:
        """As the page may play it: silent where somebody speaks who took the consent back."""
        with self._muting:
            return muted.playable(self.recording(name), self.audio(name), self._permissions(), self._muted)

    def _permissions(self) -> Permissions:
        """As the files are now."""
        return Permissions(self.path, self.path.with_name("speakers.yaml"), self.transcripts)

    def recording(self, name: str) -> Recording:
        (recording,) = sources.recordings([self.sources[self._known(name)]], self.raw)
        return recording

    def _known(self, name: str) -> str:
        if check_id(name) not in self.sources:
            raise DataError(f"{name}: no such recording in data/sources.yaml; there are {', '.join(self.sources)}")
        return name

    def _path(self, name: str) -> Path:
        return self.transcripts / f"{self._known(name)}.tsv"

    def _summary(self, name: str, speaker: str) -> RecordingSummary:
        try:
            lines = self._transcript(self.recording(name))[0].lines
        except TimbreError as error:
            return RecordingSummary(name, speaker, problem=str(error))
        sound = str(recording_sound.read(self.speech, name))
        return RecordingSummary(name, speaker, len(lines), sum(line.flag != "" for line in lines), sound)

    def _transcript(self, recording: Recording) -> tuple[Transcript, bytes | None]:
        """The person's, with the file's content, or what its draft would begin it with."""
        path = self._path(recording.id)
        content = owned_files.content_of(path)
        if content is not None:
            return transcripts.parse(content, str(path), overlaps=True), content  # the page shows and mends them
        return transcripts.seed(self.drafts / f"{recording.id}.json", recording), None

    def _draft(self, recording: Recording) -> tuple[str, list[tuple[float, float, str, float]]]:
        """Key and words of Whisper's draft; nothing where it heard other audio, or where it is not here."""
        path = self.drafts / f"{recording.id}.json"
        try:
            draft = json.loads(path.read_bytes())
            if draft["audio_sha256"] != recording.sha256:
                return "", []
            words = [word for segment in draft["segments"] for word in segment.get("words", [])]
            timed = [(w["start"], w["end"], str(w["word"]).strip(), w["probability"]) for w in words]
            return transcripts.read_draft(path).key, timed
        except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError):
            return "", []

    def _plans(self, search: Search) -> list[ReplacePlan]:
        return find_replace.plan(self._begun(), search)

    def _begun(self) -> list[Path]:
        return [path for name in self.sources if (path := self._path(name)).exists()]


def lines_from(values: Any) -> tuple[Line, ...]:
    """The page's lines, each [start, end, speaker, flag, text]; anything else is refused."""
    if not isinstance(values, list):
        raise TranscriptError("the lines are not a list")
    return tuple(_line(value, number) for number, value in enumerate(values, 1))


def _line(value: Any, number: int) -> Line:
    match value:
        case [int() | float() as start, int() | float() as end, str() as speaker, str() as flag, str() as text]:
            if all(not isinstance(x, bool) and 0 <= x < LONGEST for x in (start, end)):  # NaN is not
                return Line(round(float(start), 2), round(float(end), 2), speaker, flag, text)
    raise TranscriptError(f"line {number} is not start, end, speaker, flag and text")
