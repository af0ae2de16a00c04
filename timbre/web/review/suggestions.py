"""What machines say against a transcript: a newer draft, the label check, `timbre value`; and what was dismissed of it.

Reads   data/labels.jsonl                    Label rows, where the stage `check` has run
        reports/value.json                   which clips harm the voice, where `timbre value` has run for this adapter
Writes  .timbre/dismissed/<recording>.json   suggestions of one draft that nobody wants to see again; safe to delete
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timbre.core.content import write_atomic
from timbre.core.errors import DataError
from timbre.core.records import Label, read_jsonl
from timbre.project import worth

MOST = 20_000  # dismissals, and LONGEST characters each: a page cannot fill the disk
LONGEST = 2000
NOTED = 0.5  # of harm: clips below it are in no order


def labels(path: Path, recording: str) -> list[dict[str, Any]]:
    """The recording's clips that Whisper hears otherwise than they are written; none where nobody has checked."""
    try:
        rows = read_jsonl(path, Label)
    except DataError:  # not there, or of another version: the page does without
        return []
    columns = ("start", "end", "text", "heard", "cer", "numbers")
    differing = [dataclasses.asdict(row) for row in rows if row.recording == recording and row.cer > 0]
    return [{name: row[name] for name in columns} for row in differing]


def harms(path: Path, adapter: Path, recording: str) -> list[dict[str, Any]]:
    """The recording's clips that likely harm the voice that lies here; none where nobody has asked."""
    current = worth.read_current(path, adapter)
    rows = [row for row in current.rows if row.recording == recording and row.harm >= NOTED] if current else []
    columns = ("start", "end", "text", "harm", "advice", "why")
    return [{name: getattr(row, name) for name in columns} for row in rows]


@dataclass(frozen=True)
class Dismissals:
    """Kept for the draft that they were said of: another draft may say the same again."""

    folder: Path

    def read(self, recording: str, draft: str) -> list[str]:
        try:
            dismissed = json.loads(self._path(recording).read_bytes())
            return [str(name) for name in dismissed["names"]] if dismissed["draft"] == draft else []
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def write(self, recording: str, draft: str, names: Sequence[object]) -> None:
        if len(names) > MOST or not all(isinstance(name, str) and len(name) <= LONGEST for name in names):
            raise DataError(f"{recording}: these are no dismissals of suggestions")
        write_atomic(self._path(recording), json.dumps({"draft": draft, "names": list(names)}))

    def _path(self, recording: str) -> Path:
        return self.folder / f"{recording}.json"
