"""Many short files become a few long recordings, as the rest of Timbre knows them, each with its transcript.

A dataset of 13,100 clips would be 13,100 entries in data/sources.yaml, files in git and pages to review. So the clips
of a speaker are joined, in the dataset's order, to *books* of at most 20 minutes: `<name>-001`, `<name>-002`, … Each
sentence begins at an exact sample and at a hundredth of a second, which is what a transcript can say, after at least a
second of pure silence: the chunk stage may put neighbours into one clip and never cuts a word. Samples stay as they
are, at their own rate (one channel, 16 bits), so speakers and rates have books of their own.

`plan` hears the whole dataset once and finds everything that is wrong; `bind` writes the books to a folder of its own,
where a run that was stopped goes on. Both hold one clip in memory at a time. Putting the books in their place is
shelf.py's.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from timbre import audio
from timbre.core.content import content_key, write_atomic
from timbre.core.errors import DataError
from timbre.exchange import ImportedUtterance, Row
from timbre.project import transcripts
from timbre.project.transcripts import Line, Transcript

VERSION = 1  # raise when the same dataset becomes other books
LONGEST = 20 * 60  # seconds of a book: a morning's review, and in FLAC below the 100 MB that git hosts take
SILENCE = 1.0  # seconds before each sentence and after the last, at least
LONGEST_CLIP = 10 * 60  # seconds: longer is a recording, and no sentence

Rows = Callable[[], Iterator[Row]]
"""The dataset from its beginning, as often as it is asked for."""


@dataclass
class Book:
    id: str
    speaker: str
    rate: int  # Hz
    lines: list[Line] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)  # frame behind each sentence, without the silence
    frames: int = 0  # up to where the silence behind the last sentence begins
    digest: str = ""  # of all sentences' sound

    def next_start(self) -> int:
        """Frame of the next sentence: after the silence, on a hundredth of a second and on a sample."""
        grid = self.rate // math.gcd(self.rate, 100)  # frames; both fall together there
        return math.ceil((self.frames + SILENCE * self.rate) / grid) * grid

    def seconds(self) -> float:
        return self.frames / self.rate + SILENCE

    def add(self, text: str, frames: int, digest: str) -> None:
        start = self.next_start()
        self.frames = start + frames
        self.ends.append(self.frames)
        # the end is rounded up, into the silence: no line cuts its own last word
        end = math.ceil(self.frames * 100 / self.rate) / 100
        self.lines.append(Line(round(start * 100 / self.rate) / 100, end, self.speaker, "ok", text))
        self.digest = content_key(self.digest, digest)

    @property
    def key(self) -> str:
        spoken = [(line.start, line.end, line.text) for line in self.lines]
        return content_key(VERSION, self.speaker, self.rate, spoken, self.digest)


@dataclass
class JoinPlan:
    books: list[Book] = field(default_factory=list)
    placed: list[int | None] = field(default_factory=list)  # per row: its book's index; None for a row with a problem
    problems: list[str] = field(default_factory=list)
    voices: Counter[str] = field(default_factory=Counter)  # as the dataset names them

    @property
    def lines(self) -> list[Line]:
        return [line for book in self.books for line in book.lines]

    @property
    def key(self) -> str:
        return content_key([(book.id, book.key) for book in self.books])


def plan(rows: Rows, name: str, speaker_of: Callable[[str], str]) -> JoinPlan:
    """Where every sentence will stand; `speaker_of` turns the dataset's name of a voice into ours."""
    with tempfile.TemporaryDirectory() as scratch:
        return _plan(rows, name, speaker_of, Path(scratch))


def _plan(rows: Rows, name: str, speaker_of: Callable[[str], str], scratch: Path) -> JoinPlan:
    plan = JoinPlan()
    unfinished: dict[tuple[str, int], int] = {}  # speaker and rate → index of the book that still takes sentences
    first_of: dict[str, str] = {}  # digest of a sound → where it was first
    for row in tqdm(rows(), desc="check", unit="sentence", dynamic_ncols=True):
        try:
            if isinstance(row, DataError):
                raise row
            if any("\ud800" <= character <= "\udfff" for character in row.text + row.voice):  # JSON can say that
                raise DataError(f"{row.where}: holds half of a character")
            pcm, rate = sound(row, scratch)
            digest = hashlib.sha256(b"%d:" % rate + pcm.astype("<i2").tobytes()).hexdigest()
            if first := first_of.get(digest):
                raise DataError(f"{row.where}: is the same sound as {first}")
            speaker = speaker_of(row.voice)
        except DataError as error:
            plan.problems += str(error).splitlines()
            plan.placed.append(None)
            continue
        first_of[digest] = row.where
        plan.voices[row.voice] += 1
        index = unfinished.get((speaker, rate))
        if index is None or plan.books[index].seconds() + SILENCE + len(pcm) / rate > LONGEST:
            index = unfinished[speaker, rate] = len(plan.books)
            plan.books.append(Book(f"{name}-{index + 1:03}", speaker, rate))
        plan.books[index].add(row.text, len(pcm), digest)
        plan.placed.append(index)
    return plan


