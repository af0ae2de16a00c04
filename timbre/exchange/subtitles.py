"""SubRip, WebVTT and Whisper's JSON as what they are: the transcript of one recording, with times.

1                                   WEBVTT
00:00:01,000 --> 00:00:03,500       00:01.000 --> 00:03.500 align:start
The tide comes in.                  <v Ann>The <i>tide</i> comes in.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path

from timbre.core.errors import DataError, raise_all
from timbre.exchange import plain, text_of

SUFFIXES = (".srt", ".vtt", ".json")
LOOKS = "subtitles"
ROUNDING = 0.05  # seconds that a cue may reach into the next: subtitle editors round to frames
_CLOCK = r"(?:(\d+):)?([0-5]?\d):([0-5]?\d)[.,](\d{1,3})"
_TIMES = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}(?:\s.*)?", re.ASCII)
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
_MARKUP = re.compile(r"</?[A-Za-z0-9][^<>]*>|\{\\[^}]*\}")  # <i>, <c.red>, <00:01.500>, {\an8}; not 3 < 4
_NOISE = re.compile(r"(?:\[[^]]*\]|\([^)]*\)|[♪♫\s])+")  # [music], (applause): told, not spoken


@dataclass(frozen=True)
class Cue:
    line: int  # of the file, where its times stand
    start: float  # seconds
    end: float
    text: str
    voice: str = ""

    @property
    def spoken(self) -> bool:
        return not _NOISE.fullmatch(self.text)


def fits(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIXES


def is_draft(path: Path) -> bool:
    """Whether a machine's opinion is in it: Whisper's times may overlap, and nobody has heard its words."""
    return path.suffix.lower() == ".json"


def read(path: Path, encoding: str = "utf-8", trim: bool = False) -> list[Cue]:
    """The cues with text, in order; one error with a line for all that is wrong. `trim` ends a cue at the next one."""
    text = text_of(path, encoding)
    if is_draft(path):
        return _whisper(path, text)
    cues: list[Cue] = []
    problems: list[str] = []
    for cue in _cues(text, path.suffix.lower() == ".vtt"):
        if isinstance(cue, int):
            problems.append(f"{path}:{cue}: is not a time such as 00:01:02,500 --> 00:01:04,000")
            continue
        last = cues[-1] if cues else None
        if cue.end <= cue.start:
            problems.append(f"{path}:{cue.line}: ends at {cue.end:.2f} s, not after its start at {cue.start:.2f}")
        elif last and cue.start < last.start:
            problems.append(
                f"{path}:{cue.line}: begins at {cue.start:.2f} s, before line {last.line} ({last.start:.2f})"
            )
        elif last and cue.start < last.end - (10_000 if trim else ROUNDING):
            problems.append(
                f"{path}:{cue.line}: begins at {cue.start:.2f} s, and line {last.line} lasts until {last.end:.2f}; "
                "mend it, or --trim-overlaps"
            )
        elif cue.text:
            cues.append(cue)
    if not cues and not problems:
        problems.append(f"{path}: holds no subtitles")
    raise_all(DataError, problems)
    ends = [following.start for following in cues[1:]] + [float("inf")]
    met = [Cue(c.line, c.start, min(c.end, end), c.text, c.voice) for c, end in zip(cues, ends, strict=True)]
    raise_all(DataError, (f"{path}:{c.line}: begins with the next cue" for c in met if c.end <= c.start))
    return met


def _cues(text: str, vtt: bool) -> Iterator[Cue | int]:
    """Every line of times with the text below it; the line's number where the times cannot be read."""
    rows = text.split("\n")
    heads = [index for index, row in enumerate(rows) if "-->" in row]
    for head, following in pairwise([*heads, len(rows) + 1]):
        body = rows[head + 1 : following]
        if vtt:  # a blank line ends it; what comes then is a note, a style or the next one's name
            body = list(takewhile(str.strip, body))
        elif following <= len(rows):  # SubRip: only the number of the next one stands between
            body = body[:-1] if body and body[-1].strip().isdecimal() else body
        yield _cue(head + 1, rows[head], body)


def _cue(line: int, times: str, rows: list[str]) -> Cue | int:
    match = _TIMES.fullmatch(times)
    if not match:
        return line
    start, end = (_seconds(*match.groups()[i : i + 4]) for i in (0, 4))
    body = " ".join(rows)
    voice = _VOICE.search(body)
    # tags first, then entities: &lt;i&gt; is text that looks like a tag
    return Cue(line, start, end, plain(html.unescape(_MARKUP.sub("", body))), plain(voice[1]) if voice else "")


def _seconds(hours: str | None, minutes: str, seconds: str, part: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + float(f"{seconds}.{part}")


def _whisper(path: Path, text: str) -> list[Cue]:
    try:
        segments = [(float(s["start"]), float(s["end"]), str(s["text"])) for s in json.loads(text)["segments"]]
        "".join(said for _, _, said in segments).encode()  # JSON may hold half a character, which no file can
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is not Whisper's JSON: expected segments with start, end and text") from error
    cues = [Cue(number, start, end, plain(said)) for number, (start, end, said) in enumerate(segments, 1)]
    if not any(cue.text for cue in cues):
        raise DataError(f"{path}: holds no words")
    return cues
