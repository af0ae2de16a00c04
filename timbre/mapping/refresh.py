"""The one place that decides what a stage computes again.

A stage is a map over records. Its folder holds one entry per record: a few files that share a name, one of them JSON
(timbre/mapping/entries.py). An entry is *fresh* when it was made from the same content key and its files are, by their
hashes, what was written then; fresh entries stay. What was made from this key at any time is looked for and put back
(timbre/mapping/store.py), the others are computed, and those that nobody asks for any more are put away. Shards that
nobody touched since they held exactly these entries are not looked into again. Hence
incremental runs at the grain of a record, resume after a kill, and the same folder whatever was in it before.

    jobs = [Job(name=r.id, key=content_key(VERSION, r.sha256), payload=r) for r in recordings]
    refresh(Path("data/drafts"), jobs, compute, suffixes=[".json"], label="transcribe")

`compute` takes a batch of payloads and yields, per payload and in order, the entry's files as {suffix: bytes or path};
none for one that failed and is told later, so that the others are finished first. The `.json` file carries the key,
under "key".
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from timbre.core import running
from timbre.core.content import content_key
from timbre.core.safe_text import warn
from timbre.core.sections import ComputeParams
from timbre.mapping import batch, engines
from timbre.mapping.batch import Batch, Compute
from timbre.mapping.entries import RECORD, Entry
from timbre.mapping.packing import Packing, most_in_shard
from timbre.mapping.shards import found, state
from timbre.mapping.store import Store

T = TypeVar("T")
NAMED = 3  # damaged entries, in a message


@dataclass(frozen=True)
class Job(Generic[T]):
    name: str  # file stem of the entry
    key: str  # content key of all that the entry depends on
    payload: T


@dataclass(frozen=True)
class Refreshed:
    names: Sequence[str]  # of the entries that were computed
    restored: int
    kept: int
    removed: int

    @property
    def computed(self) -> int:
        return len(self.names)

    def __str__(self) -> str:
        restored = f"{self.restored} restored, " if self.restored else ""
        return f"{self.computed} computed, {restored}{self.kept} kept, {self.removed} removed"


def refresh(
    folder: Path,
    jobs: Sequence[Job[T]],
    compute: Compute[T],
    *,
    suffixes: Sequence[str],
    label: str,
    batch: int = 1,
    independent: bool = False,
    engine: ComputeParams = batch.HERE,
    gpu: bool = False,
    shards: bool = False,
) -> Refreshed:
    """Bring `folder` to exactly the entries of `jobs`.

    Batches are cut from the whole list of jobs, not from what is missing, so that an entry is computed in the same
    company whether or not an earlier run was cut short. `independent` says that an entry comes out the same in any
    company: then they are cut from what is missing alone. `engine` says where `compute` runs, which is then a function
    that another process can import, and `gpu` that it takes a GPU where there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    most = most_in_shard(engine, len(jobs)) if shards else None
    asked = _asked(jobs, suffixes, most) if most else ""
    store = Store(folder)
    if asked and store.is_settled(asked, state(folder)):
        return _told(label, Refreshed([], 0, len(jobs), 0))
    with store:
        entries = {job.name: entry_of(folder, job, suffixes) for job in jobs}
        assert len(entries) == len(jobs), f"two entries of one name in {folder}"
        packing = Packing(folder, store)
        removed = _put_away_strangers(store, packing, folder, entries, suffixes)
        stale = _stale(packing, entries, label)
        missing = {name for name in stale if not packing.restore(entries[name])}
        todo, computed = _batches(jobs, missing, batch, independent), []
        with tqdm(total=len(missing), desc=label, unit="entry", disable=not missing, dynamic_ncols=True) as bar:
            for name, files in engines.run(compute, todo, engine, independent=independent, gpu=gpu):
                if name in missing and files:
                    store.write(entries[name], files)
                    computed.append(name)
                    bar.update()
        packing.settle(entries, most)
        if asked and len(computed) == len(missing):
            store.settled(asked, state(folder))
    return _told(label, Refreshed(computed, len(stale) - len(missing), len(jobs) - len(stale), removed))


def _told(label: str, result: Refreshed) -> Refreshed:
    running.COMPUTED.append(result.computed)
    print(f"{label}: {result}")
    return result


def _asked(jobs: Sequence[Job[Any]], suffixes: Sequence[str], most: int) -> str:
    """A short name for all that the folder is to hold."""
    rows = "".join(f"{job.name} {job.key}\n" for job in jobs)
    return content_key(hashlib.sha256(rows.encode()).hexdigest(), list(suffixes), most)


def rewrite(folder: Path, job: Job[Any], suffixes: Sequence[str], content: bytes) -> None:
    """Another record beside the other files of a fresh entry: what is said about them, where no key depends on it."""
    with Store(folder) as store:
        store.rewrite(entry_of(folder, job, suffixes), content)


def entry_of(folder: Path, job: Job[Any], suffixes: Sequence[str]) -> Entry:
    assert RECORD in suffixes, f"an entry of {folder} has no record"
    return _entry(folder, job.name, job.key, suffixes)


def _entry(folder: Path, name: str, key: str, suffixes: Sequence[str]) -> Entry:
    others = [suffix for suffix in suffixes if suffix != RECORD]
    return Entry(name, key, partial(_beside, folder, name), others)


def _beside(folder: Path, name: str, suffix: str) -> Path:
    return folder / f"{name}{suffix}"


def _stale(packing: Packing, entries: Mapping[str, Entry], label: str) -> set[str]:
    """The entries that are not as they should be; damaged ones are told."""
    states = {name: packing.state(entry) for name, entry in entries.items()}
    if damaged := [name for name, state in states.items() if state == "damaged"]:
        names = ", ".join(damaged[:NAMED]) + (f" and {more} more" if (more := len(damaged) - NAMED) > 0 else "")
        warn(f"{label}: damaged, so made again: {names} (the files are not what was written)")
    return {name for name, state in states.items() if state != "fresh"}


def _batches(jobs: Sequence[Job[T]], stale: set[str], size: int, independent: bool) -> list[Batch[T]]:
    chosen = [job for job in jobs if job.name in stale] if independent else jobs
    batches = [chosen[i : i + size] for i in range(0, len(chosen), size)]
    return [
        Batch([job.name for job in jobs], [job.payload for job in jobs])
        for jobs in batches
        if any(job.name in stale for job in jobs)
    ]


def _put_away_strangers(
    store: Store, packing: Packing, folder: Path, entries: Mapping[str, Entry], suffixes: Sequence[str]
) -> int:
    """Entries that nobody asks for, and whatever else lies there; those in shards leave them when all is there."""
    expected = {f"{name}{suffix}" for name in entries for suffix in suffixes} | {path.name for path in found(folder)}
    strangers = [path for path in folder.iterdir() if path.name not in expected]
    names = {path.name.split(".")[0] for path in strangers} - entries.keys() - {""}
    for name in names:
        store.put_away(_entry(folder, name, "", suffixes))
    for path in strangers:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return len(names | (packing.names - entries.keys()))
