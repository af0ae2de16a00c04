"""What the last report made of a sound, its player and its picture, found again where the sound is the same.

    with kept(FILE): …                       # while a report is made: keeps what it asks for
    with kept(FILE, add=False): …            # while something else shows the same sounds
    text = found("mp3", key, lambda: …)      # inside: as it was made for this key; outside: made

To encode and draw sounds is nearly all that a report computes, and after an edit half of them are the base voice's, as
before. The run in MLflow has the same sounds and pictures as the report. The file is this machine's own and safe to
delete.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from timbre.core.content import write_atomic

FILE = Path(".timbre/players.json")


class KeptSounds:
    def __init__(self, known: dict[str, str]) -> None:
        self.known, self.asked = known, dict[str, str]()

    def of(self, key: str, make: Callable[[], str]) -> str:
        if key not in self.asked:
            self.asked[key] = self.known[key] if key in self.known else make()
        return self.asked[key]

    def has(self, key: str) -> bool:
        return key in self.asked or key in self.known


_open: list[KeptSounds] = []  # at most one


@contextmanager
def kept(file: Path | None, add: bool = True) -> Iterator[None]:
    """Without a file, nothing of before is found, and nothing stays."""
    sounds = KeptSounds(_read(file) if file else {})
    _open.append(sounds)
    try:
        yield
    finally:
        _open.remove(sounds)
    if file and add and sounds.asked.keys() != sounds.known.keys():
        write_atomic(file, json.dumps(sounds.asked))


def found(kind: str, key: str, make: Callable[[], str]) -> str:
    return _open[-1].of(f"{kind} {key}", make) if _open else make()


def has(kind: str, key: str) -> bool:
    return bool(_open) and _open[-1].has(f"{kind} {key}")


def add(kind: str, key: str, text: str) -> None:
    """What `found` would make."""
    found(kind, key, lambda: text)


def is_open() -> bool:
    """Whether a key is worth its cost."""
    return bool(_open)


def _read(file: Path) -> dict[str, str]:
    """Nothing where it was never written, or is no such table."""
    try:
        table = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    fits = isinstance(table, dict) and all(isinstance(text, str) for text in table.values())
    return table if fits else {}
