"""One version's tables as a trace follows them: with the file and line of each entry, and what leads to it.

They are read from git, from the work tree, or from DVC's cache; lenient, because older ones differ. A table that cannot
be reached is empty, and `missing` says so.
"""

from __future__ import annotations

import bisect
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from timbre.core.content import files_key, mapping, md5
from timbre.core.errors import SourceError
from timbre.core.records import adapter_files
from timbre.core.safe_text import redacted
from timbre.evaluation import score_rows
from timbre.evaluation.score_rows import ScoreRow
from timbre.project import prompts, sources
from timbre.project import speakers as people
from timbre.versions import clip_rows, dvc_lock, version_ids
from timbre.versions import lenient_rows as rows
from timbre.versions.clip_rows import LEFT_OUT, PARTS, REJECTED, TABLE, ClipRow, RejectedRow
from timbre.versions.dvc_outs import Outs
from timbre.versions.origins import Origin, TracedLine, TracedVoice
from timbre.versions.snapshot import Snapshot
from timbre.versions.tables import ADAPTER, SAMPLES, SCORES, SOURCES

PROMPTS = prompts.PATH.as_posix()
DAMAGED = (ValueError, KeyError, TypeError)  # what reading a table raises that somebody cut short or that is another's
Entry = dict[str, Any]


