"""Older versions that a recording or a speaker is in, and the MLflow runs of their adapters.

A version is told once for each adapter: by the first commit that has it and all the tags on commits that have it.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from timbre.core.content import mapping
from timbre.trace.facts import Past
from timbre.tracking import offline
from timbre.versions import clip_rows, dvc_lock, history
from timbre.versions.clip_rows import PARTS
from timbre.versions.dvc_lock import Lock
from timbre.versions.dvc_outs import Outs
from timbre.versions.snapshot import Snapshot, open_snapshot
from timbre.versions.tables import ADAPTER, SOURCES
from timbre.versions.traced import key_of_adapter

VOICE = ("dvc.lock", SOURCES)  # whatever changes the voice changes one of these


def adapters(root: Path, ids: Collection[str], speaker: str | None, missing: list[str]) -> Iterator[Past]:
    """From the oldest adapter to the newest that learnt from these recordings, or from any of the speaker's."""
    tags = history.tags(root, VOICE)
    outs, by_digest = Outs(root, remotes=False), dict[str, Past]()
    for at in history.on_any_branch(root, VOICE):
        with open_snapshot(root, at.commit) as snapshot:
            lock = dvc_lock.read(snapshot)
            recordings = _declared(snapshot, ids, speaker)
            digest = lock.outs.get(ADAPTER)
            clips, of = _clips(snapshot, lock, outs, recordings, speaker)
        if clips == 0 or not (recordings or clips):
            continue
        here, earlier = tags.get(at.commit, ()), by_digest.get(digest or "")
        if earlier:
            by_digest[digest or ""] = _with_tags(earlier, here)
        else:
            runs = tuple(offline.runs(root, ADAPTER, digest, missing, patient=True)) if digest else ()
            key = key_of_adapter(functools.partial(outs.find, lock), outs.list(lock, ADAPTER)) if digest else None
            by_digest[digest or ""] = Past(
                at.commit, at.date, here, at.subject, recordings, key, digest, clips, of, runs
            )
    yield from by_digest.values()


def _declared(snapshot: Snapshot, ids: Collection[str], speaker: str | None) -> tuple[str, ...]:
    entries = dvc_lock.document(snapshot, SOURCES)
    rows = [mapping(entry) for entry in entries] if isinstance(entries, list) else []
    return tuple(str(e.get("id")) for e in rows if e.get("id") in ids or (speaker and e.get("speaker") == speaker))


def _clips(
    snapshot: Snapshot, lock: Lock, outs: Outs, recordings: Sequence[str], speaker: str | None
) -> tuple[int | None, int | None]:
    """How many rows of the training table are theirs, and how many there are; None where it cannot be reached."""
    content = outs.read(lock, PARTS["training"], snapshot.name)
    if content is None:
        return None, None
    rows = list(clip_rows.json_rows(content))
    return sum(row.get("recording") in recordings or row.get("source") == (speaker or "") for row in rows), len(rows)


def _with_tags(past: Past, tags: Sequence[str]) -> Past:
    return Past(**{**vars(past), "tags": (*past.tags, *(tag for tag in tags if tag not in past.tags))})
