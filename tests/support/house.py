"""How large the house is: rooms of the library, import arrows between them, class names that two modules share (those
of benchmarks/ among them).

    python -m tests.support.house [FOLDER]

A room is a folder of `timbre/`, a file that lies directly in `timbre/`, or the folder `stages/`. An arrow says that
some file of the first room imports a file of the second. FOLDER is another checkout, to compare with.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections import Counter, defaultdict
from pathlib import Path

ROOTS = ("timbre", "stages")


def files(root: Path) -> list[Path]:
    return sorted(path.relative_to(root) for name in ROOTS for path in (root / name).rglob("*.py"))


def room(file: Path) -> str:
    """`timbre/audio/loudness.py` lies in timbre.audio, `stages/chunk.py` in stages."""
    parts = file.with_suffix("").parts
    return parts[0] if parts[0] == "stages" else ".".join(parts[:2])


def arrows(root: Path) -> dict[str, set[str]]:
    """Room → the rooms that it imports."""
    known = {".".join(file.with_suffix("").parts).removesuffix(".__init__"): file for file in files(root)}
    between: dict[str, set[str]] = defaultdict(set)
    for file in known.values():
        for module in _read(root / file)[0] & known.keys():
            if room(known[module]) not in (room(file), "timbre.__init__"):  # which is a docstring, on the way to others
                between[room(file)].add(room(known[module]))
    return between


@functools.cache
def _read(path: Path) -> tuple[set[str], list[str]]:
    """What a file imports, and the classes that it defines at its top."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names, [node.name for node in tree.body if isinstance(node, ast.ClassDef)]


def circles(between: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Pairs of rooms that reach each other."""
    reach = {name: _reached(name, between) for name in between}
    return sorted((a, b) for a in reach for b in reach[a] if a < b and a in reach.get(b, set()))


def _reached(start: str, between: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = list(between.get(start, ()))
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += between.get(name, ())
    return seen


def classes(root: Path) -> Counter[str]:
    """Name of a top-level class → in how many modules it is defined."""
    paths = [*files(root), *sorted(path.relative_to(root) for path in (root / "benchmarks").rglob("*.py"))]
    return Counter(name for file in paths for name in _read(root / file)[1])


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    between = arrows(root)
    rooms = {room(file) for file in files(root) if file.name != "__init__.py" or len(file.parts) > 2}
    names = classes(root)
    shared = {name: count for name, count in names.items() if count > 1}
    print(f"{len(rooms)} rooms, {sum(map(len, between.values()))} arrows, {len(circles(between))} circles")
    print(f"{sum(shared.values())} of {sum(names.values())} classes share their name with another")
    for name, count in sorted(shared.items(), key=lambda item: (-item[1], item[0])):
        print(f"  {name}: {count}")


if __name__ == "__main__":
    main()
