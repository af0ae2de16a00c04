"""What a stage was given, so that an edit while it runs is not recorded as used.

DVC hashes what a stage depends on when its command has ended: whatever is saved meanwhile, a learning rate, a line of a
transcript, a module, would stand in dvc.lock as the origin of results that never saw it. So a stage takes DVC's hashes
of what git owns of its dependencies, and the values of its parameters, when it begins. It compares them when it ends,
and the stages after it compare them with what DVC has written since: a fifth of a second lies between. Outs of other
stages are not looked at: DVC locks them while a stage runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil

from timbre.core import params
from timbre.core.content import file_md5, listing_md5, plain_yaml, write_atomic
from timbre.core.errors import ParamsError
from timbre.mapping import warm
from timbre.mapping.dvc_cache import forget_run, locked_stages
from timbre.mapping.dvc_yaml import at, filled, ignored, made, paths, sections

PIPELINE = Path("dvc.yaml")
SEEN = Path(".timbre/inputs")  # stage.json: what it was given, until DVC has recorded it

Given = dict[str, str]  # a path → DVC's hash of it; `section in params.yaml` → its values as JSON


def given(stage: str) -> Given:
    """What the stage depends on as it is now, without the outs of other stages."""
    try:
        parameters = params.load()
    except ParamsError as error:  # somebody is in the middle of an edit
        parameters = {"": str(error)}
    stages = filled(plain_yaml(PIPELINE.read_bytes())["stages"], parameters)
    outs = {Path(path) for each in stages.values() for path in made(each)}
    own = [path for path in map(Path, paths(stages[stage].get("deps"))) if not outs.intersection([path, *path.parents])]
    values = {f"{key} in {params.PARAMS}": _json(at(parameters, key)) for key in sections(stages[stage])}
    return {path.as_posix(): dvc_hash(path) for path in own} | values


def as_recorded(stage: str) -> bool:
    """Whether nothing of it is edited since DVC recorded the stage, so that a person asked for it to run again."""
    seen = given(stage)
    return not differences(seen, _recorded(locked_stages(Path()).get(stage, {}), seen))


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
        path.unlink()
        if record["dvc"] != process:
            continue
        seen: Given = record["given"]
        if names := differences(seen, _recorded(locked_stages(Path()).get(path.stem, {}), seen)):
            wrong[path.stem] = names
            forget_run(Path(), path.stem)
    return wrong


def dvc_hash(path: Path) -> str:
    """As DVC computes it, of a file or a folder; empty where there is nothing."""
    if not path.is_dir():
        return _md5(path)
    rules = ignored(Path())
    files = [each for each in path.rglob("*") if each.is_file() and not rules.match_file(each.as_posix())]
    return listing_md5({each.relative_to(path).as_posix(): _md5(each) for each in files})


def _md5(path: Path) -> str:
    try:
        return file_md5(path)
    except OSError:  # gone meanwhile
        return ""


def _recorded(entry: dict[str, Any], seen: Given) -> Given:
    """What dvc.lock says of the same dependencies."""
    hashes = {dep["path"]: dep.get("md5", "") for dep in entry.get("deps", []) if dep["path"] in seen}
    values = entry.get("params", {}).get(str(params.PARAMS), {})
    return hashes | {f"{key} in {params.PARAMS}": _json(value) for key, value in values.items()}


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _dvc_process() -> str:
    """The run of DVC that started this stage, perhaps by a shell."""
    forked = warm.dvc_of_fork()
    for process in [psutil.Process(forked)] if forked else psutil.Process().parents():
        if process.name() not in warm.SHELLS:
            return f"{process.pid} {process.create_time()}"
    return ""
