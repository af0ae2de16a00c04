"""What `track` records, and the runs that come of it: for the tests of the stage, of `timbre runs` and of servers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_outputs import write_outs
from tests.support.paths import ROOT
from tests.support.report_outs import write_owned
from timbre import tracking

DEMO = (ROOT / "params.yaml").read_text(encoding="utf-8").replace("rank: 32", "rank: 8")
PARAMS = re.sub(r"(?m)^  learning_rate: \S+", "  learning_rate: 1e-4", DEMO)
FLAGS = {
    "dataset": "data/dataset",
    "adapter": "models/adapter",
    "history": "models/history.csv",
    "speed": "models/speed.json",
    "samples": "reports/samples",
    "points": "reports/points",
    "heard": "reports/heard",
    "scores": "reports/scores.csv",
    "metrics": "reports/details.json",
    "mos": "reports/mos.json",
    "report": "reports/index.html",
}
ARGUMENTS = {name: Path(path) for name, path in FLAGS.items()}
PAGE = '<meta name="timbre:voices" content="marina"><h1>a page</h1>'
DIGEST = "0123456789abcdef0123456789abcdef.dir"


def write_template(root: Path) -> None:
    """Outs, and a store with its tables made: making them takes seconds."""
    write_outs(root)
    (root / "reports/index.html").write_text(PAGE)
    write_owned(root)
    (root / "params.yaml").write_text(PARAMS)
    write_lock(root, {"data/dataset": DIGEST})
    tracking.connect(f"sqlite:///{root}/mlflow.db").search_experiments()


def enter(root: Path, patch: pytest.MonkeyPatch) -> None:
    """As `dvc repro` would run `track` there."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DVC_EXP_NAME"):
        patch.delenv(name, raising=False)
    patch.chdir(root)


def write_lock(root: Path, outs: dict[str, str]) -> None:
    stages = {"dataset": {"outs": [{"path": path, "md5": digest} for path, digest in outs.items()]}}
    (root / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))


def write_gates(root: Path, **gates: bool) -> None:
    """As `evaluate` would judge."""
    path = root / "reports/details.json"
    metrics = json.loads(path.read_text())
    metrics["gates"] = {name: {"passed": passed, "value": 0.25, "limit": 0.1} for name, passed in gates.items()}
    path.write_text(json.dumps(metrics))


def runs(uri: str) -> list[Any]:
    """The newest first."""
    client = tracking.connect(uri)
    experiment = tracking.experiment_of(client, create=False)
    return list(client.search_runs([experiment])) if experiment else []


def runs_in(root: Path) -> list[Any]:
    """Of the store in a repository."""
    return runs(f"sqlite:///{root}/mlflow.db")
