"""An MLflow store, asked without MLflow's library, which takes two seconds to load.

A server is asked over HTTP, a file as SQLite; both answer the same three questions. What they raise is OSError,
ValueError, KeyError, TypeError or sqlite3.Error.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.error import HTTPError

from timbre import tracking
from timbre.core.safe_text import redacted
from timbre.tracking.run import LiveTraining, StoredVersion, TrackedRun

SQLITE, HTTP = "sqlite:///", ("http://", "https://")
RUNNING = "RUNNING"
CANDIDATE = "candidate"  # alias in the model registry: the version that the pipeline stands at
RUNS = (
    "SELECT runs.run_uuid, runs.name FROM runs JOIN tags USING (run_uuid) JOIN experiments USING (experiment_id) "
    "WHERE experiments.name = ? AND experiments.lifecycle_stage = 'active' "
    "AND tags.key = ? AND tags.value = ? AND runs.lifecycle_stage = 'active' ORDER BY runs.start_time"
)
EXPERIMENT = "SELECT experiment_id FROM experiments WHERE name = ? AND lifecycle_stage = 'active'"
NEWEST = (
    "SELECT runs.run_uuid, runs.name, runs.status FROM runs JOIN experiments USING (experiment_id) "
    "WHERE experiments.name = ? AND experiments.lifecycle_stage = 'active' AND runs.lifecycle_stage = 'active' "
    "ORDER BY runs.start_time DESC LIMIT 1"
)
LOSSES = ("train_loss", "eval_loss", "best_step", "best_eval_loss")
CANDIDATE_RUN = (
    "SELECT run_id FROM registered_model_aliases AS a JOIN model_versions AS v ON v.name = a.name AND "
    "v.version = a.version WHERE a.name = ? AND a.alias = ?"
)


class RunStore(Protocol):
    def experiment(self) -> str | None:
        """The id of our experiment; None where there is none yet."""

    def runs(self, tag: str, value: str) -> list[TrackedRun]:
        """From the oldest, the runs of our experiment that have the tag."""

    def version(self, key: str) -> StoredVersion | None:
        """What is known of the run of a version; None where there is none."""

    def live(self, experiment: str) -> LiveTraining | None:
        """The newest run of the experiment of that name; None where there is none."""


def store(uri: str) -> RunStore | None:
    """None of a kind that only MLflow's library can ask, such as PostgreSQL."""
    if uri.startswith(SQLITE):
        return StoreFile(Path(uri.removeprefix(SQLITE)))
    return StoreServer(uri.rstrip("/")) if uri.startswith(HTTP) else None


@dataclass(frozen=True)
class StoreFile:
    path: Path

    def experiment(self) -> str | None:
        rows = self._rows(EXPERIMENT, tracking.experiment_name())
        return str(rows[0][0]) if rows else None

    def runs(self, tag: str, value: str) -> list[TrackedRun]:
        return [TrackedRun(str(id), str(name)) for id, name in self._rows(RUNS, tracking.experiment_name(), tag, value)]

    def version(self, key: str) -> StoredVersion | None:
        run = next(iter(self.runs(tracking.VERSION_TAG, key)), None)
        if run is None:
            return None
        tags = self._tags(run.id)
        named = self._rows(CANDIDATE_RUN, tracking.experiment_name(), CANDIDATE)
        return StoredVersion(run, tags, [row[0] for row in named] == [run.id])

    def live(self, experiment: str) -> LiveTraining | None:
        for id, name, status in self._rows(NEWEST, experiment):
            query = "SELECT step, value FROM metrics WHERE run_uuid = ? AND key = ? ORDER BY timestamp"
            losses = {loss: {int(step): float(value) for step, value in self._rows(query, id, loss)} for loss in LOSSES}
            return LiveTraining(str(id), str(name), status == RUNNING, self._tags(str(id)), losses)
        return None

    def _tags(self, id: str) -> dict[str, str]:
        rows = self._rows("SELECT key, value FROM tags WHERE run_uuid = ?", id)
        return {str(name): str(value) for name, value in rows}

    def _rows(self, query: str, *values: object) -> list[Any]:
        if not self.path.exists():  # to connect would make it
            return []
        with closing(sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True, timeout=2)) as database:
            return database.execute(query, values).fetchall()


