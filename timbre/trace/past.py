"""Older versions that a recording or a speaker is in, and the MLflow runs of their adapters.

A version is told once for each adapter: by the first commit that has it and all the tags on commits that have it.
MLflow's own store in the repository is read as the SQLite file that it is, because importing MLflow takes seconds.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from timbre import tracking
from timbre.core.errors import DataError, TrackingError
from timbre.diff.clips import PARTS
from timbre.trace.facts import Past, Run
from timbre.trace.version import ADAPTER, key_of_adapter
from timbre.versions import dvc_lock
from timbre.versions.dvc_lock import Lock, mapping
from timbre.versions.dvc_outs import Outs
from timbre.versions.snapshot import Snapshot, git, open_snapshot
from timbre.versions.tables import SOURCES

FIELD = "\x1f"
ADAPTER_TAG = f"dvc.{ADAPTER}"  # by which `track` names an adapter's hash
NOT_ASKED = "MLflow runs"  # begins the line that tells why there are none
QUERY = (
    "SELECT runs.run_uuid, runs.name FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid "
    "WHERE tags.key = ? AND tags.value = ? AND runs.lifecycle_stage = 'active' ORDER BY runs.start_time"
)


def history(root: Path, ids: Collection[str], speaker: str | None, missing: list[str]) -> Iterator[Past]:
    """From the oldest adapter to the newest that learnt from these recordings, or from any of the speaker's."""
    tags = _tags(root)
    outs, told = Outs(root, remotes=False), dict[str, Past]()
    for commit, date, subject in _commits(root):
        with open_snapshot(root, commit) as snapshot:
            made = dvc_lock.read(snapshot)
            theirs = _declared(snapshot, ids, speaker)
            digest = made.outs.get(ADAPTER)
            clips, of = _clips(snapshot, made, outs, theirs, speaker)
        if clips == 0 or not (theirs or clips):
            continue
        here, known = tags.get(commit, ()), told.get(digest or "")
        if known:
            told[digest or ""] = _with_tags(known, here)
        else:
            found = tuple(runs(root, digest, missing, patient=True)) if digest else ()
            key = key_of_adapter(functools.partial(outs.find, made)) if digest else None
            told[digest or ""] = Past(commit, date, here, subject, theirs, key, digest, clips, of, found)
    yield from told.values()


def runs(root: Path, adapter: str | None, missing: list[str], patient: bool = False) -> Iterator[Run]:
    """The MLflow runs of the adapter with that hash; a server is asked only where somebody is `patient`."""
    uri = tracking.store_uri(root)
    if adapter is None or any(line.startswith(NOT_ASKED) for line in missing):
        return
    if not uri.startswith("sqlite:///"):
        if not patient:
            missing.append(f"{NOT_ASKED}: a server takes a while; --history of a recording or speaker asks {uri}")
            return
        try:
            yield from asked(uri, adapter)
        except TrackingError as error:
            missing.append(f"{NOT_ASKED}: {error}")
        return
    store = Path(uri.removeprefix("sqlite:///"))
    if store.exists():
        with contextlib.suppress(sqlite3.Error), contextlib.closing(_opened(store)) as database:
            yield from (Run(str(id), str(name)) for id, name in database.execute(QUERY, (ADAPTER_TAG, adapter)))


def asked(uri: str, adapter: str) -> Iterator[Run]:
    client = tracking.connect(uri)
    with tracking.explained(uri):
        experiment = tracking.experiment_of(client, create=False)
        wanted = f"tags.`{ADAPTER_TAG}` = '{adapter}'"
        found = client.search_runs([experiment], wanted, order_by=["attributes.start_time"]) if experiment else []
    yield from (Run(run.info.run_id, str(run.info.run_name)) for run in found)


def _opened(store: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{store.resolve().as_uri()}?mode=ro", uri=True, timeout=2)


def _commits(root: Path) -> list[tuple[str, str, str]]:
    """Commit, day and subject, from the oldest: those that changed the voice, on any branch or under a tag."""
    form = FIELD.join(("%H", "%ad", "%s"))
    try:
        # --full-history: git would leave out a side whose files a merge did not keep; --date-order: of commits made in
        # one second it would tell the later one first
        which = ["HEAD", "--branches", "--remotes", "--tags", "--full-history", "--date-order", "--reverse"]
        listed = git(root, "log", *which, "--date=short", f"--format={form}", "--", "dvc.lock", SOURCES)
    except DataError:  # no commit yet
        return []
    rows = (line.split(FIELD) for line in listed.decode(errors="replace").split("\n") if line)
    return [(commit, date, subject) for commit, date, subject in rows]


def _tags(root: Path) -> dict[str, tuple[str, ...]]:
    """Commit that changed the voice → the tags that hold what it made; a tag may be on a later commit."""
    found: dict[str, tuple[str, ...]] = {}
    for tag in git(root, "tag").decode().split():
        last = git(root, "log", "-1", "--format=%H", tag, "--", "dvc.lock", SOURCES).decode().strip()
        found[last] = (*found.get(last, ()), tag)
    return found


def _declared(snapshot: Snapshot, ids: Collection[str], speaker: str | None) -> tuple[str, ...]:
    entries = dvc_lock.document(snapshot, SOURCES)
    rows = [mapping(entry) for entry in entries] if isinstance(entries, list) else []
    return tuple(str(e.get("id")) for e in rows if e.get("id") in ids or (speaker and e.get("speaker") == speaker))


def _clips(
    snapshot: Snapshot, made: Lock, outs: Outs, theirs: Sequence[str], speaker: str | None
) -> tuple[int | None, int | None]:
    """How many rows of the training table are theirs, and how many there are; None where it cannot be reached."""
    content = outs.read(made, PARTS["training"], snapshot.name)
    if content is None:
        return None, None
    rows = [json.loads(line) for line in content.decode().split("\n") if line.strip()]
    return sum(row.get("recording") in theirs or row.get("source") == (speaker or "") for row in rows), len(rows)


def _with_tags(past: Past, tags: Sequence[str]) -> Past:
    return Past(**{**vars(past), "tags": (*past.tags, *(tag for tag in tags if tag not in past.tags))})
