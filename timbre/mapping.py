"""The one place that decides what a stage computes again.

A stage is a map over records. Its folder holds one entry per record: a few files that share a name. An entry is
*fresh* when it exists and was made from the same content key; fresh entries stay, the others are computed, those that
nobody asks for any more are removed. Hence incremental runs at the grain of a record, resume after a kill, and the
same folder whatever was in it before.

    jobs = [Job(name=r.id, key=content_key(VERSION, r.sha256), payload=r) for r in recordings]
    refresh(Path("data/drafts"), jobs, compute, suffixes=[".json"], label="transcribe")

`compute` takes a batch of payloads and yields, per payload and in order, the entry's files as {suffix: bytes or path};
none for one that failed and is told later, so that the others are finished first.
An entry with a `.json` file carries its key there, under "key"; an entry without one is named by its key.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

T = TypeVar("T")
Files = dict[str, bytes | Path]
"""One entry's files by suffix: content, or a finished temporary file to be moved into place."""
Compute = Callable[[Sequence[T]], Iterable[Files]]


@dataclass(frozen=True)
class Job(Generic[T]):
    name: str  # file stem of the entry
    key: str  # content key of all that the entry depends on
    payload: T


@dataclass(frozen=True)
class Refreshed:
    kept: int
    computed: int
    removed: int

    def __str__(self) -> str:
        return f"{self.computed} computed, {self.kept} kept, {self.removed} removed"


def content_key(*parts: Any) -> str:
    """A short name for content: 16 hex digits of the SHA-256 of the parts as canonical JSON."""
    canonical = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write under a temporary name, then rename: a reader sees the old file or the new one, never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def refresh(
    folder: Path,
    jobs: Sequence[Job[T]],
    compute: Compute[T],
    *,
    suffixes: Sequence[str],
    label: str,
    batch: int = 1,
    workers: int = 1,
    keep: Sequence[str] = (),
    independent: bool = False,
) -> Refreshed:
    """Bring `folder` to exactly the entries of `jobs`.

    Batches are cut from the whole list of jobs, not from what is missing, so that an entry is computed in the same
    company whether or not an earlier run was cut short. `independent` says that an entry comes out the same in any
    company: then they are cut from what is missing alone. `keep` names files of the folder that are no entries.
    """
    names = {job.name for job in jobs}
    assert len(names) == len(jobs), f"two entries of one name in {folder}"
    folder.mkdir(parents=True, exist_ok=True)
    removed = _remove_strangers(folder, names, set(keep))
    stale = {job.name for job in jobs if not is_fresh(folder, job, suffixes)}
    wanted = [job for job in jobs if job.name in stale] if independent else jobs
    batches = [list(wanted[i : i + batch]) for i in range(0, len(wanted), batch)]
    todo = [jobs for jobs in batches if any(job.name in stale for job in jobs)]
    with tqdm(total=len(stale), desc=label, unit="entry", disable=not stale, dynamic_ncols=True) as bar:
        computed = 0
        for job, files in _computed(todo, compute, workers):
            if job.name in stale and files:
                _write_entry(folder, job, files)
                computed += 1
                bar.update()
    result = Refreshed(kept=len(jobs) - len(stale), computed=computed, removed=removed)
    print(f"{label}: {result}")
    return result


def is_fresh(folder: Path, job: Job[Any], suffixes: Sequence[str]) -> bool:
    if not all((folder / f"{job.name}{suffix}").exists() for suffix in suffixes):
        return False
    if ".json" not in suffixes:
        return job.name == job.key
    try:
        return bool(json.loads((folder / f"{job.name}.json").read_bytes())["key"] == job.key)
    except (ValueError, KeyError, TypeError):
        return False


def _computed(batches: list[list[Job[T]]], compute: Compute[T], workers: int) -> Iterator[tuple[Job[T], Files]]:
    if workers <= 1 or len(batches) <= 1:
        for jobs in batches:
            yield from zip(jobs, compute([job.payload for job in jobs]), strict=True)
        return
    # spawn, not fork: a forked child of a process that has used torch's thread pool hangs
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(batches)), mp_context=context) as pool:
        futures: dict[Future[list[Files]], list[Job[T]]] = {
            pool.submit(_compute_batch, compute, [job.payload for job in jobs]): jobs for jobs in batches
        }
        try:
            for future in as_completed(futures):
                yield from zip(futures[future], future.result(), strict=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _compute_batch(compute: Compute[T], payloads: Sequence[T]) -> list[Files]:
    return list(compute(payloads))


def _write_entry(folder: Path, job: Job[Any], files: Files) -> None:
    # The record comes last: while it is missing or names another key, the entry is not fresh.
    for suffix in sorted(files, key=lambda suffix: suffix == ".json"):
        content, target = files[suffix], folder / f"{job.name}{suffix}"
        if isinstance(content, Path):
            content.replace(target)
        else:
            write_atomic(target, content)


def _remove_strangers(folder: Path, names: set[str], keep: set[str]) -> int:
    removed = set()
    for path in folder.iterdir():
        stem = path.name.split(".")[0]
        if path.name in keep or (stem in names and not path.name.startswith(".")):
            continue
        removed.add(stem)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return len(removed - {""})
