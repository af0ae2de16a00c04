"""`dvc exp run --queue`: several learning rates become runs side by side, each with its own parameters and adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Repository
from tests.support import mlflow_store
from tests.support.paths import ROOT
from timbre import tracking
from timbre.tracking import registry
from timbre.training import timing

pytestmark = pytest.mark.pipeline

LEARN = """\
from pathlib import Path
from ruamel.yaml import YAML
rate = YAML(typ="safe").load(Path("params.yaml"))["train"]["learning_rate"]
Path("models/adapter").mkdir(parents=True)
Path("models/adapter/adapter_model.safetensors").write_text(str(rate))
Path("models/adapter/training.json").write_text('{"best_step": 108}')
"""
PIPELINE = f"""\
stages:
  learn:
    cmd: python learn.py
    deps: [learn.py]
    params: [train]
    outs: [models/adapter]
  track:
    cmd: python -m stages.track {" ".join(f"--{name} {path}" for name, path in mlflow_store.FLAGS.items())}
    deps: [data/dataset, models/adapter, reports/details.json]
    params: [train, voice]
"""


@pytest.fixture
def repository(root: Path, warm: Path) -> Repository:
    """The outs in git, but for an adapter that a stage of one line learns, and the real `track` after it."""
    repository = Repository(root, warm)
    (root / "learn.py").write_text(LEARN)
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "dvc.lock").unlink()
    for path in (root / "models/adapter").iterdir():
        path.unlink()
    (root / "models/adapter").rmdir()
    (root / ".gitignore").write_text("/models/adapter\n/mlflow.db*\n/mlruns\n")
    repository.begin()
    repository.commit("A voice")
    return repository


def test_queued_learning_rates_are_runs_side_by_side(repository: Repository) -> None:
    for rate in ("1e-4", "4e-4"):
        repository.run("dvc", "exp", "run", "--queue", "-S", f"train.learning_rate={rate}")
    repository.run("dvc", "exp", "run", "--run-all", PYTHONPATH=str(ROOT))
    runs = mlflow_store.runs(tracking.store_uri(repository.root))
    assert sorted(float(run.data.params["train.learning_rate"]) for run in runs) == [1e-4, 4e-4]
    assert all(tracking.is_complete(run) for run in runs)
    names = {run.info.run_name for run in runs}
    assert len(names) == 2
    listed = repository.run("dvc", "exp", "list", "--name-only").stdout.split()
    assert names == set(listed), "a run has its experiment's name, so that `dvc exp apply` brings it back"
    client = tracking.connect(tracking.store_uri(repository.root))
    for run in runs:
        assert run.info.artifact_uri.startswith((repository.root / "mlruns").as_uri()), "not the temporary folder's"
        kept = repository.root / f"mlruns/{run.info.run_id}/artifacts/adapter/{timing.WEIGHTS}"
        assert float(kept.read_text()) == float(run.data.params["train.learning_rate"])
        assert registry.version_of(client, run.info.run_id)
        assert len(client.get_metric_history(run.info.run_id, "eval_loss")) == 10
