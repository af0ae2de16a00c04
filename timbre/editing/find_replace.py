"""Find and replace words in transcripts, and terms of the glossary that Whisper nearly heard.

Whole words only: `pier` is found in `the pier.` and not in `piers`, `pier-head` or `pier's`. A phrase is found across
any white space, a straight apostrophe also where a curly one is written. Only the text of lines is read and changed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from timbre.core.errors import DataError, TranscriptError, raise_all
from timbre.core.text import normalise
from timbre.editing import transcript_edits
from timbre.editing.owned_files import FileChange, content_of
from timbre.project.transcripts import Line, parse

_APOSTROPHES = "'\u2018\u2019\u02bc"
_HYPHENS = "-\u2010\u2011"
_LIKE = dict.fromkeys(_APOSTROPHES, f"[{_APOSTROPHES}]") | dict.fromkeys(_HYPHENS, f"[{_HYPHENS}]")
_TOKEN = re.compile(rf"[^\W_]+(?:[{_APOSTROPHES}{_HYPHENS}][^\W_]+)*")
FAR = 0.25  # share of a term's letters that a near miss may have wrong: one in four, two in eight
SHORTEST = 4  # letters; shorter terms are near to too many words


@dataclass(frozen=True)
class Search:
    """What to find and what to put in its place."""

    old: str
    new: str
    ignore_case: bool = False  # a capital that begins what was found then begins the new words too

    def __post_init__(self) -> None:
        if not self.old.split():
            raise DataError("there is nothing to find; give the words as they are written now")
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in self.old + self.new):
            raise DataError("tabs, line breaks and control characters cannot stand in a transcript's text")

    @property
    def pattern(self) -> re.Pattern[str]:
        spellings = {unicodedata.normalize(form, self.old) for form in ("NFC", "NFD")} | {self.old}
        phrases = (r"\s+".join(_pattern(word) for word in spelling.split()) for spelling in sorted(spellings))
        return re.compile("|".join(phrases), re.IGNORECASE if self.ignore_case else 0)


@dataclass(frozen=True)
class Hit:
    """A place in a line's text and what is to stand there."""

    start: int  # characters
    end: int
    new: str


@dataclass(frozen=True)
class Edit:
    """A line that changes."""

    number: int  # of the line in the file, as an editor counts
    before: Line
    after: Line
    hits: tuple[Hit, ...]

    def pieces(self) -> Iterator[tuple[str, str, str]]:
        """(unchanged, old, new) in order, the last with nothing to replace: what a preview shows."""
        at = 0
        for hit in self.hits:
            yield self.before.text[at : hit.start], self.before.text[hit.start : hit.end], hit.new
            at = hit.end
        yield self.before.text[at:], "", ""


@dataclass(frozen=True)
class ReplacePlan:
    """What a search changes in one transcript; `content` is what the plan was made from."""

    path: Path
    content: bytes
    edits: tuple[Edit, ...]
    after: bytes

    @property
    def change(self) -> FileChange:
        return FileChange(self.path, self.content, self.after)


def plan(paths: Sequence[Path], search: Search) -> list[ReplacePlan]:
    """A plan for each file that holds the words; every file is read and every change checked before any is written."""
    plans, problems = [], []
    for path in paths:
        try:
            plan_of_file = _plan(path, search)
        except DataError as error:
            problems += str(error).splitlines()
        else:
            plans += [plan_of_file] if plan_of_file.edits else []
    raise_all(TranscriptError, problems)
    return plans


def hits(text: str, search: Search) -> tuple[Hit, ...]:
    matches = (match for match in search.pattern.finditer(text) if _is_whole(text, *match.span()))
    return tuple(_hit(text, match, search) for match in matches)


def apply(text: str, hits: Iterable[Hit]) -> str:
    parts, at = [], 0
    for hit in hits:
        parts += [text[at : hit.start], hit.new]
        at = hit.end
    return "".join([*parts, text[at:]])


@dataclass(frozen=True)
class NearMiss:
    """Words that stand where a term of the glossary was probably said."""

    written: str
    term: str
    places: tuple[tuple[Path, int], ...]  # file and line