class TracedVersion:
    def __init__(self, snapshot: Snapshot, outs: Outs, today: Snapshot) -> None:
        """`today` is the work tree: whoever has taken the consent back has done so for older versions too."""
        self.snapshot, self.outs, self.today = snapshot, outs, today
        self.lock = dvc_lock.read(snapshot)
        self.missing: list[str] = []
        self._lines: dict[str, tuple[TracedLine, ...]] = {}

    def read(self, path: str) -> bytes | None:
        content = self.snapshot.read(path)
        if content is None:
            content = self.outs.read(self.lock, path, self.snapshot.name)
        return content

    def needed(self, path: str) -> bytes:
        content = self.read(path)
        if content is None:
            self.lacks(f"{path}: not here; {dvc_lock.way_to(path, self.lock)}")
        return content or b""

    def reached(self, path: str) -> bool:
        return not any(line.startswith(f"{path}: not ") for line in self.missing)

    def gaps(self) -> tuple[str, ...]:
        """What could not be reached, each once."""
        more = (f"{name}: not in DVC's cache; `dvc pull` brings it" for name in self.outs.unreachable)
        return tuple(dict.fromkeys([*self.missing, *(line for line in more if not self._told(line.split(" of ")[0]))]))

    def _told(self, path: str) -> bool:
        parts = path.split("/")
        above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        return any(line.startswith(f"{name}: ") for line in self.missing for name in above)

    def lacks(self, message: str) -> None:
        if message not in self.missing:
            self.missing.append(message)

    def table(self, path: str, part: str) -> list[ClipRow]:
        return self._rows(self.needed(path), path, part)

    def _rows(self, content: bytes, path: str, part: str) -> list[ClipRow]:
        try:
            return [clip_rows.clip_row(row, part) for row in clip_rows.json_rows(content)]
        except DAMAGED:
            self.lacks(f"{path}: is damaged; remove it and run `dvc repro`")
            return []

    def facts(self, path: str) -> Entry:
        """A JSON file that may be missing."""
        try:
            return mapping(json.loads(self.read(path) or b"{}"))
        except DAMAGED:
            self.lacks(f"{path}: is damaged; remove it and run `dvc repro`")
            return {}

    @cached_property
    def entries(self) -> dict[str, tuple[Entry, int]]:
        """data/sources.yaml: id → entry and its line; what is no entry is left out."""
        try:
            document = sources.document((self.read(SOURCES) or b"").decode(), SOURCES)
        except (SourceError, UnicodeDecodeError) as error:
            self.lacks(str(error))
            return {}
        listed = document if isinstance(document, list) else []
        return {
            str(entry["id"]): (dict(entry), listed.lc.item(index)[0] + 1)  # type: ignore[attr-defined]
            for index, entry in enumerate(listed)
            if isinstance(entry, dict) and "id" in entry
        }

    def declared_as(self, place: str) -> str | None:
        """The recording whose entry names this file or address."""
        return next((id for id, (entry, _) in self.entries.items() if place in map(entry.get, sources.ORIGINS)), None)

    @cached_property
    def people(self) -> dict[str, people.Person]:
        try:
            return people.parse((self.today.read(str(people.PATH)) or b"").decode())
        except (SourceError, UnicodeDecodeError) as error:
            self.lacks(str(error).splitlines()[0])
            return {}

    def voice(self, speaker: str) -> TracedVoice:
        if not (person := self.people.get(speaker)):
            return TracedVoice(speaker, None)
        consent = person.consent
        where = f"{people.PATH}:{person.line}"
        return TracedVoice(
            speaker, where, person.name, consent.by, consent.when, consent.use, consent.evidence, consent.revoked
        )

    def origin(self, recording: str) -> Origin:
        entry, line = self.entries.get(recording, ({}, 0))
        raw = self.facts(f"data/raw/{recording}.json")
        recorded, provenance = mapping(raw.get("recording")), mapping(raw.get("provenance"))
        speaker = str(entry.get("speaker") or recorded.get("speaker") or "unknown")
        if not raw:
            self.lacks(f"data/raw/{recording}.json: not here; `dvc pull` or `dvc repro fetch` brings it")
        own = {
            key: _text(entry.get(key)) for key in ("language", "licence", "consent", *sources.ORIGINS, "start", "end")
        }
        own["url"] = _address(entry.get("url"))
        return Origin(
            id=recording,
            where=f"{SOURCES}:{line}" if line else None,
            speaker=self.voice(speaker),
            **own,
            **{key: _text(provenance.get(key)) for key in ("title", "uploader", "upload_date", "file_sha256")},
            site_licence=_text(provenance.get("license")),
            site_url=_address(provenance.get("url")),
            sha256=_text(recorded.get("sha256")),
            seconds=recorded.get("seconds"),
        )

    @cached_property
    def clips(self) -> dict[str, ClipRow]:
        return {row.id: row for row in self.table(TABLE, LEFT_OUT)}

    @cached_property
    def clips_of(self) -> dict[str, dict[str, ClipRow]]:
        """Recording → its clips, of the table that is here and of the one that the adapter learnt from."""
        clips: dict[str, dict[str, ClipRow]] = defaultdict(dict)
        for row in (*self.clips.values(), *self.learnt):
            clips[row.recording].setdefault(row.id, row)
        return clips

    @cached_property
    def parts(self) -> dict[str, str]:
        """Clip → training or evaluation."""
        return {row.id: part for part, path in PARTS.items() for row in self.table(path, part)}

    @cached_property
    def rejected(self) -> dict[str, list[RejectedRow]]:
        """Recording → lines and clips that are in no table, and warnings about others."""
        rows: dict[str, list[RejectedRow]] = defaultdict(list)
        try:
            for row in clip_rows.rejected(self.needed(REJECTED)):
                rows[row.recording].append(row)
        except DAMAGED:
            self.lacks(f"{REJECTED}: is damaged; remove it and run `dvc repro`")
        return rows

    def left_out(self, recording: str) -> int:
        return sum(not row.warning for row in self.rejected[recording])

    def notes(self, recording: str, start: float, end: float) -> tuple[str, ...]:
        """What is said of that stretch, or of a part of it."""
        return tuple(row.reason for row in self.rejected[recording] if start < row.end and row.start < end)

    def lines(self, recording: str) -> tuple[TracedLine, ...]:
        """The person's where there are any, else the draft's."""
        if recording not in self._lines:
            self._lines[recording] = tuple(sorted(self._read_lines(recording), key=_middle))
        return self._lines[recording]

    def held(self, row: ClipRow) -> tuple[TracedLine, ...]:
        """The lines of a clip, by their middles: its ends are moved into the silence around them."""
        lines = self.lines(row.recording)
        first = bisect.bisect_left(lines, row.start, key=_middle)
        last = bisect.bisect_right(lines, row.end, key=_middle)
        return tuple(line for line in lines[first:last] if line.flag != "drop")

    def _read_lines(self, recording: str) -> Iterator[TracedLine]:
        path, draft = f"{rows.FOLDER}/{recording}.tsv", f"data/drafts/{recording}.json"
        content = self.read(path)
        if content is not None:
            for row in rows.parse(content, path).rows:
                yield TracedLine(f"{path}:{row.number}", row.start, row.end, row.speaker, row.flag, row.text)
        else:
            for number, segment in enumerate(self.facts(draft).get("segments", []), 1):
                yield TracedLine(
                    f"{draft}#{number}", float(segment["start"]), float(segment["end"]), "", "", str(segment["text"])
                )

    @cached_property
    def learnt(self) -> list[ClipRow]:
        """The rows of the training table that the adapter learnt from, which may have been changed since."""
        path, digest = PARTS["training"], self.dependency("train", PARTS["training"])
        content = self.read(path)
        if digest and (content is None or md5(content) != digest):
            content = self.outs.named(digest)
            if content is None:
                self.lacks(f"{path}: not as the adapter learnt it, and not in DVC's cache; `dvc repro` trains anew")
            elif self.read(path) is not None:
                self.lacks(f"{path}: has changed since the adapter learnt; `dvc repro` trains anew")
        elif content is None:
            self.lacks(f"{path}: not here; `dvc repro` makes it")
        return self._rows(content or b"", path, "training")

    @cached_property
    def learnt_ids(self) -> set[str]:
        return {row.id for row in self.learnt}

    def dependency(self, stage: str, path: str) -> str | None:
        """The MD5 of what a stage read, as dvc.lock has it."""
        matches = (dep for dep in mapping(self.lock.stages.get(stage)).get("deps", []) if dep.get("path") == path)
        return next((str(dep.get("md5")) for dep in matches), None)

    def params(self, stage: str, section: str) -> Entry:
        """As the stage last ran with them; as they stand in params.yaml where it never ran."""
        locked = mapping(mapping(mapping(self.lock.stages.get(stage)).get("params")).get("params.yaml"))
        return mapping(locked.get(section)) or mapping(
            mapping(dvc_lock.document(self.snapshot, "params.yaml")).get(section)
        )

    @cached_property
    def adapter_key(self) -> str | None:
        key = key_of_adapter(self.read, self.snapshot.list(ADAPTER) or self.outs.list(self.lock, ADAPTER))
        if key is None:
            self.lacks(f"{ADAPTER}: not here; {dvc_lock.way_to(ADAPTER, self.lock)}")
        return key

    @cached_property
    def id(self) -> str | None:
        """As other commands name the version: DVC's hash of its adapter."""
        return version_ids.of_outs(self.lock.outs)

    @cached_property
    def names(self) -> list[str]:
        """Of the adapter: other commands print its version's id, samples hold its key."""
        return [name for name in (self.id, self.adapter_key) if name]

    @cached_property
    def samples(self) -> dict[str, Entry]:
        names = self.snapshot.list(SAMPLES) or self.outs.list(self.lock, SAMPLES)
        if not names:
            self.lacks(f"{SAMPLES}: holds no samples; {dvc_lock.way_to(SAMPLES, self.lock)}")
        ids = sorted(PurePosixPath(name).stem for name in names if name.endswith(".json"))
        return {id: self.facts(f"{SAMPLES}/{id}.json") for id in ids}

    @cached_property
    def scores(self) -> dict[str, ScoreRow]:
        try:
            return {row.sample: row for row in score_rows.read(self.read(SCORES) or b"")}
        except DAMAGED:
            self.lacks(f"{SCORES}: is no table of scores; `dvc repro evaluate` makes it")
            return {}

    def prompt_line(self, prompt: str) -> str | None:
        text = (self.read(PROMPTS) or b"").decode(errors="replace")
        numbers = (number for number, row in enumerate(text.split("\n"), 1) if row.split("\t")[0] == prompt)
        number = next(numbers, None)
        return f"{PROMPTS}:{number}" if number else None

    @cached_property
    def recordings(self) -> dict[str, str]:
        """Id → speaker of all that are declared, and of those that are not and still lie in a table or data/raw."""
        speaker_of = {id: entry.get("speaker") for id, (entry, _) in self.entries.items()}
        for row in self.clips.values():
            speaker_of.setdefault(row.recording, row.speaker)
        for path in self.snapshot.list("data/raw"):
            if path.endswith(".json") and (id := PurePosixPath(path).stem) not in speaker_of:
                speaker_of[id] = mapping(self.facts(path).get("recording")).get("speaker")
        return {id: str(speaker) for id, speaker in speaker_of.items()}

    def files(self, recording: str) -> tuple[str, ...]:
        """Those that are the recording's own, and here."""
        kinds = ("raw/{}.flac", "clean/{}.flac", "drafts/{}.json", "segments/{}.jsonl")
        own = [f"data/{kind.format(recording)}" for kind in kinds]
        entry = self.entries.get(recording, ({}, 0))[0]
        named = [str(entry["file"])] if "file" in entry else []
        return tuple(path for path in named + own if self.snapshot.size(path) is not None)


def key_of_adapter(read: Callable[[str], bytes | None], paths: Iterable[str]) -> str | None:
    """The content key of its weights, by which samples name it; None where its files, at these paths, are not here."""
    names = adapter_files(path.removeprefix(f"{ADAPTER}/") for path in paths)
    contents = {name: read(f"{ADAPTER}/{name}") for name in names}
    if None in contents.values():
        return None
    return files_key((name, hashlib.sha256(content or b"").hexdigest()) for name, content in contents.items())


def _middle(line: TracedLine) -> float:
    return (line.start + line.end) / 2


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _address(value: object) -> str | None:
    text = _text(value)
    return text and redacted(text)