def sound(row: ImportedUtterance, scratch: Path) -> tuple[audio.Pcm, int]:
    """The clip's samples as a recording keeps them, and their rate; AudioError where nobody could learn from it."""
    scratch.mkdir(parents=True, exist_ok=True)
    path, converted = row.audio, scratch / "clip.flac"
    if isinstance(path, bytes):
        path = scratch / "clip"
        path.write_bytes(row.audio)  # type: ignore[arg-type]
    try:
        seconds = soundfile.info(path).duration
    except soundfile.LibsndfileError:
        audio.to_flac(path, converted, name=row.where, max_seconds=LONGEST_CLIP)
        path = converted
        seconds = soundfile.info(path).duration
    if seconds > LONGEST_CLIP:
        raise DataError(f"{row.where}: lasts {seconds / 60:.0f} min; it is a recording: `timbre add` it, or import SRT")
    return _checked(path, row.where)


def _checked(path: Path, where: str) -> tuple[audio.Pcm, int]:
    try:
        samples, rate = audio.read(path)
    except DataError as error:
        raise DataError(str(error).replace(str(path), where, 1)) from error
    if rate < audio.MIN_RATE:
        raise DataError(f"{where}: has {rate} Hz, too narrow for a voice; {audio.MIN_RATE} Hz is the least")
    if not np.isfinite(samples).all():
        raise DataError(f"{where}: holds samples that are no numbers")
    if audio.is_silent(samples):
        raise DataError(f"{where}: is silent, its loudest sample has {audio.decibels(audio.peak(samples)):.0f} dBFS")
    return audio.to_pcm(samples), rate


def bind(rows: Rows, plan: JoinPlan, folder: Path, comment: str) -> None:
    """Every book as <id>.flac and <id>.tsv in the folder; those that are there from an earlier run stay.

    Rows of many speakers come mixed, so the samples of unfinished books wait in files, not in memory.
    """
    finished = [(folder / f"{book.id}.flac").exists() for book in plan.books]
    for waiting in folder.glob("*.pcm"):
        waiting.unlink()
    left = Counter(index for index in plan.placed if index is not None)
    written: Counter[int] = Counter()  # sentences per book
    with tqdm(total=len(plan.placed), desc="import", unit="sentence", dynamic_ncols=True) as bar:
        for row, index in zip(rows(), plan.placed, strict=True):
            bar.update()
            if index is None or finished[index]:
                continue
            if isinstance(row, DataError):
                raise row
            book = plan.books[index]
            _append(folder / f"{book.id}.pcm", book, written[index], row, folder)
            written[index] += 1
            if written[index] == left[index]:
                _close(folder, book, comment)


def _append(spool: Path, book: Book, number: int, row: ImportedUtterance, scratch: Path) -> None:
    pcm, rate = sound(row, scratch)
    start = round(book.lines[number].start * book.rate)
    if (rate, start + len(pcm)) != (book.rate, book.ends[number]):
        raise DataError(f"{row.where}: changed while it was imported; run this again")
    with spool.open("ab") as stream:
        stream.write(bytes(2 * start - stream.tell()))  # silence
        stream.write(pcm.astype("<i2").tobytes())


def _close(folder: Path, book: Book, comment: str) -> None:
    """The book's files; the sound comes last, so that its being there says the book is whole."""
    spool, part = folder / f"{book.id}.pcm", folder / f"{book.id}.part.flac"
    with spool.open("ab") as stream:
        stream.write(bytes(2 * round(SILENCE * book.rate)))
    digest = hashlib.sha256()
    with spool.open("rb") as stream, soundfile.SoundFile(part, "w", book.rate, 1, "PCM_16", format="FLAC") as output:
        for block in iter(lambda: stream.read(2 * audio.BLOCK), b""):
            digest.update(block)
            output.write(np.frombuffer(block, "<i2"))
    comments = (f"# audio: {digest.hexdigest()}", f"# imported: {book.key}", f"# from: {comment}")
    write_atomic(folder / f"{book.id}.tsv", transcripts.render(Transcript(tuple(book.lines), comments), book.id))
    part.replace(folder / f"{book.id}.flac")
    spool.unlink()