@dataclass(frozen=True)
class StoreServer:
    uri: str

    def experiment(self, name: str | None = None) -> str | None:
        name = urllib.parse.quote(name or tracking.experiment_name())
        try:
            about = self._call(f"experiments/get-by-name?experiment_name={name}")
        except HTTPError as error:
            if error.code == 404:
                return None
            raise
        return str(about["experiment"]["experiment_id"])

    def runs(self, tag: str, value: str) -> list[TrackedRun]:
        return [run for run, _ in self._search(tag, value)]

    def version(self, key: str) -> StoredVersion | None:
        match = next(self._search(tracking.VERSION_TAG, key), None)
        return None if match is None else StoredVersion(*match, self._candidate() == match[0].id)

    def live(self, experiment: str) -> LiveTraining | None:
        if (id := self.experiment(experiment)) is None:
            return None
        wanted = {"experiment_ids": [id], "order_by": ["attributes.start_time DESC"], "max_results": 1}
        for run in self._call("runs/search", wanted).get("runs", []):
            info, tags = run["info"], _tags_of(run)
            losses = {loss: self._curve(str(info["run_id"]), loss) for loss in LOSSES}
            return LiveTraining(str(info["run_id"]), str(info["run_name"]), info["status"] == RUNNING, tags, losses)
        return None

    def _curve(self, run: str, metric: str) -> dict[int, float]:
        asked = urllib.parse.urlencode({"run_id": run, "metric_key": metric, "max_results": 25_000})
        points = self._call(f"metrics/get-history?{asked}").get("metrics", [])
        return {int(point.get("step", 0)): float(point["value"]) for point in points}

    def _search(self, tag: str, value: str) -> Iterator[tuple[TrackedRun, dict[str, str]]]:
        experiment = self.experiment()
        if experiment is None:
            return
        wanted = {
            "experiment_ids": [experiment],
            "filter": f"tags.`{tag}` = '{value}'",
            "order_by": ["attributes.start_time"],
        }
        for run in self._call("runs/search", wanted).get("runs", []):
            id = str(run["info"]["run_id"])
            href = f"{redacted(self.uri)}/#/experiments/{experiment}/runs/{id}"
            yield TrackedRun(id, str(run["info"]["run_name"]), href), _tags_of(run)

    def _candidate(self) -> str | None:
        name = urllib.parse.quote(tracking.experiment_name())
        try:
            about = self._call(f"registered-models/alias?name={name}&alias={CANDIDATE}")
        except HTTPError as error:
            if error.code in (400, 404):  # no such model, or no such alias
                return None
            raise
        return str(about["model_version"]["run_id"])

    def _call(self, what: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        address, credentials = _address(self.uri)
        headers = {"Content-Type": "application/json", **credentials}
        request = urllib.request.Request(f"{address}/api/2.0/mlflow/{what}", data, headers)
        with urllib.request.urlopen(request, timeout=tracking.PATIENCE) as answer:
            return dict(json.load(answer))


def _tags_of(run: Mapping[str, Any]) -> dict[str, str]:
    return {str(tag["key"]): str(tag["value"]) for tag in run["data"].get("tags", [])}


def _address(uri: str) -> tuple[str, dict[str, str]]:
    """Where to ask, and the credentials, taken from where MLflow's own client takes them: variables, or the address."""
    parts = urllib.parse.urlsplit(uri)
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return address, {"Authorization": f"Bearer {token}"}
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
    user = user or urllib.parse.unquote(parts.username or "")
    password = password or urllib.parse.unquote(parts.password or "")
    both = base64.b64encode(f"{user}:{password}".encode()).decode()
    return address, {"Authorization": f"Basic {both}"} if user else {}
