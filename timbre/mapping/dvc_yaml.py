"""What a stage of dvc.yaml declares: its paths, and the parameters that stand in them; and what DVC ignores."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pathspec import GitIgnoreSpec

from timbre.core.content import mapping

KINDS = ("outs", "metrics", "plots")  # of what a stage makes
IGNORED = ".dvcignore"


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def paths(entries: Any) -> list[str]:
    """`deps` and `outs` name a path, or a path with its options."""
    return [str(next(iter(entry), "")) if isinstance(entry, dict) else str(entry) for entry in listed(entries)]


def made(stage: dict[str, Any]) -> list[str]:
    """What the stage writes."""
    return [path for kind in KINDS for path in paths(stage.get(kind))]


def sections(stage: dict[str, Any]) -> list[str]:
    """Those of params.yaml that the stage reads; a mapping would name another file's."""
    return [section for section in listed(stage.get("params")) if isinstance(section, str)]


def filled(value: Any, params: dict[str, Any]) -> Any:
    """`${voice.family}` replaced, everywhere."""
    if isinstance(value, dict):
        return {filled(key, params): filled(item, params) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, params) for item in value]
    if isinstance(value, str):
        return re.sub(r"\$\{([\w.]+)\}", lambda match: str(at(params, match[1])), value)
    return value


def at(params: dict[str, Any], key: str) -> Any:
    """`train.rank`, as DVC finds it; None where there is none."""
    value: Any = params
    for name in key.split("."):
        value = mapping(value).get(name)
    return value


def ignored(root: Path) -> GitIgnoreSpec:
    """What DVC leaves out when it hashes a folder; ask it for paths from the root."""
    try:
        text = (root / IGNORED).read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return GitIgnoreSpec.from_lines(text.splitlines())
