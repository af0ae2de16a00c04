"""DVC's own files after a kill: it writes dvc.lock and its list of locks in place, and then starts no stage.

What dvc.lock said since the last commit is lost, and costs little: the stages run again and find their entries.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from timbre.core.content import write_atomic
from timbre.core.errors import DataError
from timbre.mapping.dvc_cache import LOCK
from timbre.versions.snapshot import git

RUNNING = Path(".dvc/tmp/rwlock")  # which files the running DVC reads and writes


def damaged(root: Path) -> list[Path]:
    """Those of DVC's files that it cannot read; a merge conflict is no damage."""
    return [path for path, is_whole in ((RUNNING, _is_json), (LOCK, _is_lock)) if not is_whole(root / path)]


def repair(root: Path) -> Iterator[str]:
    """Make them whole again, with a line about each."""
    for path in damaged(root):
        if path == RUNNING:
            (root / path).unlink()
            yield f"{path}: was damaged, and is removed; DVC makes it anew"
        elif before := _committed(root):
            write_atomic(root / path, before)
            yield f"{path}: was damaged, and is the last commit's again; `dvc repro` goes on from what is there"
        else:
            (root / path).unlink()
            yield f"{path}: was damaged, and is removed; `dvc repro` writes it again from what is there"


def in_conflict(root: Path) -> bool:
    """Whether git left conflict markers in dvc.lock; then DVC starts no stage, and `timbre resolve` ends it."""
    try:
        return _has_markers((root / LOCK).read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return False


def _has_markers(text: str) -> bool:
    return "\n<<<<<<< " in f"\n{text}"


def _committed(root: Path) -> bytes:
    try:
        return git(root, "show", f"HEAD:./{LOCK}")
    except DataError:  # no commit has it
        return b""


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except FileNotFoundError:
        return True
    except (ValueError, RecursionError):
        return False


def _is_lock(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return True
    except UnicodeDecodeError:
        return False
    if _has_markers(text):
        return True
    if not text.endswith("\n"):  # it was cut between two of DVC's writes, perhaps where it still is YAML
        return False
    try:
        stages = YAML(typ="safe", pure=True).load(text)["stages"]
        return all(isinstance(dep["path"], str) for stage in stages.values() for dep in _entries(stage))
    except (YAMLError, TypeError, KeyError, AttributeError):
        return False


def _entries(stage: dict[str, list[dict[str, str]]]) -> list[dict[str, str]]:
    return [*stage.get("deps", []), *stage.get("outs", [])]
