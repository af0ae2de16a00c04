"""params.yaml, read strictly: one wrong key anywhere is told before anything runs, all wrong keys at once.

Every section is described by a frozen dataclass `Params` beside the code that uses it: `chunk` in `stages/chunk.py`,
the sections whose code is in the library in the module named in `SHARED`. `read` checks the *whole* file against
all of them, so that a typing error in `train` does not wait for an hour of transcription, and returns one section.

    params = read("chunk", Params)      # in stages/chunk.py
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from timbre.core.errors import ParamsError, raise_all

SHARED = {
    "compute": Path("timbre/mapping/batch.py"),
    "csm": Path("timbre/families/csm/params.py"),
    "generate": Path("timbre/synthesis/params.py"),
    "speaker": Path("timbre/evaluation/speaker_encoder.py"),
    "train": Path("timbre/training/schedule.py"),
    "voice": Path("timbre/families/__init__.py"),
    "whisper": Path("timbre/asr/__init__.py"),
}
P = TypeVar("P")


def read(section: str, schema: type[P], path: Path = Path("params.yaml")) -> P:
    """The section as its dataclass, after the whole file was found right."""
    document = load(path)
    raise_all(ParamsError, (f"{path}: {problem}" for problem in problems(document, schemas())))
    return _build(schema, document[section])


def load(path: Path = Path("params.yaml")) -> dict[str, Any]:
    try:
        # YAML 1.2, as DVC reads it: `no` is text and 1e-4 a number, which YAML 1.1 readers see otherwise
        document = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror}); run this in the repository's root") from error
    except (YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f":{where.line + 1}" if where else ""
        raise ParamsError(f"{path}{line}: not YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(document, dict):
        raise ParamsError(f"{path}: expected sections such as `train:`")
    return document


def schemas(root: Path = Path()) -> dict[str, type]:
    """Section name → its `Params` dataclass, for every stage and shared section that has one."""
    files = {path.stem: path for path in sorted((root / "stages").glob("*.py"))}
    files |= {name: root / path for name, path in SHARED.items()}
    found = {name: _declared_params(path) for name, path in files.items() if path.exists()}
    return {name: schema for name, schema in found.items() if schema is not None}


def _declared_params(path: Path) -> type | None:
    """The class `Params` of a source file, without importing the file (which may need torch)."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
    if "Params" not in classes:
        return None
    names: dict[str, Any] = {"dataclass": dataclass, "field": field, "Literal": Literal, "__name__": __name__}
    module = ast.Module(_with_sections("Params", classes), [])
    # dont_inherit: this module's postponed annotations would leave the types of the fields as text
    exec(compile(module, str(path), "exec", dont_inherit=True), names)
    return typing.cast(type, names["Params"])


def _with_sections(name: str, classes: dict[str, ast.ClassDef]) -> list[ast.stmt]:
    """The class and, before it, the classes of the file that its fields are of."""
    fields = [node.annotation for node in classes[name].body if isinstance(node, ast.AnnAssign)]
    types = {part.id for hint in fields for part in ast.walk(hint) if isinstance(part, ast.Name)}
    sections = [statement for known in classes if known in types for statement in _with_sections(known, classes)]
    return [*sections, classes[name]]


def problems(document: dict[str, Any], expected: dict[str, type]) -> list[str]:
    found = [_unknown(name, "section", expected) for name in document if name not in expected]
    for section, schema in expected.items():
        if section not in document:
            found.append(f"section `{section}` is missing")
        elif mismatches := list(_mismatches(document[section], schema, section)):
            found.extend(mismatches)
        else:
            found.extend(_out_of_range(document[section], schema, section))
    return found


def _out_of_range(value: dict[str, Any], schema: type, section: str) -> Iterator[str]:
    """A schema says in `__post_init__`, by a ValueError that names the key, what no type can say."""
    try:
        _build(schema, value)
    except ValueError as error:
        yield from (f"{section}.{line}" for line in str(error).splitlines())


def _mismatches(value: Any, schema: Any, key: str) -> Iterator[str]:
    if not dataclasses.is_dataclass(schema):
        if not _fits(value, schema):
            yield f"{key}: {value!r} is not {_describe(schema)}"
        return
    if not isinstance(value, dict):
        yield f"{key}: {value!r} is not a section"
        return
    hints = _hints(schema)
    for name in value:
        if name not in hints:
            yield _unknown(f"{key}.{name}", "key", [f"{key}.{known}" for known in hints])
    for name, hint in hints.items():
        if name in value:
            yield from _mismatches(value[name], hint, f"{key}.{name}")
        else:
            yield f"{key}.{name}: missing, expected {_describe(hint)}"


def _unknown(name: str, what: str, known: Any) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"{name}: unknown {what}" + (f"; did you mean `{close[0]}`?" if close else "")


def _hints(schema: Any) -> dict[str, Any]:
    return typing.get_type_hints(schema)


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return value in arguments
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in arguments)
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if hint is None or hint is type(None):
        return value is None
    if hint is float:  # a whole number is a fine float; true and false are neither
        return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _describe(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(option) for option in arguments)
    if origin is list:
        return f"a list of {_describe(arguments[0])}s"
    if dataclasses.is_dataclass(hint):
        return "a section"
    names = {float: "a number", int: "a whole number", str: "text", bool: "true or false", type(None): "null"}
    return names.get(hint, str(hint))


def _build(schema: type[P], value: dict[str, Any]) -> P:
    made = {}
    for name, hint in _hints(schema).items():
        item = value[name]
        made[name] = _build(hint, item) if dataclasses.is_dataclass(hint) and isinstance(hint, type) else item
        if hint is float:
            made[name] = float(item)
    return schema(**made)
