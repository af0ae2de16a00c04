"""Content: what it is named by, how it comes to the disk whole, and how YAML is read that anybody may have written.

    document = parse_yaml(text)            # YAML 1.2 as DVC reads it; NotYaml, with the line where it is known
    line = line_of(entry, "speaker")       # of a key, as an editor counts
    document = plain_yaml(content)         # the same values, ten times as fast; ValueError

`plain_yaml` takes libyaml's scanner, which PyYAML brings, with YAML 1.2's rules for what a plain word means:
PyYAML knows YAML 1.1, in which `no` is false. ruamel.yaml takes 0.2 s for a lock of 600 lines; a history reads forty.
Ten lines of aliases can stand for a billion values: such a document is refused before anybody walks through it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Collection, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from timbre.core.errors import DataError, TimbreError

HASHES = "md5"  # in a JSON record: the hashes of an entry's files, see timbre/mapping/entries.py
DATE = re.compile(r"\b(year|month|day|hour|minute|second|date)\b")
MOST_VALUES = 1_000_000  # once aliases are unfolded
SETTLED = 2  # seconds since a file was written, from which on another content has another time
DEEPEST = 300  # levels; ruamel.yaml takes seconds for 2,000, and libyaml's composer ends the process with its stack
BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
INT = re.compile(r"^(?:[-+]?0b[0-1_]+|[-+]?0o?[0-7_]+|[-+]?[0-9_]+|[-+]?0x[0-9a-fA-F_]+)$")
FLOAT = re.compile(
    r"^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|[-+]?\.[0-9_]+(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
LEADING = re.compile(r"^[ \t?:-]*", re.MULTILINE)
_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode


def content_key(*parts: Any) -> str:
    """A short name for content: 16 hex digits of the SHA-256 of the parts as canonical JSON."""
    return hashlib.sha256(_CANONICAL(parts).encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_key(digests: Iterable[tuple[str, str]]) -> str:
    """A short name for files together, each given by its name and its SHA-256."""
    return content_key(sorted(digests))


def model_files(folder: Path) -> list[tuple[str, str]]:
    """Name and SHA-256 of each file that a model in a folder is of, which its descriptions are not.

    A process reads each but once: a stage asks for the key of its entries, and again when it loads the model, whose
    files may have gigabytes.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md")
    return [(path.relative_to(folder).as_posix(), _unchanged_sha256(path)) for path in files]


