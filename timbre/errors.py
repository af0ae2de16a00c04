"""Everything that can go wrong by a user's hand, and how it is said; `run` is how every stage and command begins.

    TimbreError                 one or more lines a person can act on; exit code 1
    ├── ParamsError             params.yaml: a key is unknown, missing or of the wrong type
    ├── DataError               a record is wrong: always begins with the file and line, or the recording's id
    │   ├── SourceError         data/sources.yaml, or what it points to
    │   ├── AudioError          a file that is not audio, or audio nobody could learn from
    │   └── TranscriptError     data/transcripts/*.tsv
    ├── EngineError             worker processes that were lost, or a cluster that cannot be reached
    ├── ModelError              a base model or adapter that is missing or does not fit
    └── TrackingError           the MLflow store cannot be reached

Anything else that escapes is a bug, and shows its traceback.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

TIMES = Path(".timbre/times.json")  # stage → seconds of its last run on this machine; git and DVC know nothing of it


class TimbreError(Exception):
    """A mistake that the reader of the message can mend."""


class ParamsError(TimbreError):
    pass


class DataError(TimbreError):
    pass


class SourceError(DataError):
    pass


class AudioError(DataError):
    pass


class TranscriptError(DataError):
    pass


class EngineError(TimbreError):
    pass


class ModelError(TimbreError):
    pass


class TrackingError(TimbreError):
    pass


E = TypeVar("E", bound=TimbreError)


def raise_all(kind: type[E], problems: Iterable[str]) -> None:
    """Raise one error with a line per problem, so that nobody mends a file one run at a time."""
    lines = list(problems)
    if lines:
        raise kind("\n".join(lines))


def run(main: Callable[[], int | None]) -> None:
    """Run a stage or command: a user's mistake ends in its message on stderr and exit code 1."""
    begun = time.monotonic()
    try:
        code = main() or 0
        if not code:
            remember(time.monotonic() - begun)
        sys.exit(code)
    except TimbreError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped; what is finished is kept, the next run goes on from there", file=sys.stderr)
        sys.exit(130)


def remember(seconds: float) -> None:
    """What a stage took, so that `timbre diff` can say what a change will cost; of a command nobody asks it."""
    package, _, stage = getattr(getattr(sys.modules["__main__"], "__spec__", None), "name", "").rpartition(".")
    if package == "stages":
        with contextlib.suppress(OSError):  # a stage that did its work does not fail for a note about it
            write_times({**times(), stage: round(seconds, 1)})


def times(path: Path = TIMES) -> dict[str, float]:
    """Stage → seconds; empty where none ran here yet."""
    try:
        found: Any = json.loads(path.read_bytes())
        return {str(stage): float(seconds) for stage, seconds in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write_times(seconds: dict[str, float], path: Path = TIMES) -> None:
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")  # stages may run side by side
    temporary.write_text(json.dumps(seconds, indent=1, sort_keys=True) + "\n")
    temporary.replace(path)
