"""Lines that are likely wrong, among those that changed or came: by their pace, and by what Whisper made of them.

A draft's words come with Whisper's probability. A word of which it was unsure and that stands as it wrote it deserves
an ear; so does a correction of a word of which it was sure. A line flagged `ok` was heard, and is left in peace there.
The label check hears each finished clip; what it says counts as long as the clip's text still holds the line.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

from timbre.diff.clips import unusual
from timbre.diff.lines import LineChange
from timbre.diff.report import Doubt
from timbre.project import pace
from timbre.versions.lenient_rows import FOLDER, TranscriptRow
from timbre.versions.tables import VersionTables

DRAFTS, LABELS = "data/drafts", "data/labels.jsonl"
UNSURE, SURE = 0.5, 0.95  # probabilities of a word
WRONG = 0.25  # of the characters of a clip, that Whisper hears otherwise
MOST = 50  # recordings whose drafts are read: a diff answers in seconds, also where each is in a remote
TOLD = 3  # words of a line


@dataclass(frozen=True)
class HeardLabel:
    """A clip as the label check heard it."""

    start: float
    end: float
    text: str  # as the comparison wants it
    heard: str
    cer: float
    numbers: str  # that are heard as others


@dataclass(frozen=True)
class DraftWord:
    start: float
    text: str  # as the comparison wants it
    said: str
    sure: float


def find(
    changes: Sequence[LineChange], added: Sequence[str], version: VersionTables, usual: Iterable[tuple[str, str]] = ()
) -> list[Doubt]:
    """The worst first. `added` are recordings of which every line is new; who makes a `usual` replacement means it."""
    meant = {token for old, _ in usual for token in _tokens(old)}
    touched: dict[str, list[tuple[TranscriptRow, str]]] = {
        name: [(row, "") for row in version.transcripts[_path(name)].rows] for name in added
    }
    for change in changes:
        touched.setdefault(change.recording, []).extend((row, change.old_text) for row in change.new)
    doubts, labels = [], _labels(version)
    for number, (name, lines) in enumerate(touched.items()):
        rows = version.transcripts[_path(name)].rows
        paces = [own for row in rows if not row.dropped and (own := _pace(row))]
        words = _words(name, version) if number < MOST else []
        for row, old in lines:
            if row.seconds <= 0 or row.dropped:
                continue
            if why := (*_reasons(row, old, paces, words, meant), *_misheard(row, labels.get(name, ()))):
                doubts.append(Doubt(name, _path(name), row, why))
    return sorted(doubts, key=lambda doubt: -len(doubt.why))


def _path(name: str) -> str:
    return f"{FOLDER}/{name}.tsv"


def _reasons(
    row: TranscriptRow, old: str, paces: Sequence[float], words: Sequence[DraftWord], meant: Container[str]
) -> Iterator[str]:
    if (own := _pace(row)) and (why := unusual(own, paces)):
        yield why
    if row.flag == "ok":
        return
    tokens, before = set(_tokens(row.text)), {token for token in _tokens(old) if token not in meant}
    spoken = words[bisect_left(words, row.start, key=_start) : bisect_left(words, row.end, key=_start)]
    unsure = [word for word in spoken if word.sure < UNSURE and word.text in tokens]
    if unsure:
        yield f"Whisper was unsure of {_named(unsure)}"
    overruled = [word for word in spoken if word.sure >= SURE and word.text in before - tokens]
    if overruled:
        yield f"Whisper was sure of {_named(overruled)}"


def _misheard(row: TranscriptRow, labels: Sequence[HeardLabel]) -> Iterator[str]:
    spoken = " ".join(_tokens(row.text))
    at_this = (x for x in labels if x.start < row.end and x.end > row.start and f" {spoken} " in f" {x.text} ")
    worst = max(at_this, key=lambda label: label.cer, default=None)
    if worst and worst.cer >= WRONG:
        yield f"in the clip Whisper heard “{worst.heard}”, {worst.cer:.0%} of it otherwise"
    elif worst and worst.numbers:
        yield f"in the clip Whisper heard “{worst.heard}”: another number, {worst.numbers}"


def _named(words: Sequence[DraftWord]) -> str:
    listed = ", ".join(f"“{word.said}” ({word.sure:.0%})" for word in words[:TOLD])
    return listed + (f" and {len(words) - TOLD} more" if len(words) > TOLD else "")


def _start(word: DraftWord) -> float:
    return word.start


def _pace(row: TranscriptRow) -> float | None:
    return pace.seconds_per_letter(row.seconds, row.text) if row.seconds > 0 and pace.letters(row.text) else None


def _tokens(text: str) -> list[str]:
    return re.findall(r"\w+(?:['’]\w+)*", text.casefold())


def _words(name: str, version: VersionTables) -> list[DraftWord]:
    """In the order of time; none where there is no draft, or none to be had."""
    content = version.outs.find(version.lock, f"{DRAFTS}/{name}.json")
    try:
        listed = [word for segment in json.loads(content or b"{}")["segments"] for word in segment["words"]]
        words = [
            DraftWord(float(w["start"]), "".join(_tokens(w["word"])), str(w["word"]).strip(), float(w["probability"]))
            for w in listed
        ]
    except (ValueError, KeyError, TypeError):
        return []
    return sorted(words, key=_start)


def _labels(version: VersionTables) -> dict[str, list[HeardLabel]]:
    """By recording; none where nobody has checked, or where the table is of another make."""
    by_recording: dict[str, list[HeardLabel]] = defaultdict(list)
    try:
        for line in (version.outs.find(version.lock, LABELS) or b"").splitlines():
            row = json.loads(line)
            about = float(row["start"]), float(row["end"]), " ".join(_tokens(row["text"]))
            numbers = str(row.get("numbers", ""))
            by_recording[str(row["recording"])].append(
                HeardLabel(*about, str(row["heard"]), float(row["cer"]), numbers)
            )
    except (ValueError, KeyError, TypeError):
        return {}
    return by_recording