def _unchanged_sha256(path: Path) -> str:
    """Kept while the file's size and time stay. One of this moment may change again without another time."""
    state = path.stat()
    if time.time() - state.st_mtime < SETTLED:
        return file_sha256(path)
    return _sha256_of(path.absolute(), state.st_ino, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _sha256_of(path: Path, inode: int, size: int, changed: int) -> str:
    return file_sha256(path)


def md5(content: bytes) -> str:
    """The name that DVC keeps it by."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def file_md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def listing_md5(files: Mapping[str, str]) -> str:
    """A folder's hash as DVC counts it: that of the list of its files, which are given with the MD5 of each."""
    entries = [{"md5": digest, "relpath": name} for name, digest in sorted(files.items())]
    return md5(json.dumps(entries, sort_keys=True).encode()) + ".dir"


def folder_key(folder: Path, without: Collection[str] = ()) -> str:
    """The hash of a folder as it lies there, without `.dir` and without the files of these names."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in without)
    return listing_md5({path.relative_to(folder).as_posix(): file_md5(path) for path in files}).removesuffix(".dir")


def files_listed(content: bytes) -> dict[str, str] | None:
    """File → MD5, of such a list; None where it is no list of files: a remote may hold anything under a hash."""
    try:
        return {str(entry["relpath"]): str(entry["md5"]) for entry in json.loads(content)}
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def read_text(path: Path, kind: type[TimbreError] = DataError, remedy: str = "") -> str:
    """A file that people write; `remedy` says what to do where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise kind(f"{path}: cannot be read ({error.strerror}){f'; {remedy}' if remedy else ''}") from error
    except UnicodeDecodeError as error:
        raise kind(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write under a temporary name, then rename: a reader sees the old file or the new one, never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # another process may write the same file
    try:
        with temporary.open("xb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class NotYaml(ValueError):
    """What is wrong, on one line, and the line of the file, from 1, where it is known."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(" ".join(problem.split()))
        self.line = line

    def at(self, where: str) -> str:
        return f"{where}:{self.line}" if self.line else where


def parse_yaml(text: str, kind: Literal["rt", "safe"] = "rt") -> Any:
    """`rt` gives lists and mappings that know the line of every item, `safe` plain ones."""
    if too_deep(text):
        raise NotYaml("nests too deeply")
    try:
        document = YAML(typ=kind, pure=True).load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = str(getattr(error, "problem", None) or error)
        raise NotYaml(f"not YAML: {problem}", mark.line + 1 if mark else None) from error
    except RecursionError as error:
        raise NotYaml("nests too deeply") from error
    except Exception as error:  # ruamel.yaml lets through what int(), dates and its own code raise on odd values
        what = "an invalid date" if DATE.search(str(error)) else "a value that cannot be read"
        raise NotYaml(f"holds {what}: {error}") from error
    if values_in(document) > MOST_VALUES:
        raise NotYaml(f"its aliases stand for more than {MOST_VALUES:,} values")
    return document


def plain_yaml(content: bytes) -> Any:
    """The document; ValueError where it is in no state to be read."""
    import yaml  # PyYAML, only here and below, so that no command waits for it that reads no YAML

    try:
        text = content.decode()
        if too_deep(text):
            raise ValueError(f"it nests deeper than {DEEPEST} levels")
        document = yaml.load(text, _loader())
        values = values_in(document)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"not YAML: {error}") from error
    if values > MOST_VALUES:
        raise ValueError(f"its aliases stand for more than {MOST_VALUES:,} values")
    return document


@functools.cache
def _loader() -> Any:
    import yaml

    text, whole, listed, table = (
        (kind, f"tag:yaml.org,2002:{name}")
        for kind, name in (
            (yaml.ScalarNode, "str"), (yaml.ScalarNode, "int"), (yaml.SequenceNode, "seq"), (yaml.MappingNode, "map"),
        )
    )  # fmt: skip

    def twice(node: Any) -> Any:
        return yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)

    class Loader(yaml.CSafeLoader):  # type: ignore[misc]  # it has no types
        """Plain values, by the rules of YAML 1.2; a key that stands twice is a mistake, as for DVC."""

        def __init__(self, stream: Any) -> None:
            super().__init__(stream)
            self.tags: dict[str, str] = {}  # of plain words, most of which are keys that come again and again

        def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
            if kind is not yaml.ScalarNode or not implicit[0]:
                return super().resolve(kind, value, implicit)
            if value not in self.tags:
                self.tags[value] = super().resolve(kind, value, implicit)
            return self.tags[value]

        def construct_document(self, node: Any) -> Any:
            return self._plain(node, {})

        def _plain(self, node: Any, made: dict[int, Any]) -> Any:
            """What PyYAML makes of it in a third of the time; whatever is rare is left to PyYAML."""
            kind = type(node), node.tag
            if kind == text:
                return node.value
            if kind == whole:
                return self.construct_yaml_int(node)
            if id(node) in made:  # an alias stands for what its anchor is
                if made[id(node)] is made:
                    raise yaml.constructor.ConstructorError(None, None, "it holds itself", node.start_mark)
                return made[id(node)]
            made[id(node)] = made  # unfinished
            if kind == listed:
                value: Any = [self._plain(item, made) for item in node.value]
            elif kind == table and all((type(key), key.tag) == text for key, _ in node.value):
                value = {key.value: self._plain(item, made) for key, item in node.value}
                if len(value) < len(node.value):
                    raise twice(node)
            else:
                value = self.construct_object(node, deep=True)
            made[id(node)] = value
            return value

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
            if not isinstance(node, yaml.MappingNode):
                return dict(super().construct_mapping(node, deep))  # tells that it is none
            keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            keys = [key for key in keys if key[1] != "<<"]
            if len(keys) != len(set(keys)):
                raise twice(node)
            return dict(super().construct_mapping(node, deep))

        def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
            text = str(self.construct_scalar(node)).replace("_", "")
            sign, digits = (-1 if text[0] == "-" else 1), text.lstrip("+-")
            base = {"0b": 2, "0o": 8, "0x": 16}.get(digits[:2].lower(), 10)
            return sign * int(digits[2:] if base != 10 else digits, base)

        def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
            text = str(self.construct_scalar(node)).replace("_", "").lower()
            return float(text.replace(".inf", "inf").replace(".nan", "nan"))

    # the tables of PyYAML's own loader, of which three kinds of words are told apart by other rules
    Loader.yaml_implicit_resolvers = {
        first: [(tag, rule) for tag, rule in rules if not tag.endswith((":bool", ":int", ":float"))]
        for first, rules in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", BOOL, list("tTfF"))
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789."))
    Loader.add_implicit_resolver("tag:yaml.org,2002:int", INT, list("-+0123456789"))
    Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)
    Loader.add_constructor("tag:yaml.org,2002:float", Loader.construct_yaml_float)
    return Loader


def too_deep(text: str) -> bool:
    """Whether YAML nests deeper than DEEPEST, told before a parser goes down into it."""
    return _bound(text) > DEEPEST and _nests(text)


def _bound(text: str) -> int:
    """No less than the levels that it has: each is opened by a bracket, or by what stands before a line's text."""
    return text.count("[") + text.count("{") + 2 * max(len(match[0]) for match in LEADING.finditer(text))


def _nests(text: str) -> bool:
    import yaml

    depth = 0
    try:
        for event in yaml.parse(text, yaml.CSafeLoader):  # without recursion
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                return True
    except yaml.YAMLError:
        pass  # whoever parses it says where it is wrong
    return False


def values_in(document: Any) -> int:
    """How many values there are, an aliased one as often as it is named; above MOST_VALUES where one holds itself."""
    return _count(document, {})


def _count(value: Any, counts: dict[int, int]) -> int:
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in counts:
        counts[id(value)] = MOST_VALUES + 1  # of something that holds itself, until it is counted
        below = value.values() if isinstance(value, dict) else value
        counts[id(value)] = 1 + sum(_count(one, counts) for one in below)
    return counts[id(value)]


def mapping(value: Any) -> dict[str, Any]:
    """The value, or an empty one where a document has something else in its place."""
    return value if isinstance(value, dict) else {}


def line_of(entry: Any, key: object) -> int:
    """Of a key in a mapping that `parse` made; of the mapping itself where the key came by `<<` from another."""
    try:
        return int(entry.lc.key(key)[0]) + 1
    except (KeyError, TypeError):
        return int(entry.lc.line or 0) + 1
