"""Datasets and subtitles on their way in: what is wrong with them, what they would become, and then becoming it.

Both give an Arrival: finished checks, a few lines that say what it is, and `settle()`, which writes. Whoever only wants
to look does not call it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from timbre import audio
from timbre.core.errors import DataError, raise_all
from timbre.core.records import Recording
from timbre.editing.owned_files import FileChange, one_editor, write_all
from timbre.exchange import Options, Reader, Row, joined_recordings, placing, subtitles
from timbre.exchange.joined_recordings import JoinPlan
from timbre.exchange.placing import Item
from timbre.exchange.voices import ImportedVoices
from timbre.project import sources, speakers, transcripts
from timbre.project.speakers import Person
from timbre.project.transcripts import Draft, Line, Transcript

STAGING = Path(".timbre/import")  # finished and unfinished recordings of an import; safe to delete
MANY = 300e6  # bytes of sound, from which git is slow with them


@dataclass(frozen=True)
class ImportTerms:
    """What only a person can say."""

    name: str  # of the recording, or what the recordings' names begin with
    speaker: str | None
    entry: dict[str, str]  # language, licence and consent, as every entry will say


@dataclass(frozen=True)
class Arrival:
    lines: list[str]  # what it is and becomes
    ids: list[str]  # of the recordings
    settle: Callable[[], None] | None  # None: it is there already


def dataset(
    reader: Reader,
    path: Path,
    options: Options,
    terms: ImportTerms,
    skip_bad: bool = False,
    longest: float | None = None,
) -> Arrival:
    """`longest` is the length in seconds from which the chunk stage leaves a sentence out."""
    voices = ImportedVoices(terms.speaker)

    def rows() -> Iterator[Row]:
        return reader.rows(path, options)

    plan = joined_recordings.plan(rows, terms.name, voices.id_of)
    problems = [] if skip_bad else plan.problems
    if problems:
        problems = [*problems, f"nothing was imported; --skip-bad leaves these {len(problems)} rows out"]
    raise_all(DataError, [*problems, *voices.problems()])
    if not plan.books:
        raise DataError(f"{path}: holds no sentence that could be learnt from")
    placing.check_entry({"speaker": plan.books[0].speaker, **terms.entry})
    newcomers = placing.newcomers(voices.people(), terms.entry["consent"])
    lines = [
        *_described(path, plan, voices, longest),
        *_introduced(newcomers),
        *(f"  left out: {problem}" for problem in plan.problems),
    ]
    ids = [book.id for book in plan.books]
    if placing.taken(ids) == ids and all(placing.imported(book.id) == book.key for book in plan.books):
        return Arrival(lines, ids, None)
    folder = STAGING / plan.key
    items = [Item(b.id, b.speaker, folder / f"{b.id}.flac", folder / f"{b.id}.tsv") for b in plan.books]
    raise_all(DataError, placing.in_the_way(items))

    def settle() -> None:
        joined_recordings.bind(rows, plan, folder, path.name)
        placing.place(items, terms.entry, newcomers)
        shutil.rmtree(folder)

    return Arrival(lines, ids, settle)


def _described(path: Path, plan: JoinPlan, voices: ImportedVoices, longest: float | None) -> Iterator[str]:
    lengths = [line.end - line.start for line in plan.lines]
    rates = sorted({book.rate for book in plan.books})
    megabytes = sum(book.frames * 2 for book in plan.books) / 1e6 * 0.55  # FLAC takes about half of clean speech
    yield f"{path}: {len(lengths):,} sentences, {_minutes(sum(lengths))} of speech, {voices.shown()}"
    yield f"  from {min(lengths):.1f} to {max(lengths):.1f} s; {', '.join(f'{rate:,} Hz' for rate in rates)}"
    whole = sum(book.seconds() for book in plan.books)
    yield f"  become {_named([book.id for book in plan.books])} ({_minutes(whole)}), about {megabytes:,.0f} MB of FLAC"
    if megabytes * 1e6 > MANY:
        yield "  that is much for git; `dvc add data/recordings` keeps it where the rest of the sound is"
    if longest and (left_out := sum(length > longest for length in lengths)):
        yield f"  {left_out} are longer than the {longest:g} s that chunk.max_seconds leaves, and will be in no clip"


def captions(
    path: Path, terms: ImportTerms, recording: str | None, sound: Path | None, options: Options, trim: bool
) -> Arrival:
    """Subtitles of a declared recording, or of a file of sound that becomes one."""
    cues, draft = subtitles.read(path, options.encoding, trim), subtitles.is_draft(path)
    voices = ImportedVoices(terms.speaker)
    if options.speaker_column == "":
        cues = [subtitles.Cue(c.line, c.start, c.end, c.text) for c in cues]
    who = [voices.id_of(cue.voice) for cue in cues]
    raise_all(DataError, voices.problems())
    staged = STAGING / terms.name
    if recording:
        facts = _declared(recording)
    else:
        assert sound
        facts = _measured(sound, staged, terms, voices.most())
    raise_all(DataError, (_beyond(path, cue, facts) for cue in cues if cue.start >= facts.seconds))
    lines = _drafted(cues, facts) if draft else tuple(map(partial(_line, facts), cues, who))
    comments = (f"# audio: {facts.sha256}", f"# from: {path.name}")
    content = transcripts.render(Transcript(lines, comments), str(path))
    transcripts.parse(content, str(path), facts.seconds)
    there = placing.TRANSCRIPTS / f"{facts.id}.tsv"
    newcomers = placing.newcomers(voices.people(), terms.entry["consent"])
    described = [*_told(path, lines, facts, draft, voices), *_introduced(newcomers)]
    if there.exists() and there.read_bytes() == content and (recording or placing.taken([facts.id])):
        return Arrival(described, [facts.id], None)
    if recording:
        if there.exists():
            raise DataError(f"{there}: is there already, and yours; remove it first, or edit it")
        return Arrival(described, [facts.id], lambda: _written(there, content, newcomers))
    item = Item(facts.id, facts.speaker, staged / Path(facts.origin).name, staged / there.name)
    raise_all(DataError, placing.in_the_way([item]))

    def settle() -> None:
        assert sound
        staged.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sound, item.audio)  # as it is: a video's or m4a's sound would be many times as large in FLAC
        item.transcript.write_bytes(content)
        placing.place([item], terms.entry, newcomers)
        shutil.rmtree(staged)

    return Arrival(described, [facts.id], settle)


def _drafted(cues: Sequence[subtitles.Cue], facts: Recording) -> tuple[Line, ...]:
    spoken = tuple((cue.start, cue.end, cue.text) for cue in cues)
    return transcripts.seed_from_draft(Draft(facts.sha256, spoken), facts).lines


def _declared(name: str) -> Recording:
    declared = {source.id: source for source in sources.read(sources.PATH)}
    if name not in declared:
        raise DataError(f"{name}: no such recording in {sources.PATH}; there are {', '.join(declared)}")
    return sources.recordings([declared[name]], Path("data/raw"))[0]


def _measured(sound: Path, staged: Path, terms: ImportTerms, speaker: str) -> Recording:
    """The recording that the file will be, as the fetch stage will hear it."""
    if not sound.is_file():
        raise DataError(f"{sound}: " + ("is a folder" if sound.is_dir() else "does not exist"))
    staged.mkdir(parents=True, exist_ok=True)
    facts = audio.to_flac(sound, staged / "heard.flac", name=str(sound))
    (staged / "heard.flac").unlink()
    placing.check_entry({"speaker": speaker, **terms.entry})
    suffix = sound.suffix.lower() if re.fullmatch(r"\.[A-Za-z0-9]{1,5}", sound.suffix) else ".audio"
    origin = (sources.RECORDINGS / f"{terms.name}{suffix}").as_posix()
    seconds = round(facts.seconds, 3)
    return Recording(terms.name, speaker, **terms.entry, origin=origin, sha256=facts.sha256,
                     sample_rate=facts.sample_rate, seconds=seconds)  # fmt: skip


def _written(transcript: Path, content: bytes, newcomers: Sequence[Person]) -> None:
    with one_editor():
        write_all([*placing.introduced(newcomers), FileChange(transcript, None, content)])


def _line(facts: Recording, cue: subtitles.Cue, speaker: str) -> Line:
    end = min(round(cue.end, 2), int(facts.seconds * 100) / 100)  # editors let the last one stay on the screen
    return Line(round(cue.start, 2), end, speaker, "ok" if cue.spoken else "drop", cue.text)


def _beyond(path: Path, cue: subtitles.Cue, facts: Recording) -> str:
    return f"{path}:{cue.line}: begins at {cue.start:.2f} s, and {facts.id} ends at {facts.seconds:.2f} s"


def _told(path: Path, lines: Sequence[Line], facts: Recording, draft: bool, voices: ImportedVoices) -> Iterator[str]:
    seconds = sum(line.end - line.start for line in lines)
    yield f"{path}: {len(lines):,} lines, {_minutes(seconds)} of speech in {_minutes(facts.seconds)}, {voices.shown()}"
    if noises := sum(line.flag == "drop" for line in lines):
        yield f"  {noises} of them only tell a sound, such as [music], and are flagged drop"
    review = "not heard by a person yet: no line is flagged ok" if draft else "flagged ok"
    yield f"  become {placing.TRANSCRIPTS / facts.id}.tsv, {review}"


def _introduced(newcomers: Sequence[Person]) -> Iterator[str]:
    if newcomers:
        yield f"  {', '.join(person.id for person in newcomers)}: new in {speakers.PATH}, --consent is their consent"


def _named(ids: Sequence[str]) -> str:
    return ids[0] if len(ids) == 1 else f"{len(ids)} recordings, {ids[0]} … {ids[-1]}"


def _minutes(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{seconds / 60:.1f} min"
