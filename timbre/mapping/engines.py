"""Where a map's batches are computed: in this process, in processes of this machine, or on a Ray cluster.

    for batch, place, files in run(speak, [Batch(names, payloads), …], params.compute):

Every engine computes the same batches with the same code, so no result depends on it; only the order may differ. A
worker that is killed costs no more than its batch, which another does again; a batch that kills three is told at the
end, after the others were finished. An error in an entry stops the map, as it does without workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from timbre.core.running import cores
from timbre.core.sections import ComputeParams
from timbre.mapping.batch import Batch, Compute, Files, computed

T = TypeVar("T")


def run(
    compute: Compute[T], batches: Sequence[Batch[T]], params: ComputeParams, *, independent: bool, gpu: bool
) -> Iterator[tuple[str, Files]]:
    """Each entry's name and files, as they are done; see `mapping.refresh` for what the last two say."""
    if params.engine == "ray" and batches:
        from timbre.mapping import ray_driver

        yield from ray_driver.run(compute, batches, params, independent, gpu)
        return
    workers = params.workers or cores()
    parts = [part for batch in batches for part in (batch.shared_out(workers) if independent else [batch])]
    if workers > 1 and len(parts) > 1:
        from timbre.mapping import local_pool

        yield from local_pool.run(compute, parts, min(workers, len(parts)))
        return
    for batch in batches:
        yield from zip(batch.names, computed(compute, batch.payloads), strict=True)
