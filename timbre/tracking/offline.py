"""A version's run in MLflow, found by what `track` writes down of it: DVC's hash of the samples.

Neither needs MLflow's library: a server is asked over HTTP and with patience of seconds, the store of this machine is
a file. A run that cannot be found is no loss; the report does without the link.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sqlite3
import urllib.parse
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

from timbre.tracking import PATIENCE, experiment_name
from timbre.tracking.run import Run
from timbre.versions.dvc_lock import Lock
from timbre.versions.dvc_outs import DIGEST

SAMPLES = "reports/samples"
STORE = "mlflow.db"
FIND = (
    "SELECT name FROM runs JOIN tags USING (run_uuid) "
    "WHERE key = ? AND value = ? AND lifecycle_stage = 'active' ORDER BY start_time DESC"
)


def find(root: Path, lock: Lock) -> Run | None:
    digest = lock.outs.get(SAMPLES, "")
    if not DIGEST.fullmatch(digest):
        return None
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").rstrip("/")
    try:
        if uri.startswith(("http://", "https://")):
            return _asked(uri, digest)
        return _stored(root / STORE, digest) if not uri else None
    except (OSError, ValueError, KeyError, TypeError, sqlite3.Error):
        return None


def _asked(uri: str, digest: str) -> Run | None:
    name = urllib.parse.quote(experiment_name())
    found = _call(uri, f"experiments/get-by-name?experiment_name={name}")
    experiment = str(found["experiment"]["experiment_id"])
    wanted = {"experiment_ids": [experiment], "filter": f"tags.`dvc.{SAMPLES}` = '{digest}'", "max_results": 1}
    runs = _call(uri, "runs/search", wanted).get("runs", [])
    if not runs:
        return None
    info = runs[0]["info"]
    public = re.sub(r"//[^/@]*@", "//", uri)  # a password in the address is nobody's who reads the report
    return Run(str(info["run_name"]), f"{public}/#/experiments/{experiment}/runs/{info['run_id']}")


def _call(uri: str, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **_credentials()}
    request = urllib.request.Request(f"{uri}/api/2.0/mlflow/{what}", data, headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return dict(json.load(answer))


def _credentials() -> dict[str, str]:
    """As MLflow's own client takes them."""
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
    both = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {both}"} if user else {}


def _stored(path: Path, digest: str) -> Run | None:
    if not path.exists():
        return None
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as store:
        row = store.execute(FIND, (f"dvc.{SAMPLES}", digest)).fetchone()
    return Run(str(row[0]), "") if row else None
