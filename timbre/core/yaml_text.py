"""YAML 1.2 as DVC reads it (`no` is text, 1e-4 a number), of files that anybody may have written.

    document = parse(text)                 # NotYaml, with the line where it is known
    line = line_of(entry, "speaker")       # of a key, as an editor counts

Ten lines of aliases can stand for a billion values: such a document is refused before anybody walks through it.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

DATE = re.compile(r"\b(year|month|day|hour|minute|second|date)\b")
MOST_VALUES = 1_000_000  # once aliases are unfolded


class NotYaml(ValueError):
    """What is wrong, and the line, from 1, where it is known."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.line = line

    def at(self, where: str) -> str:
        return f"{where}:{self.line}" if self.line else where


def parse(text: str, kind: Literal["rt", "safe"] = "rt") -> Any:
    """`rt` gives lists and mappings that know the line of every item, `safe` plain ones."""
    try:
        document = YAML(typ=kind, pure=True).load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        said = str(getattr(error, "problem", None) or error)
        raise NotYaml(f"not YAML: {said}", mark.line + 1 if mark else None) from error
    except RecursionError as error:
        raise NotYaml("nests too deeply") from error
    except Exception as error:  # ruamel.yaml lets through what int(), dates and its own code raise on odd values
        what = "date that is none" if DATE.search(str(error)) else "value that cannot be read"
        raise NotYaml(f"holds a {what}: {error}") from error
    if values_in(document) > MOST_VALUES:
        raise NotYaml(f"its aliases stand for more than {MOST_VALUES:,} values")
    return document


def values_in(document: Any) -> int:
    """How many values there are, an aliased one as often as it is named; above MOST_VALUES where one holds itself."""
    return _count(document, {})


def _count(value: Any, known: dict[int, int]) -> int:
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in known:
        known[id(value)] = MOST_VALUES + 1  # of something that holds itself, until it is counted
        below = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count(one, known) for one in below)
    return known[id(value)]


def line_of(entry: Any, key: object) -> int:
    """Of a key in a mapping that `parse` made; of the mapping itself where the key came by `<<` from another."""
    try:
        return int(entry.lc.key(key)[0]) + 1
    except (KeyError, TypeError):
        return int(entry.lc.line or 0) + 1
