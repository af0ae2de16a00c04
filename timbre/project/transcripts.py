"""data/transcripts/<id>.tsv: what people say is spoken. They own these files; machines only seed them when asked.

    # audio: 9f1c…                       what the file was written for; comment lines stand on top and are kept
    # draft: 77ab…
    start   end     speaker  flag  text            (separated by tabs)
    0.40    3.15    ann            The tide comes in.
    3.90    6.02    ann      ok    The boats go out.

Times are seconds with two decimals. `flag` is empty, `ok` (heard, and right) or `drop` (leave the line out). Git shows
an edited word as one changed line. `read` reports every bad line at once, `checked_content` gives what can be read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from statistics import fmean
from typing import Any

from timbre.core.content import content_key
from timbre.core.errors import DataError, TranscriptError, raise_all
from timbre.core.records import Recording, check_id
from timbre.core.text import ends_sentence, normalise

COLUMNS = ("start", "end", "speaker", "flag", "text")
FLAGS = ("", "ok", "drop")
FEW_WORDS = 4  # of a line, below which their mean probability tells little
MARKER = "a git conflict marker; keep one of the two versions and remove the markers"
_SECONDS = re.compile(r"\d{1,7}(\.\d+)?", re.ASCII)
CONFLICT = re.compile(r"(<<<<<<<|\|\|\|\|\|\|\||>>>>>>>)( |$)|=======$")


def is_transcript(name: str) -> bool:
    """By its file name: what an editor keeps beside a file (`.noon.tsv.swp`, `.#noon.tsv`, `noon.tsv~`) is none."""
    return name.endswith(".tsv") and not name.startswith((".", "#"))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.tsv") if is_transcript(path.name))


@dataclass(frozen=True)
class Line:
    start: float  # seconds in the recording
    end: float
    speaker: str
    flag: str  # "", "ok" or "drop"
    text: str
    confidence: float | None = field(default=None, compare=False)  # Whisper's in a draft's words; in no file


@dataclass(frozen=True)
class Transcript:
    lines: tuple[Line, ...]
    comments: tuple[str, ...] = ()  # as in the file, with their `#`
    newline: str = "\n"  # an editor's CRLF is kept, so that a save touches only the lines that changed

    @property
    def audio(self) -> str | None:
        """SHA-256 of the samples that it was written for."""
        return self._comment("audio")

    @property
    def draft(self) -> str | None:
        return self._comment("draft")

    @property
    def speakers(self) -> tuple[str, ...]:
        """Whoever has a line that is to be learnt, each once."""
        return tuple(dict.fromkeys(line.speaker for line in self.lines if line.flag != "drop"))

    def _comment(self, name: str) -> str | None:
        matches = (re.fullmatch(rf"#\s*{name}:\s*(\S+)\s*", comment) for comment in self.comments)
        return next((match[1] for match in matches if match), None)


def read(path: Path, seconds: float | None = None) -> Transcript:
    """`seconds` is the recording's length, where it is known: no line may lie beyond it."""
    try:
        return parse(path.read_bytes(), str(path), seconds)
    except OSError as error:
        raise TranscriptError(f"{path}: cannot be read ({error.strerror})") from error


def checked_content(transcript: Transcript, path: Path) -> bytes:
    """The content of the file at `path`; TranscriptError where it could not be read back."""
    content = render(transcript, str(path))
    parse(content, str(path))
    return content


def render(transcript: Transcript, name: str = "transcript") -> bytes:
    rows = ["\t".join((f"{x.start:.2f}", f"{x.end:.2f}", x.speaker, x.flag, x.text)) for x in transcript.lines]
    lines = [*transcript.comments, "\t".join(COLUMNS), *rows]
    raise_all(
        TranscriptError,
        (
            f"{name}:{number}: a line break or tab cannot be kept inside a field"
            for number, line in enumerate(lines, 1)
            if "\n" in line or "\r" in line or (number > len(transcript.comments) and line.count("\t") != 4)
        ),
    )
    try:
        return "".join(line + transcript.newline for line in lines).encode()
    except UnicodeEncodeError as error:
        raise TranscriptError(f"{name}: {error.object[error.start]!r} is not a character") from error


