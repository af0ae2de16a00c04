"""Reads params.yaml: the one place that does, strictly, and every mistake at once.

    settings = read()          # the whole file was found right
    settings.chunk.max_seconds

`timbre/core/sections.py` says which sections and keys there are. A typing error in `train` is told before any stage
begins, so it does not wait for an hour of transcription.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from timbre.core.content import NotYaml, parse_yaml, plain_yaml
from timbre.core.errors import ParamsError, raise_all
from timbre.core.safe_text import short_repr
from timbre.core.sections import Settings

PARAMS = Path("params.yaml")


def read(path: Path = PARAMS) -> Settings:
    document = load(path)
    raise_all(ParamsError, (f"{path}: {problem}" for problem in problems(document)))
    return typing.cast(Settings, _validated(document, Settings))


def load(path: Path = PARAMS) -> dict[str, Any]:
    """The file as YAML alone, for who shows what is wrong with it."""
    try:
        document = copy.deepcopy(_parsed(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror}); run this in the repository's root") from error
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except NotYaml as error:
        raise ParamsError(f"{error.at(str(path))}: {error}") from error
    if not isinstance(document, dict):
        raise ParamsError(f"{path}: expected sections such as `train:`")
    return document


@lru_cache(maxsize=32)
def _parsed(text: str) -> Any:
    """A command asks for its parameters in many places. What is wrong with them is told by the slower parser."""
    try:
        return plain_yaml(text.encode())
    except ValueError:
        return parse_yaml(text, "safe")


def problems(document: dict[str, Any], schema: type = Settings) -> list[str]:
    """A line per mistake: the key, its value, and what was expected."""
    try:
        _validated(document, schema)
    except ValidationError as error:
        return list(dict.fromkeys(line for mistake in error.errors() for line in _lines(dict(mistake), schema)))
    return []


def _validated(document: dict[str, Any], schema: type) -> Any:
    # As JSON, where pydantic's strictness takes a mapping for a section. What JSON lacks, such as a date, fits no key.
    return _adapter(schema).validate_json(json.dumps(_keyed(document), default=lambda value: [str(value)]))


def _keyed(value: Any) -> Any:
    """With texts as keys, which JSON asks for; a date or a list as a key is unknown under its text, too."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): _keyed(item) for key, item in value.items()}
    return [_keyed(item) for item in value] if isinstance(value, list) else value


@cache
def _adapter(schema: type) -> TypeAdapter[Any]:
    return TypeAdapter(schema)


def _lines(mistake: dict[str, Any], schema: type) -> Iterator[str]:
    """One mistake of pydantic's, in words; a ValueError of a section has a line per key."""
    keys, hint, siblings = _place(mistake["loc"], schema)
    key = ".".join(keys)
    match mistake["type"]:
        case "value_error":
            for line in str(mistake["ctx"]["error"]).splitlines():
                yield f"{key}.{line}" if key else line
        case "unexpected_keyword_argument":
            what = "key" if len(keys) > 1 else "section"
            close = difflib.get_close_matches(key, [".".join([*keys[:-1], name]) for name in siblings], 1)
            yield f"{key}: unknown {what}" + (f"; did you mean `{close[0]}`?" if close else "")
        case "missing":
            missing = f"section `{key}` is missing" if len(keys) == 1 and dataclasses.is_dataclass(hint) else ""
            yield missing or f"{key}: missing, expected {_describe(hint)}"
        case _:
            yield f"{key}: {_short(mistake['input'])} is not {_describe(hint)}"


def _place(location: Sequence[str | int], schema: Any) -> tuple[list[str], Any, list[str]]:
    """Where in the file a mistake is: the keys up to it, what belongs there, and the keys beside it.

    pydantic goes on into branches of unions and items of lists, which no reader of the file knows.
    """
    keys: list[str] = []
    hint, siblings = schema, []
    for part in location:
        if not dataclasses.is_dataclass(hint):
            break
        hints = typing.get_type_hints(hint)
        siblings = list(hints)
        keys.append(str(part))
        hint = hints.get(str(part))
    return keys, hint, siblings


def _short(value: Any) -> str:
    return short_repr(value, 80)


def _describe(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        options = [option for option in arguments if not (option is int and float in arguments)]
        return " or ".join(_describe(option) for option in options)
    if origin is list:
        return f"a list of {_describe(arguments[0])}s"
    if dataclasses.is_dataclass(hint):
        return "a section"
    names = {float: "a number", int: "a whole number", str: "text", bool: "true or false", type(None): "null"}
    return names.get(hint, str(hint))
