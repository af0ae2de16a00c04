"""Where a map's batches are computed: in this process, in processes of this machine, or on a Ray cluster.

    for batch, place, files in run(speak, [Batch(names, payloads), …], Params("local", 2, None)):

Every engine computes the same batches with the same code, so no result depends on it; only the order may differ. A
worker that is killed costs no more than its batch, which another does again; a batch that kills three is told at the
end, after the others were finished. An error in an entry stops the map, as it does without workers.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Generic, Literal, NamedTuple, TypeVar

from timbre.errors import EngineError, TimbreError, raise_all
from timbre.threads import cores

T = TypeVar("T")
Files = dict[str, bytes | Path]
"""One entry's files by suffix: content, or a finished temporary file to be moved into place."""
Compute = Callable[[Sequence[T]], Iterable[Files]]

ATTEMPTS = 3  # at a batch whose worker is killed
NAMED = 3  # entries of a batch, in a message


@dataclass(frozen=True)
class Params:
    """Section `compute` of params.yaml. No result depends on it, so no stage of dvc.yaml names it."""

    engine: Literal["local", "ray"]
    workers: int | None  # processes; None is one per core, on a cluster one per CPU or GPU
    address: str | None  # of a Ray cluster; None starts one on this machine

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers: {self.workers} is not 1 or more, nor null")
        if self.address is not None and self.engine != "ray":
            raise ValueError(f"address: {self.address} is of a Ray cluster, and compute.engine is {self.engine}")


HERE = Params("local", 1, None)


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


def run(
    compute: Compute[T], batches: Sequence[Batch[T]], params: Params, *, independent: bool, gpu: bool
) -> Iterator[tuple[str, Files]]:
    """Each entry's name and files, as they are done; see `mapping.refresh` for what the last two say."""
    if params.engine == "ray" and batches:
        from timbre.engines import cluster

        yield from cluster.run(compute, batches, params, independent, gpu)
        return
    workers = params.workers or cores()
    parts = [part for batch in batches for part in (batch.shared_out(workers) if independent else [batch])]
    if workers > 1 and len(parts) > 1:
        from timbre.engines import local

        yield from local.run(compute, parts, min(workers, len(parts)))
        return
    for batch in batches:
        yield from zip(batch.names, computed(compute, batch.payloads), strict=True)


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
