"""dvc.lock as DVC writes it, piece by piece: a file's entry stands in many versions, and under a dozen stages of each.

    document = lock_pieces.read(text)    # None: it has another shape, and is read as any YAML

A piece is a line of two or four spaces with all lines that are further in, and is read once. The result is that of
`plain_yaml`, which takes two thirds of the time of `timbre log` where it reads each lock whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from timbre.core.content import plain_yaml

BEGIN = "schema: '2.0'\nstages:\n"
PIECE = re.compile(r"^(?= {2}(?: {2})?[^ \n])", re.MULTILINE)
BEGINS = re.compile(r" {2}(?: {2})?(?:- |[A-Za-z_][\w.@-]*:[ \n])")  # an item, or a plain key
# Lines less far in, remarks, other ends of lines, and merging
OUTSIDE = re.compile(r"^ ?[^ \n]|^ *#|[\t\r\x85\u2028\u2029]|<<", re.MULTILINE)
LEVEL = 4  # spaces before what belongs to a stage


def read(text: str) -> dict[str, Any] | None:
    """All of the document."""
    body = text.removeprefix(BEGIN)
    if body is text or not body or OUTSIDE.search(body):
        return None
    try:
        stages = dict(_stages(PIECE.split(body)))
    except ValueError:  # what is wrong, or goes on in the next piece, as an alias does
        return None
    return {"schema": "2.0", "stages": stages}


def _stages(pieces: list[str]) -> Iterator[tuple[str, Any]]:
    """Each stage by its name; ValueError where a piece is of another kind than where DVC has it."""
    names, stage, key = set[str](), dict[str, Any](), ""
    lists: set[str] = set()  # keys of the stage whose items are pieces
    for piece in filter(None, pieces):
        if not BEGINS.match(piece):
            raise ValueError("neither an item nor a plain key")
        value = _value(piece)
        if not piece.startswith(" " * LEVEL):
            if names and not stage:
                raise ValueError("a stage without a word")
            name, stage, key, lists = _only_key(value), {}, "", set()
            if value[name] is not None or name in names:
                raise ValueError("more than a name, or a name that stands twice")
            names.add(name)
            yield name, stage
        elif not names:
            raise ValueError("something stands before the first stage")
        elif isinstance(value, list) and key and (stage[key] is None or key in lists):
            stage[key] = [*(stage[key] or ()), *value]
            lists.add(key)
        else:
            key = _only_key(value)
            if key in stage:
                raise ValueError("a key that stands twice")
            stage[key] = value[key]
    if not stage:
        raise ValueError("a stage without a word")


def _only_key(value: Any) -> str:
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError("no key")
    (key,) = value
    if not isinstance(key, str):
        raise ValueError("a key that is no text")
    return key


@lru_cache(maxsize=8192)
def _value(piece: str) -> Any:
    """Whoever gets it changes nothing in it."""
    return plain_yaml(piece.encode())
