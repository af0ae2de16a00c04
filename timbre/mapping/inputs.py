"""What a stage was given, so that an edit while it runs is not recorded as used.

DVC hashes what a stage depends on when its command has ended: whatever is saved meanwhile, a learning rate, a line of a
transcript, a module, would stand in dvc.lock as the origin of results that never saw it. So a stage takes DVC's hashes
of what git owns of its dependencies, and the values of its parameters, when it begins. It compares them when it ends,
and the stages after it compare them with what DVC has written since: a fifth of a second lies between. Outs of other
stages are not looked at: DVC locks them while a stage runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pathspec
import psutil
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from timbre.core import params
from timbre.core.content import write_atomic
from timbre.core.errors import ParamsError
from timbre.mapping.dvc_cache import LOCK, forget_run

PIPELINE = Path("dvc.yaml")
IGNORED = Path(".dvcignore")
SEEN = Path(".timbre/inputs")  # stage.json: what it was given, until DVC has recorded it
SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh"}

Given = dict[str, str]  # a path → DVC's hash of it; `section in params.yaml` → its values as JSON


def given(stage: str) -> Given:
    """What the stage depends on as it is now, without the outs of other stages."""
    try:
        document = params.load()
    except ParamsError as error:  # somebody is in the middle of an edit
        document = {"": str(error)}
    stages = YAML(typ="safe").load(PIPELINE.read_text(encoding="utf-8"))["stages"]
    outs = {Path(path) for each in stages.values() for path in _names(each.get("outs", []))}
    paths = [Path(_filled(path, document)) for path in _names(stages[stage].get("deps", []))]
    keys = [_filled(key, document) for key in stages[stage].get("params", [])]
    hashes = {path.as_posix(): dvc_hash(path) for path in paths if not outs.intersection([path, *path.parents])}
    return hashes | {f"{key} in {params.PARAMS}": _json(_lookup(document, key)) for key in keys}


def differences(one: Given, other: Given) -> list[str]:
    return sorted(name for name in one | other if one.get(name) != other.get(name))


def remember(stage: str, seen: Given) -> None:
    write_atomic(SEEN / f"{stage}.json", json.dumps({"dvc": _dvc_process(), "given": seen}, indent=1))


def recorded_wrongly() -> dict[str, list[str]]:
    """Stage → what dvc.lock says that it was given and it was not, of the stages that this run of DVC began.

    What DVC wrote of such a stage is taken back, so that it runs again.
    """
    wrong: dict[str, list[str]] = {}
    process = _dvc_process()
    for path in sorted(SEEN.glob("*.json")):
        record = json.loads(path.read_bytes())
        entry = _lock()["stages"].get(path.stem, {})
        path.unlink()
        seen: Given = record["given"]
        if record["dvc"] == process and (names := differences(seen, _recorded(entry, seen))):
            wrong[path.stem] = names
            forget_run(Path(), path.stem)
    return wrong


def dvc_hash(path: Path) -> str:
    """As DVC computes it: MD5 of a file, or of the sorted list of a folder's files; empty where there is nothing."""
    if not path.is_dir():
        return _md5(path)
    ignored = pathspec.GitIgnoreSpec.from_lines(IGNORED.read_text().splitlines() if IGNORED.exists() else [])
    files = [each for each in path.rglob("*") if each.is_file() and not ignored.match_file(each.as_posix())]
    listing = [{"md5": _md5(each), "relpath": each.relative_to(path).as_posix()} for each in files]
    listing.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _md5(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError:  # gone meanwhile
        return ""


def _filled(text: str, document: dict[str, Any]) -> str:
    """`${voice.family}` as what params.yaml says there, as DVC does."""
    return str(_lookup(document, text[2:-1])) if text.startswith("${") else text


def _recorded(entry: dict[str, Any], seen: Given) -> Given:
    """What dvc.lock says of the same dependencies."""
    hashes = {dep["path"]: dep["md5"] for dep in entry.get("deps", []) if dep["path"] in seen}
    values = entry.get("params", {}).get(str(params.PARAMS), {})
    return hashes | {f"{key} in {params.PARAMS}": _json(value) for key, value in values.items()}


def _lock() -> dict[str, Any]:
    try:
        lock = YAML(typ="safe").load(LOCK.read_text(encoding="utf-8"))
    except (OSError, YAMLError, UnicodeDecodeError):
        lock = None
    return lock if isinstance(lock, dict) and "stages" in lock else {"stages": {}}


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _names(entries: list[Any]) -> Iterator[str]:
    """The paths of deps or outs, which stand as text or as the only key of a mapping."""
    for entry in entries:
        yield from [entry] if isinstance(entry, str) else entry


def _lookup(document: Any, key: str) -> Any:
    """`train.rank`, as DVC finds it; None where there is none."""
    for part in key.split("."):
        document = document.get(part) if isinstance(document, dict) else None
    return document


def _dvc_process() -> str:
    """The run of DVC that started this stage, perhaps by a shell."""
    for process in psutil.Process().parents():
        if process.name() not in SHELLS:
            return f"{process.pid} {process.create_time()}"
    return ""
