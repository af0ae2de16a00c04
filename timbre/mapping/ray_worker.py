"""The other end of the cluster: what a Ray worker does, and whether its machine has what that takes.

A machine computes with the code and the files that it finds under this repository's path, so they are compared, by
content, with those of the machine that gave the order.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from timbre.core.errors import EngineError, TimbreError
from timbre.mapping.batch import Files, computed, portable

CODE = ("timbre", "stages")
ADVICE = "share the folder, or bring it up to date there (docs/cluster.md)"


def work(
    compute: bytes, payloads: bytes, home: str, there: str, needed: Mapping[str, str]
) -> list[Files] | BaseException:
    """A batch's entries, or why there are none."""
    import ray

    away = socket.gethostname() != home
    try:
        check(there, _loaded(Path.cwd()), needed)
        entries = computed(_unpickled(compute), ray.cloudpickle.loads(payloads))
        return [{suffix: _content(content) for suffix, content in files.items()} for files in entries]
    except TimbreError as error:
        return type(error)(f"{error} (on {socket.gethostname()})") if away else error
    except BaseException as error:
        return portable(error)


def check(there: str, here: str, needed: Mapping[str, str]) -> None:
    """`there` is the code of the machine that gave the order, `needed` a file or folder → its content."""
    if here != there:
        raise EngineError(f"{Path.cwd()}: has other code than where it is run from; {ADVICE}")
    for path, content in needed.items():
        if not Path(path).exists():
            raise EngineError(f"{Path.cwd() / path}: is not there; {ADVICE}")
        if contents([Path(path)])[path] != content:
            raise EngineError(f"{Path.cwd() / path}: is another than where it is run from; {ADVICE}")


def named_by(compute: Any) -> Iterator[Path]:
    """What a map's function was told: paths, and parameters that are files, such as a model."""
    for value in [*compute.args, *compute.keywords.values()] if isinstance(compute, functools.partial) else []:
        yield from paths_in(value)
        texts = [getattr(value, field.name) for field in dataclasses.fields(value)] if _is_record(value) else []
        yield from (Path(text) for text in texts if isinstance(text, str) and "/" in text and Path(text).exists())


def paths_in(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, Mapping):
        yield from paths_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from paths_in(item)
    elif _is_record(value):
        yield from paths_in([getattr(value, field.name) for field in dataclasses.fields(value)])


def contents(paths: Iterable[Path]) -> dict[str, str]:
    """Of files, and of folders with all that is in them; what is not here is not needed there."""
    return {str(path): _content_of(path) for path in paths if path.exists()}


def code(root: Path) -> str:
    return _digest(sorted(path for folder in CODE for path in (root / folder).rglob("*.py")))


@functools.cache
def _loaded(root: Path) -> str:
    """The code as this process found it first: an edit meanwhile is none of the run that goes on."""
    return code(root)


def _content_of(path: Path) -> str:
    return _digest(sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path])


def _digest(paths: Iterable[Path]) -> str:
    stats = [(path, path.stat()) for path in paths]
    return hashlib.sha256(repr([_file(path, s.st_size, s.st_mtime_ns) for path, s in stats]).encode()).hexdigest()


@functools.cache
def _file(path: Path, size: int, changed: int) -> tuple[str, str]:
    with path.open("rb") as stream:
        return path.name, hashlib.file_digest(stream, "sha256").hexdigest()


@functools.lru_cache(maxsize=1)
def _unpickled(compute: bytes) -> Any:
    """The same function for each batch of a map, and with it what it keeps."""
    import ray

    return ray.cloudpickle.loads(compute)


def _content(content: bytes | Path) -> bytes:
    if isinstance(content, bytes):
        return content
    read = content.read_bytes()
    content.unlink()
    return read


def _is_record(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)
