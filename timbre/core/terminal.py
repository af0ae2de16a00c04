"""What reaches a terminal: no control character, colours only where they are wanted, and JSON that is ASCII.

Transcripts, YAML keys, file names and commits come from anybody, and a terminal obeys what stands between the letters.
`guard` puts one filter under every `print` of a stage or command, so that no caller has to remember.
"""

from __future__ import annotations

import io
import json
import os
import re
import reprlib
import sys
from typing import Any, TextIO

LONGEST = 2000  # characters of a line of an error; a name or value from outside may have a million
_STYLE = re.compile(r"(\x1b\[[0-9;]*m)")  # colour and weight, which are all that our own commands write
# C0 but tab and line feed, C1, what overrides the direction of text, and what is no character at all
_ACTS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")


def harmless(text: str) -> str:
    """Characters that act on a terminal as their numbers; tabs and line breaks stay."""
    return _ACTS.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


class GuardedOutput(io.TextIOWrapper):
    """A text stream that passes no character that acts on a terminal; `styles` lets colours through."""

    styles = False

    def write(self, text: str, /) -> int:
        safe = "".join(part if self.styles and number % 2 else harmless(part) for number, part in _parts(text))
        super().write(safe)
        return len(text)


def _parts(text: str) -> enumerate[str]:
    return enumerate(_STYLE.split(text))


def guard() -> None:
    """Filter this process's stdout from now on; a character that its encoding lacks is written as its number."""
    out = sys.stdout
    if out is not sys.__stdout__ or isinstance(out, GuardedOutput) or not isinstance(out, io.TextIOWrapper):
        return
    out.flush()
    guarded = GuardedOutput(
        out.buffer, out.encoding, "backslashreplace", line_buffering=out.line_buffering, write_through=out.write_through
    )
    guarded.styles = colours(out)
    sys.stdout = guarded
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")


def colours(stream: TextIO | None = None) -> bool:
    """Whether to write them: to a terminal that knows them, unless NO_COLOR is set (https://no-color.org)."""
    stream = stream or sys.stdout
    return bool(stream) and stream.isatty() and not os.environ.get("NO_COLOR") and capable()


def capable() -> bool:
    """Whether the terminal understands more than letters and line breaks."""
    return os.environ.get("TERM") != "dumb"


def print_json(value: Any, indent: int | None = 1) -> None:
    print(json.dumps(value, indent=indent))  # ASCII, so that nothing is lost to the filter or to the encoding


def short_repr(value: Any, most: int) -> str:
    """Of so many characters; `repr` of what YAML's aliases unfold to would never end."""
    limited = reprlib.Repr()
    limited.maxstring = limited.maxother = limited.maxlong = 2 * most
    limited.maxdict = limited.maxlist = 8
    return shortened(limited.repr(value), most)


def shortened(line: str, most: int = LONGEST) -> str:
    return line if len(line) <= most else f"{line[: most - 1]}…"
