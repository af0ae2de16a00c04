"""A stream of a voice, taken to its end."""

from __future__ import annotations

from typing import Any

from timbre import families
from timbre.families import Request, Speaking


def streamed(voice: Any, request: Request, how: Speaking) -> tuple[list[families.Audio], bool]:
    """Its pieces, and whether it ended by itself."""
    stream, pieces = voice.stream(request, how), []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            return pieces, end.value
