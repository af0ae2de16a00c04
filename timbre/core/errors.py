"""Every mistake that a user can make and mend.

    TimbreError                 one or more lines a person can act on; exit code 1
    ├── ParamsError             params.yaml: a key is unknown, missing or of the wrong type
    ├── DataError               a record is wrong: always begins with the file and line, or the recording's id
    │   ├── SourceError         data/sources.yaml, or what it points to
    │   ├── AudioError          a file that is not audio, or audio nobody could learn from
    │   └── TranscriptError     data/transcripts/*.tsv
    ├── StageError           a stage whose inputs changed while it ran
    ├── EngineError             worker processes that were lost, or a cluster that cannot be reached
    ├── ModelError              a base model or adapter that is missing or does not fit
    └── TrackingError           the MLflow store cannot be reached

Anything else that escapes is a bug, and shows its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar


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


class StageError(TimbreError):
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
