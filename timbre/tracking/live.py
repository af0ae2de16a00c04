"""Curves of a training while it runs, in an MLflow experiment of their own: `timbre-live`.

    python -m timbre.tracking.live      # `timbre.training.live_curves` starts it, and writes to its stdin

Each line of stdin is a JSON object: {"begin": {…}} first, then {"row": {"step": 5, "train_loss": 3.2}} as they come,
and {"end": "FINISHED", "tags": {…}} last. Where the end is missing, the training was cut short.

It is a process of its own, because MLflow takes seconds to load and a server may take any time to answer: the training
waits for neither. All of it is best effort. After a few failures it ends, with the reason in a line on stdout.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from timbre import tracking
from timbre.core.errors import TrackingError
from timbre.core.records import EARLY_TAG
from timbre.tracking.run import STEPS_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

TRAINING_TAG = "timbre.training"  # the key that the entry in models/adapter has in training.json
FAILURES = 3  # in a row
SECONDS = "5"  # that a server has for an answer; MLflow's own patience is minutes
CHUNK = 2**16  # bytes


def messages(source: int) -> Iterator[list[dict[str, Any]]]:
    """What has come since the last time; a line that is broken, because the pipe was full, is left out."""
    chunks: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_read, args=(source, chunks), daemon=True).start()
    rest, ended = b"", False
    while not ended:
        some = [chunks.get()]
        while not chunks.empty():
            some.append(chunks.get())
        ended = not some[-1]
        *lines, rest = (rest + b"".join(some)).split(b"\n")
        yield [message for line in lines if (message := _parsed(line))]


def _read(source: int, chunks: SimpleQueue[bytes]) -> None:
    """In a thread, so that the pipe does not fill up while a store is slow. The last chunk is empty."""
    while chunk := os.read(source, CHUNK):
        chunks.put(chunk)
    chunks.put(b"")


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


class LiveRun:
    """The run of one training; one that goes on after a kill or an early end continues its own."""

    def __init__(self, client: MlflowClient, begin: dict[str, Any]) -> None:
        self.client = client
        experiment = tracking.experiment_of(client, name=tracking.live_experiment_name())
        earlier = self._earlier(experiment, begin["key"]) if begin["from"] else None
        tags = {TRAINING_TAG: begin["key"], STEPS_TAG: str(begin["steps"])}
        if earlier:
            self.id = earlier
            client.update_run(self.id, status="RUNNING")
        else:
            name = f"{begin['family']} {begin['key'][:8]}"
            self.id = client.create_run(experiment, run_name=name, tags=tags).info.run_id
            for param, value in begin["params"].items():
                client.log_param(self.id, param, value, synchronous=True)

    def _earlier(self, experiment: str | None, key: str) -> str | None:
        query = f"tags.`{TRAINING_TAG}` = '{key}'"
        for run in self.client.search_runs([experiment], query, order_by=["attributes.start_time DESC"]):
            if EARLY_TAG in run.data.tags:
                self.client.delete_tag(run.info.run_id, EARLY_TAG)
                return str(run.info.run_id)
            if run.info.status != "FINISHED":
                return str(run.info.run_id)
        return None

    def log(self, rows: list[dict[str, float]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(name, value, now, int(row["step"])) for row in rows for name, value in row.items() if name != "step"
        ]
        for start in range(0, len(metrics), 1000):  # as many as MLflow takes at once
            self.client.log_batch(self.id, metrics=metrics[start : start + 1000])

    def end(self, status: str, tags: dict[str, str]) -> None:
        for name, value in tags.items():
            self.client.set_tag(self.id, name, value)
        self.client.set_terminated(self.id, status)


def follow(source: int) -> None:
    uri, failures = tracking.store_uri(), 0
    run: LiveRun | None = None
    client: MlflowClient | None = None
    status, tags = "KILLED", dict[str, str]()
    for batch in messages(source):
        try:
            client = client or tracking.connect(uri)
            with tracking.explained(uri):
                for begin in [message["begin"] for message in batch if "begin" in message]:
                    run = LiveRun(client, begin)
                if run and (rows := [message["row"] for message in batch if "row" in message]):
                    run.log(rows)
            failures = 0
        except TrackingError:
            failures += 1
            if run is None or failures == FAILURES:
                raise
        for message in batch:
            status, tags = message.get("end", status), message.get("tags", tags)
    if run:
        with tracking.explained(uri):
            run.end(status, tags)


def main() -> int:
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = SECONDS
    try:
        follow(sys.stdin.fileno())
    except TrackingError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
