"""dvc.lock of a version: what the last run made, and which stages the files have gone ahead of since.

DVC's own `status` wants the data at hand. This reads only what git has, so it answers in a clone without any: hashes
of files and folders that people own are compared with those that the lock names, outputs with the stage that made them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from timbre.core.content import listing_md5, mapping, md5, plain_yaml
from timbre.mapping.dvc_yaml import KINDS, at, filled, listed, made, paths, sections
from timbre.versions import lock_pieces
from timbre.versions.snapshot import Snapshot, WorkTree

# Bytes from which an equal count is taken for equal content, since recordings of gigabytes would take minutes to hash.
# An edit that keeps the length to the byte is missed; `dvc status`, which remembers hashes, sees it.
LARGE = 256_000_000
CODE, PAGES = ("stages/", "timbre/"), ("reports/index.html", "reports/report.md")


@dataclass(frozen=True)
class Stale:
    """A stage that `dvc repro` would run."""

    stage: str
    reasons: tuple[str, ...]  # empty where it only comes after one that has reasons


@dataclass(frozen=True)
class Lock:
    stages: dict[str, Any] = field(default_factory=dict)
    broken: bool = False  # there is one, and it cannot be read

    @property
    def outs(self) -> dict[str, str]:
        """Path → hash of everything that the stages made."""
        return {
            out["path"]: str(out["md5"])
            for stage in self.stages.values()
            for out in stage.get("outs", [])
            if "md5" in out
        }

    @property
    def substance(self) -> dict[str, object]:
        """All that it names but code, and the pages that code makes of results: data, parameters, results."""
        parts: dict[str, object] = {}
        for name, stage in self.stages.items():
            entries = (*stage.get("deps", []), *stage.get("outs", []))
            parts |= {e["path"]: e.get("md5") for e in entries if not e["path"].startswith(CODE + PAGES)}
            parts[f"params of {name}"] = stage.get("params")
        return parts

    def out_of(self, path: str) -> tuple[str | None, str | None]:
        """The output that `path` is, or is inside of, and its hash."""
        outs = self.outs
        for out in (path, *_parents(path)):
            if out in outs:
                return out, outs[out]
        return None, None


def read(snapshot: Snapshot) -> Lock:
    content = document(snapshot, "dvc.lock")
    broken = content is None and bool((snapshot.read("dvc.lock") or b"").strip())
    return Lock(_usable(content), broken)


def way_to(path: str | Path, lock: Lock | None = None) -> str:
    """What to type for an output that is not here; to pull is no advice for what nobody has made yet."""
    recorded, _ = (lock or read(WorkTree(Path()))).out_of(str(path))
    return "`dvc pull` brings it, `dvc repro` makes it" if recorded else "no run has made it yet, `dvc repro` does"


def _usable(document: Any) -> dict[str, Any]:
    """The stages as DVC writes them: what is of another shape in a lock from anybody is left out."""
    stages: dict[str, Any] = {}
    for name, stage in mapping(mapping(document).get("stages")).items():
        if isinstance(stage, dict):
            lists = {kind: _files(stage[kind]) for kind in ("deps", "outs") if kind in stage}
            params = {"params": mapping(stage["params"])} if "params" in stage else {}
            stages[str(name)] = stage | lists | params
    return stages


def _files(entries: Any) -> list[dict[str, Any]]:
    return [entry for entry in listed(entries) if isinstance(entry, dict) and isinstance(entry.get("path"), str)]


def document(snapshot: Snapshot, path: str) -> Any:
    """A YAML file as DVC reads it; None where it is missing or in no state to be read."""
    content = snapshot.read(path)
    return None if content is None else _parsed(content)


@lru_cache(maxsize=64)  # versions beside each other often have the same
def _parsed(content: bytes) -> Any:
    try:
        return lock_pieces.read(content.decode()) or plain_yaml(content)
    except ValueError:
        return None


def outputs(snapshot: Snapshot) -> set[str]:
    """Every path that a stage of dvc.yaml writes, as it stands there."""
    return {path for stage in _declared(snapshot).values() for path in made(stage)}


def kept(snapshot: Snapshot) -> set[str]:
    """Those that DVC keeps and pushes; the others are git's."""
    entries = (entry for stage in _declared(snapshot).values() for kind in KINDS for entry in listed(stage.get(kind)))
    cached = set()
    for entry in entries:
        ((path, options),) = entry.items() if isinstance(entry, dict) and len(entry) == 1 else [(entry, None)]
        if mapping(options).get("cache", True) and mapping(options).get("push", True):
            cached.add(str(path))
    return cached


