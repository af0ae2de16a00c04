"""Text from outside, made safe to show: no mark-up, no control character, no turned direction, no password."""

from __future__ import annotations

import re
import unicodedata

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
    return any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in text)


def apart(text: str) -> str:
    """Right-to-left text between the characters that keep its direction to itself."""
    return f"\u2068{text}\u2069" if turns(text) else text


def escaped(text: str) -> str:
    """For Markdown: as numbers, because a character given by its number is never a mark, wherever it stands."""
    text = _RINGS.sub("\x00", visible(text))
    text = _MARKDOWN.sub(lambda match: f"&#{ord(match[0])};", text).replace("\x00", _BREAK)
    return apart(text)
