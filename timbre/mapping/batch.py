"""What a map hands to an engine: batches of entries, and the settings that say where they are computed."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from timbre.core.errors import EngineError, TimbreError, raise_all
from timbre.core.sections import ComputeParams

T = TypeVar("T")
Files = dict[str, bytes | Path]
"""One entry's files by suffix: content, or a finished temporary file to be moved into place."""
Compute = Callable[[Sequence[T]], Iterable[Files]]

ATTEMPTS = 3  # at a batch whose worker is killed
NAMED = 3  # entries of a batch, in a message


HERE = ComputeParams("local", 1, None, "auto")


class Batch(NamedTuple, Generic[T]):
    """Entries that are computed together."""

    names: Sequence[str]
    payloads: Sequence[T]

    def __str__(self) -> str:
        more = f" and {len(self.names) - NAMED} more of its batch" if len(self.names) > NAMED else ""
        return ", ".join(self.names[:NAMED]) + more

    def shared_out(self, workers: int) -> list[Batch[T]]:
        """In as many parts, for entries that come out the same in any company."""
        size = max(1, ceil(len(self.names) / workers))
        return [
            Batch(self.names[start : start + size], self.payloads[start : start + size])
            for start in range(0, len(self.names), size)
        ]


def computed(compute: Compute[T], payloads: Sequence[T]) -> Iterator[Files]:
    for _, files in zip(payloads, compute(payloads), strict=True):
        yield files


def portable(error: BaseException) -> BaseException:
    """An error that another process can raise, with where it came from if that is for a programmer to know."""
    if not isinstance(error, TimbreError):
        error.add_note(f"in a worker process:\n{''.join(traceback.format_exception(error))}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # of whatever kind: an error's own arguments may be anything
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


def tell_lost(given_up: Mapping[str, str]) -> None:
    """Raise for batches that were given up, by what became of their workers."""
    raise_all(
        EngineError,
        (
            f"{entries}: the process that computes it was lost {ATTEMPTS} times ({how}); if memory ran out, fewer "
            "compute.workers or a smaller batch help; the next run goes on from there"
            for entries, how in given_up.items()
        ),
    )
