"""Entries of a folder put into shards, taken out again, and looked up there while a stage runs.

A stage computes entries as files, as it does without shards. When all are there, `settle` puts them into the shards
that they belong to (timbre/mapping/shards.py): a shard with the entries that it has to have stays as it is. A kill
before that leaves files, which the next run finds; a kill in between leaves an entry in two places, whole in both.
What leaves a shard is kept like any entry that is replaced. Nothing is computed when a folder changes its layout.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Set
from functools import cached_property
from pathlib import Path

from timbre.core.content import md5
from timbre.core.safe_text import warn
from timbre.core.sections import ComputeParams
from timbre.mapping import shards
from timbre.mapping.entries import RECORD, Entry, State, opened
from timbre.mapping.shards import FilePart, PackedEntry
from timbre.mapping.store import Store

MANY = 5_000  # entries of a folder; with fewer, `auto` leaves each file by itself
MOST = 512  # entries in a shard, by `auto`


def most_in_shard(params: ComputeParams, count: int) -> int | None:
    """None where a folder of so many entries is to have none."""
    if params.shards == "auto":
        return MOST if count >= MANY else None
    return None if params.shards == "off" else params.shards


class Packing:
    """The entries of `folder`, loose ones and those in shards."""

    def __init__(self, folder: Path, store: Store) -> None:
        shards.forget()
        self._folder, self._store = folder, store
        self._sound: dict[str, list[PackedEntry]] = {}  # by name; of those in more than one shard, the likeliest first
        self._names: set[str] = set()
        self._rotten: set[str] = set()
        self._chosen: dict[str, PackedEntry] = {}
        self._loose = _files(folder)
        for shard in shards.found(folder)[::-1]:
            self._look(shard)

    @property
    def names(self) -> Set[str]:
        return self._names

    def state(self, entry: Entry) -> State:
        """Whether the entry is the one that is wanted, to the byte; a loose one is the newer."""
        loose = self._store.state(entry) if f"{entry.name}{RECORD}" in self._loose else "stale"
        if loose == "fresh" or self._store.anew:
            return loose
        for packed in self._sound.get(entry.name, ()):
            if packed.key == entry.key and packed.parts.keys() == {RECORD, *(entry.files or ())}:
                if any(f"{entry.name}{suffix}" in self._loose for suffix in packed.parts):
                    self._store.put_away(entry)  # what lies there is of another key
                self._chosen[entry.name] = packed
                return "fresh"
        return "damaged" if entry.name in self._rotten else loose

    def restore(self, entry: Entry) -> bool:
        """As a loose entry, from wherever it was kept: by itself, or in a shard in DVC's cache."""
        if self._store.restore(entry):
            return True
        return not self._store.anew and any(self._bring(entry, cached) for cached in self._cached)

    def settle(self, entries: Mapping[str, Entry], most: int | None) -> None:
        """Bring the folder into the layout that is asked for; every entry is loose or chosen from a shard now."""
        if most is None and not self._names and not shards.found(self._folder):
            return
        if most is None:
            self._unpack(entries)
        else:
            self._pack(entries, most)

    def _look(self, shard: Path) -> None:
        """What is in a shard; read as a whole where it was not since it was written."""
        entries = shards.index(shard)
        bad = set() if entries and self._store.is_noted(shard) else shards.rotten(shard)
        if entries is None or bad is None:
            warn(f"{shard}: cannot be read, so its entries are brought back or made again")
            return
        if not bad:
            self._store.note(shard)
        self._names |= entries.keys()
        self._rotten |= bad
        for name, packed in entries.items():
            if name not in bad:
                self._sound.setdefault(name, []).append(packed)

    def _pack(self, entries: Mapping[str, Entry], most: int) -> None:
        self._loose = _files(self._folder)
        wanted = {name: packed for name, entry in entries.items() if (packed := self._now(entry))}
        plan = shards.planned(wanted, most)
        self._keep_others(wanted)
        for file, names in plan.items():
            shard = self._folder / file
            inside = {name: wanted[name] for name in names}
            if shards.index(shard) != inside:
                shards.write(shard, list(inside.values()))
                shards.forget()
                self._store.note(shard)
        if others := [path for path in self._folder.iterdir() if path.name not in plan]:
            for path in others:
                path.unlink()
            shards.forget()

    def _unpack(self, entries: Mapping[str, Entry]) -> None:
        self._keep_others(self._chosen)
        for name, packed in self._chosen.items():
            if not entries[name].record.is_file():
                self._store.place(entries[name], {suffix: part.read() for suffix, part in packed.parts.items()})
        for shard in shards.found(self._folder):
            shard.unlink()
        shards.forget()

    def _now(self, entry: Entry) -> PackedEntry | None:
        """Where the entry's files are; None where it could not be made."""
        if f"{entry.name}{RECORD}" not in self._loose:
            return self._chosen.get(entry.name)
        content = entry.record.read_bytes()
        record = opened(content)
        if record is None or record.key != entry.key:
            return None
        digests = {**record.hashes, RECORD: md5(content)}
        files = {suffix: entry.where(suffix) for suffix in digests}
        parts = {suffix: FilePart(path, 0, path.stat().st_size, digests[suffix]) for suffix, path in files.items()}
        return PackedEntry(entry.name, entry.key, parts)

    def _keep_others(self, wanted: Mapping[str, PackedEntry]) -> None:
        """What is in a shard now and will be in none, for who goes back."""
        for name, some in self._sound.items():
            for packed in some:
                if name not in wanted or _digests(packed) != _digests(wanted[name]):
                    self._store.keep(name, packed.key, {suffix: part.read() for suffix, part in packed.parts.items()})

    def _bring(self, entry: Entry, cached: Mapping[str, PackedEntry]) -> bool:
        packed = cached.get(entry.name)
        return packed is not None and self._store.place(
            entry, {suffix: part.read() for suffix, part in packed.parts.items()}
        )

    @cached_property
    def _cached(self) -> list[dict[str, PackedEntry]]:
        """What is in the shards that dvc.lock names and DVC's cache has."""
        return [entries for path in self._store.committed(self._folder, shards.FILE) if (entries := shards.index(path))]


def _files(folder: Path) -> frozenset[str]:
    """Looked up once: of thousands of entries in shards, none has a file by itself."""
    return frozenset(os.listdir(folder))


def _digests(packed: PackedEntry) -> dict[str, str]:
    return {suffix: part.md5 for suffix, part in packed.parts.items()}
