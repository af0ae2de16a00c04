"""One more entry, or several, in data/sources.yaml; what people wrote there stays byte for byte.

Entries are put below the last one with its indentation. A file that this does not suit, such as one in JSON's style,
is written anew by ruamel.yaml, which keeps comments and order. Either way the result is read and checked whole first.
"""

from __future__ import annotations

import contextlib
import io
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import YAMLError

from timbre import sources
from timbre.errors import SourceError
from timbre.sources import Source


def read(path: Path) -> list[Source]:
    """As `sources.read`, but a file that is missing or names no recording yet is a beginning."""
    return [] if _is_empty(path) else sources.read(path)


def appended(path: Path, entry: dict[str, Any], origin: str, placed: str) -> bytes:
    """The file's content with `entry`; SourceError with all that `sources.read` would say against it.

    A recording that is not at its `origin` yet is checked where it is `placed`.
    """
    checked = entry | {"file": placed} if "file" in entry else entry
    try:
        extended(path, [checked])
        return _with(_text(path), [entry], path).encode()
    except SourceError as error:
        raise SourceError(str(error).replace(placed, origin)) from error


def extended(path: Path, entries: Sequence[dict[str, Any]]) -> bytes:
    """The file's content with these entries below the others; their recordings are where they say."""
    after = _with(_text(path), entries, path)
    candidate = path.with_name(f".{path.name}.candidate")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        candidate.write_text(after, encoding="utf-8", newline="")
        sources.read(candidate)
    except SourceError as error:
        raise SourceError(str(error).replace(str(candidate), str(path))) from error
    finally:
        candidate.unlink(missing_ok=True)
    return after.encode()


def slug(text: str, longest: int = 48) -> str:
    """What of a name may be an id; "" where nothing may."""
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_only).strip("-")[:longest].strip("-")


def _text(path: Path) -> str:
    return path.read_bytes().decode() if path.exists() else ""


def _is_empty(path: Path) -> bool:
    with contextlib.suppress(OSError, UnicodeDecodeError, YAMLError):
        return not YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    return not path.exists()


def _with(text: str, entries: Sequence[dict[str, Any]], path: Path) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    document = YAML(typ="rt").load(text) or CommentedSeq()
    wanted = [*(YAML(typ="safe").load(text) or []), *entries]
    for make in (_below, _grown):
        made = make(text, document, entries).replace("\r\n", "\n").replace("\n", newline)
        with contextlib.suppress(YAMLError):
            if YAML(typ="safe").load(made) == wanted:
                return made
    raise SourceError(f"{path}: the entry would not be read back as it is written; add it with an editor")


def _below(text: str, document: CommentedSeq, entries: Sequence[dict[str, Any]]) -> str:
    """No YAML that holds the entries, where others are not written one key a line; the caller reads it to see."""
    if not document:
        text = "" if text.strip() == "[]" else text
    indent = " " * (document.lc.item(len(document) - 1)[1] - 2) if document else ""
    rows = "".join(f"{indent}{row}\n" for row in _dumped(list(entries)).splitlines())
    return text + ("\n" if text and not text.endswith("\n") else "") + rows


def _grown(text: str, document: CommentedSeq, entries: Sequence[dict[str, Any]]) -> str:
    document.extend(entries)
    return _dumped(document)


def _dumped(value: Any) -> str:
    dumper, out = YAML(typ="rt"), io.StringIO()
    dumper.width = 10_000  # a line of text stays a line
    dumper.allow_unicode = True
    dumper.dump(value, out)
    return out.getvalue()
