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

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from timbre.core.content import write_atomic
from timbre.core.sections import ComputeParams
from timbre.mapping import batch, engines
from timbre.mapping.batch import Batch, Compute, Files

T = TypeVar("T")


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


def refresh(
    folder: Path,
    jobs: Sequence[Job[T]],
    compute: Compute[T],
    *,
    suffixes: Sequence[str],
    label: str,
    batch: int = 1,
    keep: Sequence[str] = (),
    independent: bool = False,
    engine: ComputeParams = batch.HERE,
    gpu: bool = False,
) -> Refreshed:
    """Bring `folder` to exactly the entries of `jobs`.

    Batches are cut from the whole list of jobs, not from what is missing, so that an entry is computed in the same
    company whether or not an earlier run was cut short. `independent` says that an entry comes out the same in any
    company: then they are cut from what is missing alone. `keep` names files of the folder that are no entries.
    `engine` says where `compute` runs, which is then a function that another process can import, and `gpu` that it
    takes a GPU where there is one.
    """
    names = {job.name for job in jobs}
    assert len(names) == len(jobs), f"two entries of one name in {folder}"
    folder.mkdir(parents=True, exist_ok=True)
    removed = _remove_strangers(folder, names, set(keep))
    stale = {job.name for job in jobs if not is_fresh(folder, job, suffixes)}
    wanted = [job for job in jobs if job.name in stale] if independent else jobs
    batches = [wanted[i : i + batch] for i in range(0, len(wanted), batch)]
    todo = [
        Batch([job.name for job in jobs], [job.payload for job in jobs])
        for jobs in batches
        if any(job.name in stale for job in jobs)
    ]
    with tqdm(total=len(stale), desc=label, unit="entry", disable=not stale, dynamic_ncols=True) as bar:
        computed = 0
        for name, files in engines.run(compute, todo, engine, independent=independent, gpu=gpu):
            if name in stale and files:
                _write_entry(folder, name, files)
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


def _write_entry(folder: Path, name: str, files: Files) -> None:
    # The record comes last: while it is missing or names another key, the entry is not fresh.
    for suffix in sorted(files, key=lambda suffix: suffix == ".json"):
        content, target = files[suffix], folder / f"{name}{suffix}"
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
