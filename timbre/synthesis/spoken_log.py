"""What was spoken, a line of JSON each: when, by which version, for whom, how long. Never the text, unless asked.

The file is .timbre/spoken.jsonl; when it reaches its limit it becomes spoken.jsonl.1, and so on.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import threading
from pathlib import Path

PATH = Path(".timbre/spoken.jsonl")
LIMIT = 10_000_000  # bytes; some 40,000 sentences
KEPT = 5  # older files


class SpokenLog:
    """Safe to be written by several threads of a process, a line at a time."""

    def __init__(self, path: Path = PATH, *, with_text: bool = False, limit: int = LIMIT) -> None:
        self.path, self.with_text, self.limit = path, with_text, limit
        self._lock = threading.Lock()

    def add(self, *, door: str, version: str, key: str | None, text: str, seconds: float, **more: object) -> None:
        """`door` is what spoke (say, serve, lines), `key` the name of the API key, `version` that of the voice."""
        entry: dict[str, object] = {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            "door": door,
            "version": version,
            "key": key,
            "characters": len(text),
            "seconds": round(seconds, 3),
            "sha256": hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest(),
            **more,
        }
        if self.with_text:
            entry["text"] = text
        line = json.dumps(entry) + "\n"
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and self.path.stat().st_size + len(line) > self.limit:
                self._rotate()
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(line)

    def _rotate(self) -> None:
        for number in range(KEPT - 1, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            if older.exists():
                older.replace(self.path.with_name(f"{self.path.name}.{number + 1}"))
        self.path.replace(self.path.with_name(f"{self.path.name}.1"))
