"""The other end of the cluster: what a Ray worker does, and whether its machine has what that takes.

A machine computes with the code and the files that it finds under this repository's path, so they are compared, by
content, with those of the machine that gave the order. Files that it lacks it takes from DVC's remote, where they are
outputs of stages: nobody edits those. A machine that has not all of it then computes nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import secrets
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

from timbre.core.content import file_md5
from timbre.core.errors import TimbreError
from timbre.mapping import shards
from timbre.mapping.batch import Files, computed, portable
from timbre.mapping.dvc_cache import locked_stages
from timbre.mapping.dvc_remote import Remote

CODE = ("timbre", "stages")
ADVICE = "share the folder, or bring it up to date there (docs/cluster.md)"
Needed = Mapping[str, Mapping[str, str]]
"""A file or folder → the MD5 of each file in it, by its path in there; of a file, by an empty one."""


class LeftOut(TypedDict):
    """What a machine says that cannot compute a batch."""

    machine: str
    node: str  # Ray's id of it
    reason: str
    files: dict[str, str]  # path → MD5: what would help if the remote had it


def work(
    compute: bytes, payloads: bytes, home: str, there: str, needed: Needed
) -> list[Files] | LeftOut | BaseException:
    """A batch's entries, or why there are none."""
    import ray

    away = socket.gethostname() != home
    try:
        if reason := differs(there, _loaded(Path.cwd())):
            return left_out(reason)
        missing, reason = lacking(needed)
        if reason or (missing := fetched(missing)):
            names = [str(Path.cwd() / path) for path in missing]
            return left_out(reason or f"{names[0]}: is not there as it is where it is run from; {ADVICE}", missing)
        entries = computed(_unpickled(compute), ray.cloudpickle.loads(payloads))
        return [{suffix: _content(content) for suffix, content in files.items()} for files in entries]
    except TimbreError as error:
        return type(error)(f"{error} (on {socket.gethostname()})") if away else error
    except BaseException as error:
        return portable(error)


def left_out(reason: str, files: Mapping[str, str] | None = None) -> LeftOut:
    import ray

    node = ray.get_runtime_context().get_node_id()
    return LeftOut(machine=socket.gethostname(), node=node, reason=reason, files=dict(files or {}))


def differs(there: str, here: str) -> str:
    """`there` is the code of the machine that gave the order; empty where it is the same."""
    return "" if here == there else f"{Path.cwd()}: has other code than where it is run from; {ADVICE}"


def lacking(needed: Needed) -> tuple[dict[str, str], str]:
    """Files that are not here as they are needed, with their MD5; and why none could mend it, where none could."""
    missing: dict[str, str] = {}
    for path, files in needed.items():
        wrong = {name: digest for name, digest in files.items() if _md5_of(Path(path, name)) != digest}
        others = Path(path).is_dir() and set(_files_of(Path(path))) - set(files)
        if others or (wrong and not _is_made(Path(path))):
            state = "is another than where it is run from" if Path(path).exists() else "is not there"
            return {}, f"{Path.cwd() / path}: {state}; {ADVICE}"
        missing |= {str(Path(path, name)): digest for name, digest in wrong.items()}
    return missing, ""


def fetched(missing: Mapping[str, str]) -> dict[str, str]:
    """What the remote has not either; all else is in its place now."""
    remote, left = Remote(Path()), {}
    for path, digest in missing.items():
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            if remote.copy(digest, part) and file_md5(part) == digest:
                os.replace(part, target)
            else:
                left[path] = digest
        finally:
            part.unlink(missing_ok=True)
    return left


def _is_made(path: Path) -> bool:
    """Whether a stage made it: then what lies there is no edit of anybody's."""
    outs = (out["path"] for stage in locked_stages(Path()).values() for out in stage.get("outs", []))
    inside = not path.is_absolute() and ".." not in path.parts
    return inside and any(path.is_relative_to(out) for out in outs)


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


def contents(paths: Iterable[Path]) -> dict[str, dict[str, str]]:
    """Of files, and of folders with all that is in them; what is not here is not needed there.

    A file in a shard comes with the shard.
    """
    paths = map(shards.carrier, paths)
    return {str(path): _files_of(path) if path.is_dir() else {"": _md5_of(path)} for path in paths if path.exists()}


def code(root: Path) -> str:
    paths = sorted(path for folder in CODE for path in (root / folder).rglob("*.py"))
    return hashlib.sha256(repr([(path.name, _md5_of(path)) for path in paths]).encode()).hexdigest()


@functools.cache
def _loaded(root: Path) -> str:
    """The code as this process found it first: an edit meanwhile is none of the run that goes on."""
    return code(root)


def _files_of(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): _md5_of(path) for path in files}


def _md5_of(path: Path) -> str:
    """Empty where there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return _read_md5(path.absolute(), status.st_size, status.st_mtime_ns) if path.is_file() else ""


@functools.lru_cache(maxsize=2**16)
def _read_md5(path: Path, size: int, changed: int) -> str:
    return file_md5(path)


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
