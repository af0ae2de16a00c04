"""The MLflow runs of a version, found by the hashes that `track` writes down: DVC's of its samples or its adapter.

None of it imports MLflow's library, which takes seconds: a server is asked over HTTP, a store in a file is read as the
SQLite database that it is. A store of another kind (PostgreSQL) is asked through MLflow.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from timbre import tracking
from timbre.core.errors import TrackingError
from timbre.core.safe_text import redacted
from timbre.tracking.run import TrackedRun
from timbre.versions.dvc_lock import Lock
from timbre.versions.dvc_outs import DIGEST

SAMPLES = "reports/samples"
NOT_ASKED = "MLflow runs"  # begins the line that says why there are none
SQLITE = "sqlite:///"
QUERY = (
    "SELECT runs.run_uuid, runs.name FROM runs JOIN tags USING (run_uuid) "
    "WHERE tags.key = ? AND tags.value = ? AND runs.lifecycle_stage = 'active' ORDER BY runs.start_time"
)


def latest(root: Path, lock: Lock) -> TrackedRun | None:
    """The newest run that has the lock's samples; None also where the store gives no answer, as nothing hangs on it."""
    digest = lock.outs.get(SAMPLES, "")
    uri = tracking.store_uri(root)
    if not digest or not uri.startswith(("http://", "https://", SQLITE)):
        return None  # MLflow's library, which another store needs, takes longer than the whole diff
    try:
        rows = runs_of(uri, SAMPLES, digest)
    except TrackingError:
        return None
    return rows[-1] if rows else None


def runs_of(uri: str, out: str, digest: str) -> list[TrackedRun]:
    """From the oldest, the runs whose output `out` has DVC's hash `digest`."""
    if not DIGEST.fullmatch(digest):  # a lock may come from anybody, and is never put into a query
        return []
    try:
        if uri.startswith(("http://", "https://")):
            return list(_of_server(uri.rstrip("/"), f"dvc.{out}", digest))
        if uri.startswith(SQLITE):
            return _of_file(Path(uri.removeprefix(SQLITE)), f"dvc.{out}", digest)
    except (OSError, ValueError, KeyError, TypeError, sqlite3.Error) as error:
        reason = redacted(str(getattr(error, "reason", error)))
        raise TrackingError(f"the MLflow store {redacted(uri)} cannot be reached ({reason})") from error
    return list(of_library(uri, f"dvc.{out}", digest))


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


def _of_server(uri: str, tag: str, value: str) -> Iterator[TrackedRun]:
    name = urllib.parse.quote(tracking.experiment_name())
    experiment = str(_call(uri, f"experiments/get-by-name?experiment_name={name}")["experiment"]["experiment_id"])
    wanted = {
        "experiment_ids": [experiment],
        "filter": f"tags.`{tag}` = '{value}'",
        "order_by": ["attributes.start_time"],
    }
    for run in _call(uri, "runs/search", wanted).get("runs", []):
        id = str(run["info"]["run_id"])
        href = f"{redacted(uri)}/#/experiments/{experiment}/runs/{id}"
        yield TrackedRun(id, str(run["info"]["run_name"]), href)


def _call(uri: str, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **_credentials()}
    request = urllib.request.Request(f"{uri}/api/2.0/mlflow/{what}", data, headers)
    with urllib.request.urlopen(request, timeout=tracking.PATIENCE) as answer:
        return dict(json.load(answer))


def _credentials() -> dict[str, str]:
    """As MLflow's own client takes them."""
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
    both = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {both}"} if user else {}


def _of_file(path: Path, tag: str, value: str) -> list[TrackedRun]:
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=2)) as store:
        return [TrackedRun(str(id), str(name)) for id, name in store.execute(QUERY, (tag, value))]


def of_library(uri: str, tag: str, value: str) -> Iterator[TrackedRun]:
    client = tracking.connect(uri)
    with tracking.explained(uri):
        experiment = tracking.experiment_of(client, create=False)
        order = ["attributes.start_time"]
        rows = client.search_runs([experiment], f"tags.`{tag}` = '{value}'", order_by=order) if experiment else []
    yield from (TrackedRun(row.info.run_id, str(row.info.run_name)) for row in rows)