def parse(content: bytes, name: str, seconds: float | None = None, *, overlaps: bool = False) -> Transcript:
    """The transcript in `content`, or one error with a line for everything that is wrong in it.

    `overlaps` lets lines pass that begin before the one above has ended: for whoever is going to mend them.
    """
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise TranscriptError(f"{name}: is UTF-16; save it as UTF-8")
    content = content.removeprefix(b"\xef\xbb\xbf")
    newline = "\r\n" if b"\r\n" in content else "\n"
    problems: list[str] = []
    comments: list[str] = []
    lines: list[Line] = []
    headed = False
    # by bytes and only at "\n": str.splitlines would also break a text at U+2028
    for number, raw in enumerate(content.split(b"\n"), 1):
        row, problem = _decode(raw.removesuffix(b"\r"))
        if problem or not row.strip():
            pass
        elif CONFLICT.match(row):
            problem = MARKER
        elif row.startswith("#"):
            if headed:
                problem = "a comment; they stand above the header line"
            else:
                comments.append(row)
        elif not headed:
            headed = True
            if row.split("\t") != list(COLUMNS):
                problem = "expected the header line " + "<tab>".join(COLUMNS)
        else:
            line, problem = _line(row, lines[-1] if lines and not overlaps else None, seconds)
            lines += [line] if line and line.end > line.start else []  # the next is not measured by a reversed one
        if problem:
            problems.append(f"{name}:{number}: {problem}")
    if not headed and not problems:
        problems.append(f"{name}: is empty; expected the header line " + "<tab>".join(COLUMNS))
    raise_all(TranscriptError, problems)
    return Transcript(tuple(lines), tuple(comments), newline)


def readable_lines(content: bytes) -> tuple[Line, ...]:
    """Every line whose times can be read, in a file that may hold mistakes."""
    rows = (_decode(raw.removesuffix(b"\r"))[0] for raw in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"))
    lines = (_line(row, None, None)[0] for row in rows if row.count("\t") == len(COLUMNS) - 1)
    return tuple(line for line in lines if line)


def _decode(raw: bytes) -> tuple[str, str]:
    try:
        return raw.decode(), ""
    except UnicodeDecodeError as error:
        return "", f"byte {error.start + 1} (0x{raw[error.start]:02x}) is not UTF-8; save the file as UTF-8"


def _line(row: str, above: Line | None, seconds: float | None) -> tuple[Line | None, str]:
    """The line, where its times can be read, and what is wrong with it."""
    line, problem = read_row(row)
    return line, problem or "; ".join(_mistakes(line, above, seconds) if line else ())


def read_row(row: str) -> tuple[Line | None, str]:
    """A row as a line, or None and why it is none; what the line says is not judged."""
    fields = row.split("\t")
    if len(fields) < len(COLUMNS):
        return None, f"{len(fields)} fields instead of 5; fields are separated by a tab, also where one is empty"
    if len(fields) > len(COLUMNS):
        return None, f"{len(fields)} fields instead of 5; a tab in the text?"
    for name, value in zip(("start", "end"), fields, strict=False):
        if not _SECONDS.fullmatch(value.strip()):
            return None, f"{name} {value!r} is not a number of seconds such as 12.40"
    start, end = (round(float(field.strip()), 2) for field in fields[:2])
    return Line(start, end, fields[2], fields[3], fields[4]), ""


def _mistakes(line: Line, above: Line | None, seconds: float | None) -> Iterator[str]:
    if line.end < line.start:
        yield f"end {line.end:.2f} is before start {line.start:.2f}"
    elif line.end == line.start:
        yield f"end {line.end:.2f} is not after start {line.start:.2f}"
    elif above and line.start < above.end:
        yield f"start {line.start:.2f} is before {above.end:.2f}, where the line above ends"
    if seconds is not None and max(line.start, line.end) > seconds + 0.01:  # one rounding of two decimals
        yield f"end {max(line.start, line.end):.2f} is beyond the recording, which has {seconds:.2f} s"
    if line.flag not in FLAGS:
        yield f"flag {line.flag!r} is none of: empty, ok, drop"
    try:
        check_id(line.speaker)
    except DataError as error:
        yield f"speaker {error}"
    if not normalise(line.text):
        yield "there is no text; remove the line, or write what is said and flag it drop"


@dataclass(frozen=True)
class Draft:
    """What `segment` and a new transcript need of data/drafts/<id>.json."""

    audio: str  # SHA-256 of the samples that Whisper heard
    lines: tuple[tuple[float, float, str], ...]  # start, end, text
    confidences: tuple[float | None, ...] = ()  # mean probability of each line's words
    sure: float | None = None  # mean probability of all words

    @property
    def key(self) -> str:
        return content_key(self.lines)


def read_draft(path: Path) -> Draft:
    try:
        values = json.loads(path.read_bytes())
        lines = tuple((float(s["start"]), float(s["end"]), str(s["text"])) for s in values["segments"])
        confidences = tuple(_confidences(values["segments"], str(values.get("language") or "en")))
        return Draft(str(values["audio_sha256"]), lines, confidences, sureness(values["segments"]))
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); `dvc repro transcribe` makes it, unless the "
            "recording has `draft: false` in data/sources.yaml"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a draft: {error!r}; remove the file and run `dvc repro`") from error


