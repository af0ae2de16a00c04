"""The MLflow runs of a version, found by the hashes that `track` writes down: DVC's of its samples or its adapter."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from timbre import tracking
from timbre.core.errors import TrackingError
from timbre.core.safe_text import redacted
from timbre.tracking.run import LiveTraining, StoredVersion, TrackedRun
from timbre.tracking.stores import SQLITE, RunStore, store
from timbre.versions.dvc_lock import Lock
from timbre.versions.dvc_outs import DIGEST
from timbre.versions.tables import SAMPLES

NOT_ASKED = "MLflow runs"  # begins the line that says why there are none
T = TypeVar("T")


def latest(root: Path, lock: Lock) -> TrackedRun | None:
    """The newest run that has the lock's samples; None also where the store gives no answer, as nothing hangs on it."""
    digest, uri = lock.outs.get(SAMPLES, ""), tracking.store_uri(root)
    if not digest or store(uri) is None:  # MLflow's library would take longer than the whole diff
        return None
    try:
        rows = runs_of(uri, SAMPLES, digest)
    except TrackingError:
        return None
    return rows[-1] if rows else None


def runs_of(uri: str, out: str, digest: str) -> list[TrackedRun]:
    """From the oldest, the runs whose output `out` has DVC's hash `digest`."""
    if not DIGEST.fullmatch(digest):  # a lock may come from anybody, and is never put into a query
        return []
    if store(uri) is None:
        return list(of_library(uri, f"dvc.{out}", digest))
    return _asked(uri, lambda asked: asked.runs(f"dvc.{out}", digest))


def runs(root: Path, out: str, digest: str | None, missing: list[str], patient: bool = False) -> Iterator[TrackedRun]:
    """Like `runs_of`; a server is asked only where somebody is `patient`, and `missing` says why there are none."""
    uri = tracking.store_uri(root)
    if digest is None or any(line.startswith(NOT_ASKED) for line in missing):
        return
    if not uri.startswith(SQLITE) and not patient:
        address = redacted(uri)
        missing.append(f"{NOT_ASKED}: a server takes a while; --history of a recording or speaker asks {address}")
        return
    try:
        yield from runs_of(uri, out, digest)
    except TrackingError as error:
        if not uri.startswith(SQLITE):
            missing.append(f"{NOT_ASKED}: {error}")


def version(uri: str, key: str) -> StoredVersion | None:
    """What the store knows of the version of that key; None where it has none, or is of a kind that cannot be asked."""
    return _asked(uri, lambda asked: asked.version(key)) if store(uri) else None


def page(uri: str) -> str:
    """The address that shows the experiment's runs; `mlflow ui` opens elsewhere. Empty without runs, or an answer."""
    try:
        experiment = _asked(uri, lambda asked: asked.experiment()) if store(uri) else None
    except TrackingError:
        return ""
    server = "http://127.0.0.1:5000" if uri.startswith(SQLITE) else redacted(uri).rstrip("/")
    return f"{server}/#/experiments/{experiment}/runs?workflowType=machine_learning" if experiment else ""


def live(uri: str) -> LiveTraining | None:
    """The newest training that told of itself while it ran, in a file or on a server."""
    if store(uri) is None:
        raise TrackingError(f"{redacted(uri)}: only a server and an SQLite file can be watched; open `mlflow ui`")
    return _asked(uri, lambda asked: asked.live(tracking.live_experiment_name()))


def _asked(uri: str, question: Callable[[RunStore], T]) -> T:
    asked = store(uri)
    assert asked is not None, "the caller has looked"
    try:
        return question(asked)
    except (OSError, ValueError, KeyError, TypeError, sqlite3.Error) as error:
        raise TrackingError(tracking.down(uri, getattr(error, "reason", error))) from error


def of_library(uri: str, tag: str, value: str) -> Iterator[TrackedRun]:
    client = tracking.connect(uri)
    with tracking.explained(uri):
        experiment = tracking.experiment_of(client, create=False)
        order = ["attributes.start_time"]
        rows = client.search_runs([experiment], f"tags.`{tag}` = '{value}'", order_by=order) if experiment else []
    yield from (TrackedRun(row.info.run_id, str(row.info.run_name)) for row in rows)
