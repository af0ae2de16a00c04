"""One more entry in data/sources.yaml; what people wrote there stays byte for byte.

The entry is put below the last one with its indentation. A file that this does not suit, such as one in JSON's style,
is written anew by ruamel.yaml, which keeps comments and order. Either way the result is read and checked whole first.
"""

from __future__ import annotations

import contextlib
import io
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
    before = path.read_bytes() if path.exists() else b""
    after = _with(before.decode(), entry, path)
    checked = entry | {"file": placed} if "file" in entry else entry
    candidate = path.with_name(f".{path.name}.candidate")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        candidate.write_text(_with(before.decode(), checked, path), encoding="utf-8", newline="")
        sources.read(candidate)
    except SourceError as error:
        raise SourceError(str(error).replace(str(candidate), str(path)).replace(placed, origin)) from error
    finally:
        candidate.unlink(missing_ok=True)
    return after.encode()


def _is_empty(path: Path) -> bool:
    with contextlib.suppress(OSError, UnicodeDecodeError, YAMLError):
        return not YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    return not path.exists()


def _with(text: str, entry: dict[str, Any], path: Path) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    document = YAML(typ="rt").load(text) or CommentedSeq()
    wanted = [*(YAML(typ="safe").load(text) or []), entry]
    for made in (_below(text, document, entry), _dumped(_grown(document, entry))):
        made = made.replace("\r\n", "\n").replace("\n", newline)
        with contextlib.suppress(YAMLError):
            if YAML(typ="safe").load(made) == wanted:
                return made
    raise SourceError(f"{path}: the entry would not be read back as it is written; add it with an editor")


def _below(text: str, document: CommentedSeq, entry: dict[str, Any]) -> str:
    """No YAML that holds `entry`, where entries are not written one key a line; the caller reads it to see."""
    if not document:
        text = "" if text.strip() == "[]" else text
    indent = " " * (document.lc.item(len(document) - 1)[1] - 2) if document else ""
    rows = "".join(f"{indent}{row}\n" for row in _dumped([entry]).splitlines())
    return text + ("\n" if text and not text.endswith("\n") else "") + rows


def _grown(document: CommentedSeq, entry: dict[str, Any]) -> CommentedSeq:
    document.append(entry)
    return document


def _dumped(value: Any) -> str:
    dumper, out = YAML(typ="rt"), io.StringIO()
    dumper.width = 10_000  # a line of text stays a line
    dumper.allow_unicode = True
    dumper.dump(value, out)
    return out.getvalue()