def sureness(segments: Sequence[dict[str, Any]]) -> float | None:
    """Mean probability of the words of a draft; None where it has none."""
    probabilities = [float(word["probability"]) for segment in segments for word in segment.get("words", [])]
    return fmean(probabilities) if probabilities else None


def _confidences(segments: Sequence[dict[str, Any]], language: str) -> Iterator[float | None]:
    """Of each line's words. A few tell little: a part of a sentence that has no more goes by its neighbours, too."""
    texts = [str(segment["text"]) for segment in segments]
    words = [[float(word["probability"]) for word in segment.get("words", [])] for segment in segments]
    for place, own in enumerate(words):
        together = list(own)
        for first in (place - 1, place) if 0 < len(own) < FEW_WORDS else ():
            if 0 <= first < len(words) - 1 and not ends_sentence(texts[first], texts[first + 1], language):
                together += words[first if first < place else first + 1]
        yield round(fmean(together), 3) if together else None


def seed(path: Path, recording: Recording) -> Transcript:
    """What a transcript begins with: the draft at `path`, which must be of this recording's audio."""
    draft = read_draft(path)
    if draft.audio != recording.sha256:
        raise DataError(f"{recording.id}: the draft was made from other audio; run `dvc repro transcribe` first")
    return seed_from_draft(draft, recording)


def seed_from_draft(draft: Draft, recording: Recording) -> Transcript:
    """The draft as a transcript that can be edited: every word kept, times made to follow each other.

    Whisper's lines may overlap, have no length or run over the end of the recording; the words of a line that is left
    without time go to its neighbour.
    """
    lines: list[Line] = []
    waiting = ""  # words that have no line yet
    for (start, end, text), confidence in zip_longest(draft.lines, draft.confidences):
        start = max(round(start, 2), lines[-1].end if lines else 0.0)
        end = min(round(end, 2), int(recording.seconds * 100) / 100)
        text = normalise(f"{waiting} {text}")
        waiting = ""
        if end > start and text:
            lines.append(Line(start, end, recording.speaker, "", text, confidence))
        elif text and lines:
            lines[-1] = replace(lines[-1], text=f"{lines[-1].text} {text}")
        else:
            waiting = text
    if waiting:
        lines = [Line(0.0, max(round(recording.seconds, 2), 0.01), recording.speaker, "", waiting)]
    return Transcript(tuple(lines), (f"# audio: {draft.audio}", f"# draft: {draft.key}"))
