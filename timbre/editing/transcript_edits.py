"""Edits to data/transcripts/<id>.tsv that leave alone what they do not mean.

A row whose fields are as before keeps its bytes, whatever editor wrote it, and so do comments, line ends and the BOM:
git's diff then shows the lines that somebody touched, and no others. `owned_files` writes the result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from timbre.core.errors import TranscriptError
from timbre.project.transcripts import COLUMNS, Line, Transcript, parse, render


def splice(content: bytes, lines: Sequence[Line], name: str, seconds: float | None = None) -> bytes:
    """`content` with `lines` in place of its own; every line that it had already keeps its bytes.

    What comes out was read again: TranscriptError where a line would break the file.
    """
    for line in lines:
        if any(set(field) & set("\t\n\r") for field in (line.speaker, line.flag, line.text)):
            raise TranscriptError(f"{name}: a line break or tab cannot be kept in the line at {line.start:.2f} s")
    transcript = parse(content, name, overlaps=True)
    head, rows = _split(content)
    newline = transcript.newline.encode()
    row_of = dict(zip(transcript.lines, rows, strict=True))
    times = {(line.start, line.end): row.split(b"\t")[:2] for line, row in row_of.items()}
    parts = [head]
    for line in lines:
        parts.append(row_of.get(line) or _row(line, times.get((line.start, line.end)), name) + newline)
    edited = b"".join(part if part.endswith(b"\n") else part + newline for part in parts)
    if not content.endswith(b"\n"):
        edited = edited.removesuffix(newline)
    if parse(edited, name, seconds).lines != tuple(lines):
        raise TranscriptError(f"{name}: a line would not be read back as it was written")
    return edited


def _split(content: bytes) -> tuple[bytes, list[bytes]]:
    """All up to the header line, and the rows below it with their line ends; empty lines belong to the row above."""
    pieces = re.findall(rb"[^\n]*\n|[^\n]+\Z", content)
    header = "\t".join(COLUMNS).encode()
    top = next(i for i, piece in enumerate(pieces) if piece.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n") == header) + 1
    rows: list[bytes] = []
    head = b"".join(pieces[:top])
    for piece in pieces[top:]:
        if piece.decode().strip():
            rows.append(piece)
        elif rows:
            rows[-1] += piece
        else:
            head += piece
    return head, rows


def _row(line: Line, times: list[bytes] | None, name: str) -> bytes:
    """`times` as they stand in the file, where they are the line's own."""
    fields = render(Transcript((line,)), name).split(b"\n")[1].split(b"\t")
    return b"\t".join([*(times or fields[:2]), *fields[2:]])