def near_misses(paths: Sequence[Path], terms: Sequence[str]) -> list[NearMiss]:
    """For each term what differs from it by few letters, or only by capitals and spaces; most frequent first."""
    from rapidfuzz.distance import Levenshtein

    places = _phrases(paths, {n for term in terms for n in range(1, len(_TOKEN.findall(term)) + 2)})
    letters = {written: _letters(written) for written in places}
    exact = {_letters(term) for term in terms}
    nearest: dict[str, tuple[int, str]] = {}
    for term in terms:
        own, count = _letters(term), len(_TOKEN.findall(term))
        most = int(len(own) * FAR) if len(own) >= SHORTEST else -1
        for written, spelt in letters.items():
            if len(written.split()) > count + 1 or (spelt in exact and spelt != own):
                continue
            distance = Levenshtein.distance(spelt, own, score_cutoff=max(most, 0))
            if distance <= most and distance < nearest.get(written, (most + 1, ""))[0]:
                nearest[written] = (distance, term)
    misses = [
        NearMiss(written, term, tuple(places[written]))
        for written, (distance, term) in nearest.items()
        if written not in terms and (distance == 0 or not _holds_nearer(written, term, nearest))
    ]
    return sorted(misses, key=lambda miss: (-len(miss.places), miss.term, miss.written))


def _plan(path: Path, search: Search) -> ReplacePlan:
    content = content_of(path)
    if content is None:
        raise TranscriptError(f"{path}: does not exist; `timbre accept` begins it from the draft")
    lines = parse(content, str(path)).lines
    changed, after, problems = [], [], []
    for number, line in zip(_numbers(content), lines, strict=True):
        hits_of_line = hits(line.text, search)
        new = replace(line, text=apply(line.text, hits_of_line)) if hits_of_line else line
        if new != line:
            changed.append(Edit(number, line, new, hits_of_line))
            if not normalise(new.text):
                problems.append(f"{path}:{number}: no words would be left; flag the line drop instead")
        after.append(new)
    raise_all(TranscriptError, problems)
    spliced = transcript_edits.splice(content, after, str(path)) if changed else content
    return ReplacePlan(path, content, tuple(changed), spliced)


def _numbers(content: bytes) -> Iterator[int]:
    """The lines of the file that are rows, counted from 1."""
    headed = False
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not raw.decode().strip() or (raw.startswith(b"#") and not headed):
            continue
        if headed:
            yield number
        headed = True


def _pattern(word: str) -> str:
    return "".join(_LIKE.get(character) or re.escape(character) for character in word)


def _is_whole(text: str, start: int, end: int) -> bool:
    return not (_goes_on(text[:start][::-1], text[start]) or _goes_on(text[end:], text[end - 1]))


def _goes_on(outside: str, edge: str) -> bool:
    """Whether the word that ends with `edge` goes on outside; accents written apart belong to the letter before."""
    if not outside:
        return False
    if _is_accent(outside[0]):
        return True
    if not (edge.isalnum() or _is_accent(edge)):
        return False
    joined = outside[0] in _APOSTROPHES + _HYPHENS and outside[1:2].isalnum()
    return outside[0].isalnum() or outside[0] == "_" or joined


def _is_accent(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def _hit(text: str, match: re.Match[str], search: Search) -> Hit:
    start, end = match.span()
    new = search.new
    if search.ignore_case and match[0][:1].isupper() and not search.old[:1].isupper():
        new = new[:1].upper() + new[1:]
    if not new:  # a word goes with one of its spaces
        if start and text[start - 1].isspace():
            start -= 1
        elif text[end : end + 1].isspace():
            end += 1
    return Hit(start, end, new)


def _phrases(paths: Sequence[Path], lengths: set[int]) -> dict[str, list[tuple[Path, int]]]:
    """Every run of as many words as asked for, as written, and where it stands."""
    places: dict[str, list[tuple[Path, int]]] = {}
    for path in paths:
        content = path.read_bytes()
        for number, line in zip(_numbers(content), parse(content, str(path)).lines, strict=True):
            tokens = list(_TOKEN.finditer(line.text))
            for length in sorted(lengths):
                for first, last in zip(tokens, tokens[length - 1 :], strict=False):
                    written = line.text[first.start() : last.end()]
                    # only white space between: `in Pen. Zance` is no phrase
                    if len(re.sub(r"\S", "", written)) == length - 1 == written.count(" "):
                        places.setdefault(written, []).append((path, number))
    return places


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", normalise(text).casefold())


def _holds_nearer(written: str, term: str, nearest: dict[str, tuple[int, str]]) -> bool:
    """`to Penzanse` is near Penzance, but only because `Penzanse` is."""
    words = written.split()
    runs = (" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1))
    return any(run != written and nearest.get(run, (0, ""))[1] == term for run in runs)