def _declared(snapshot: Snapshot) -> dict[str, dict[str, Any]]:
    stages = mapping(mapping(document(snapshot, "dvc.yaml")).get("stages"))
    params = mapping(document(snapshot, "params.yaml"))
    return {name: filled(stage, params) for name, stage in stages.items() if isinstance(stage, dict)}


def stale(snapshot: Snapshot, lock: Lock) -> list[Stale]:
    """The stages that have a reason to run and those after them, in the pipeline's order."""
    if lock.broken:
        return []  # whoever mends it will see
    params, declared = mapping(document(snapshot, "params.yaml")), _declared(snapshot)
    made_by = {out: name for name, stage in declared.items() for out in made(stage)}
    behind: dict[str, Stale] = {}
    todo = dict(declared)
    while todo:  # in an order in which each comes after those whose outputs it reads
        ready = [name for name in todo if not _before(todo[name], made_by) & (set(todo) - {name})] or list(todo)
        for name in ready:
            stage = todo.pop(name)
            reasons = tuple(_reasons(name, stage, lock, made_by, snapshot, params))
            if reasons or _before(stage, made_by) & set(behind):
                behind[name] = Stale(name, reasons)
    return [behind[name] for name in declared if name in behind]


def _reasons(
    name: str, stage: dict[str, Any], lock: Lock, made_by: dict[str, str], snapshot: Snapshot, params: dict[str, Any]
) -> Iterator[str]:
    if name not in lock.stages:
        yield "has never run"
        return
    locked = lock.stages[name]
    if " ".join(str(stage.get("cmd")).split()) != " ".join(str(locked.get("cmd")).split()):
        yield "its command changed"
    locked_deps = {dep["path"]: dep for dep in locked.get("deps", [])}
    for dep in paths(stage.get("deps")):
        if dep not in locked_deps:
            yield f"{dep} is new to it"
        elif dep in made_by or any(parent in made_by for parent in _parents(dep)):
            _, digest = lock.out_of(dep)
            if dep in lock.outs:
                anew = locked_deps[dep].get("md5") != digest
            else:  # a file inside of an output, whose own hash the lock does not name
                anew = snapshot.size(dep) is not None and not _same(locked_deps[dep], dep, snapshot)
            if anew:
                yield f"{dep} was made anew"
        elif not _same(locked_deps[dep], dep, snapshot):
            yield f"{dep} changed"
    for gone in sorted(set(locked_deps) - set(paths(stage.get("deps")))):
        yield f"{gone} is no longer read"
    before = mapping(mapping(locked.get("params")).get("params.yaml"))
    for section in sections(stage):
        changes = changed_values(before.get(section), at(params, section), section)
        yield from (f"{key} changed" for key, _, _ in changes)


def changed_values(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """`train.rank` with its old and its new value, of all in two nested mappings that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*new, *(name for name in old if name not in new)]:
            yield from changed_values(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
    elif old != new:
        yield key, old, new


def _same(locked: dict[str, Any], path: str, snapshot: Snapshot) -> bool:
    size = snapshot.size(path)
    files = snapshot.list(path) if size is None else [path]
    total = sum(snapshot.size(file) or 0 for file in files)
    if locked.get("size", total) != total or locked.get("nfiles", len(files)) != len(files):
        return False
    if total > LARGE and "size" in locked:
        return True
    if size is None:
        return locked.get("md5") == folder_md5(snapshot, path)
    return locked.get("md5") == md5(snapshot.read(path) or b"")


def folder_md5(snapshot: Snapshot, folder: str) -> str | None:
    """A folder's hash as DVC counts it: that of the list of its files with theirs."""
    hashes = snapshot.folder_hashes  # one folder of code is read by ten stages
    if folder not in hashes:
        hashes[folder] = _folder_md5(snapshot, folder)
    return hashes[folder]


def _folder_md5(snapshot: Snapshot, folder: str) -> str | None:
    files = [(path, snapshot.read(path)) for path in snapshot.list(folder)]
    if not files:
        return None
    return listing_md5({path.removeprefix(f"{folder}/"): md5(content or b"") for path, content in files})


def _before(stage: dict[str, Any], made_by: dict[str, str]) -> set[str]:
    """The stages whose outputs it reads."""
    read = (path for dep in paths(stage.get("deps")) for path in (dep, *_parents(dep)))
    return {made_by[path] for path in read if path in made_by}


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]
