"""What was read from all entries of a folder, kept until the folder or the question changes.

    gains = kept_value("gains", state(clips), lambda: {…})    # read from thousands of records, or found again

For folders in shards, of thousands of entries, where reading each costs more than all else after an edit of a word. The
files are this machine's own and safe to delete; `TIMBRE_ANEW=1` keeps and finds nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from timbre.core.content import write_atomic
from timbre.mapping.store import ANEW

PLACE = Path(".timbre/values")

T = TypeVar("T")


def kept_value(name: str, key: str | None, make: Callable[[], T]) -> T:
    """A value of JSON, as it was made for this key last; without a key it is made, and not kept."""
    if key is None or os.environ.get(ANEW):
        return make()
    path = PLACE / f"{name}.json"
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):  # it only saves work
        content = json.loads(path.read_bytes())
        if content["key"] == key:
            kept: T = content["value"]
            return kept
    value = make()
    write_atomic(path, json.dumps({"key": key, "value": value}, ensure_ascii=False, separators=(",", ":")))
    return value
