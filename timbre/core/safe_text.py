"""Text from outside, made safe to show: no mark-up, no control character, no turned direction, no password.

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
import unicodedata
from typing import Any, TextIO

LONGEST = 2000  # characters of a line of an error; a name or value from outside may have a million
_STYLE = re.compile(r"(\x1b\[[0-9;]*m)")  # colour and weight, which are all that our own commands write
# C0 but tab and line feed, C1, what overrides the direction of text, and what is no character at all
_ACTS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")
_MARKDOWN = re.compile(r"[&<>\\`*_~|\[\]!$^{}]")
_RINGS = re.compile(r"(?<=[@#])(?=\w)|(?<=:)(?=//|\w+:)|(?<=www)(?=\.)|(?<=GH-)(?=\d)", re.IGNORECASE)
# user and password end at the last @ before the host; a password may hold a slash, or a second @
# the bounds keep a hostile text of 100,000 characters from taking minutes
_ADDRESS = re.compile(
    r"(?<![\w+.-])(\w[\w+.-]{0,40}://)(?:[^\s/?#'\"]{0,4000}@|[^\s/?#'\":]{0,200}:[^\s'\"]{0,4000}@(?=[\w\[]))"
)
_SECRET_WORDS = "password|passwd|pwd|secret|token|signature|key|credential"
_SECRETS = re.compile(rf"([?&;][\w-]{{0,40}}(?:{_SECRET_WORDS})[\w-]{{0,40}}=)[^&;\s'\"]+", re.IGNORECASE)
_BREAK = "&#8203;"  # a space of no width: GitHub links names, numbers and addresses also where marks are escaped


def visible(text: str) -> str:
    """No character that does something: control and direction characters become their numbers."""
    if text.isprintable():  # as most text is, and a report has a million characters
        return text
    return "".join(_seen(character) for character in text)


def _seen(character: str) -> str:
    if character in "\n\t\r":
        return " "
    hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and character not in "\u200c\u200d"
    return f"⟨U+{ord(character):04X}⟩" if hidden else character


def redacted(text: str) -> str:
    """Without the user names, passwords and tokens that addresses in the text may hold."""
    return _SECRETS.sub(r"\1***", _ADDRESS.sub(r"\1", text))


def turns(text: str) -> bool:
    return not text.isascii() and any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in text)


def apart(text: str) -> str:
    """Right-to-left text between the characters that keep its direction to itself."""
    return f"\u2068{text}\u2069" if turns(text) else text


def escaped(text: str) -> str:
    """For Markdown: as numbers, because a character given by its number is never a mark, wherever it stands."""
    text = _RINGS.sub("\x00", visible(text))
    text = _MARKDOWN.sub(lambda match: f"&#{ord(match[0])};", text).replace("\x00", _BREAK)
    return apart(text)


def harmless(text: str) -> str:
    """Characters that act on a terminal as their numbers; tabs and line breaks stay."""
    return _ACTS.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def warn(line: str) -> None:
    """A line on stderr, which has no filter: bars of progress move the cursor there."""
    print(shortened(harmless(redacted(line[:10_000]))), file=sys.stderr)


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
