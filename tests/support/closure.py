"""Which local modules a source file imports, directly or not: what DVC cannot see and `deps` must say."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

PACKAGES = ("timbre", "stages", "benchmarks")


def imports(path: Path) -> set[Path]:
    """The closure of local files that `path` imports, also inside functions, with itself left out."""
    found: set[Path] = set()
    todo = [path]
    while todo:
        for file in _direct(todo.pop()) - found - {path}:
            found.add(file)
            todo.append(file)
    return found


@cache
def _direct(path: Path) -> set[Path]:
    names: set[str] = set()
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {file for name in names if name.split(".")[0] in PACKAGES for file in _files(name)}


def _files(module: str) -> set[Path]:
    parts = module.split(".")
    packages = {Path(*parts[: i + 1], "__init__.py") for i in range(len(parts))}
    candidates = packages | {Path(*parts).with_suffix(".py")}
    return {file for file in candidates if file.is_file() and _has_code(file)}


def _has_code(path: Path) -> bool:
    """False for a package's `__init__` that is only a docstring: it decides nothing."""
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in _parsed(path).body)


@cache
def _parsed(path: Path) -> ast.Module:
    """Paths are relative to the root, which is where every test of the house runs."""
    return ast.parse(path.read_text(encoding="utf-8"))
