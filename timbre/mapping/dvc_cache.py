"""Where DVC keeps what it committed: a file per content, named by its MD5; and what dvc.lock says is which.

Read here without DVC, whose import takes a second: the layout is the documented one of DVC 3.
"""

from __future__ import annotations

import configparser
import contextlib
import io
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from timbre.core.content import files_listed, mapping, plain_yaml, write_atomic

LOCK = Path("dvc.lock")


def settings(root: Path) -> configparser.RawConfigParser:
    """DVC's own settings of the repository, and those that are this machine's alone."""
    config = configparser.RawConfigParser(strict=False)
    config.read([root / ".dvc/config", root / ".dvc/config.local"])
    return config


def objects(root: Path) -> Path:
    """The folder of DVC's objects; there is none before the first commit."""
    return root / ".dvc" / settings(root).get("cache", "dir", fallback="cache") / "files/md5"


class Locked:
    """The files that dvc.lock names, those inside of its folders with them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._objects = objects(root)
        self._listings: dict[str, dict[str, str]] = {}

    def md5(self, path: Path) -> str | None:
        """None where it names no such file, or nobody here has the list of its folder."""
        if digest := self._outs.get(path.as_posix()):
            return digest
        for folder in path.parents:
            if digest := self._outs.get(folder.as_posix()):
                return self._listing(digest).get(path.relative_to(folder).as_posix())
        return None

    def files(self, folder: Path) -> dict[str, str]:
        """File → MD5, of a folder that is an output; none where it is not, or nobody here has its list."""
        digest = self._outs.get(folder.as_posix())
        return self._listing(digest) if digest else {}

    @cached_property
    def _outs(self) -> dict[str, str]:
        stages = locked_stages(self.root).values()
        return {out["path"]: out["md5"] for stage in stages for out in stage.get("outs", []) if "md5" in out}

    def _listing(self, digest: str) -> dict[str, str]:
        if digest not in self._listings:
            self._listings[digest] = listing(self._objects, digest)
        return self._listings[digest]


def locked_stages(root: Path) -> dict[str, Any]:
    """Stage → what dvc.lock says of it; none where it is missing or in no state to be read."""
    try:
        stages = _parsed((root / LOCK).read_bytes())["stages"]
        return {str(name): dict(stage) for name, stage in stages.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


@lru_cache(maxsize=1)
def _parsed(lock: bytes) -> Any:
    """A stage that refreshes several folders asks for each."""
    return plain_yaml(lock)


def listing(objects: Path, digest: str) -> dict[str, str]:
    """File → MD5, of a folder; none where its list is not here, or is damaged."""
    try:
        return files_listed(objects.joinpath(digest[:2], digest[2:]).read_bytes()) or {}
    except OSError:
        return {}


def forget_run(root: Path, stage: str) -> None:
    """Let DVC forget what it recorded of a stage last, in dvc.lock and among the runs that it would restore."""
    yaml = YAML()
    yaml.width = 2**16
    lock = yaml.load((root / LOCK).read_text(encoding="utf-8"))
    entry = lock["stages"].pop(stage, None)
    if entry is None:
        return
    text = io.StringIO()
    yaml.dump(lock, text)
    write_atomic(root / LOCK, text.getvalue())
    for run in (objects(root).parents[1] / "runs").glob("*/*/*"):
        with contextlib.suppress(OSError, YAMLError):
            cached = YAML(typ="safe", pure=True).load(run.read_text(encoding="utf-8"))
            if mapping(cached).get("cmd") == entry["cmd"] and _hashes(cached) == _hashes(entry):
                run.unlink()
                run.parent.rmdir()  # DVC fails on an empty one; OSError where it holds other runs


def _hashes(entry: dict[str, Any]) -> dict[str, str]:
    return {dep["path"]: dep.get("md5", "") for dep in entry.get("deps", [])}
