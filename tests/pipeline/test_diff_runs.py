"""A version's run in MLflow is linked where it is known, and a store that is down costs nothing."""

from __future__ import annotations

import json
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from timbre import tracking
from timbre.tracking import offline
from timbre.versions.dvc_lock import Lock

DIGEST = "0123456789abcdef0123456789abcdef.dir"
LOCK = Lock({"generate": {"outs": [{"path": "reports/samples", "md5": DIGEST}]}})


@pytest.fixture(scope="module")
def store(recordable: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real store, in which a version has its run; an older one was removed, and another
    experiment has a newer one, which is none of ours."""
    root = tmp_path_factory.mktemp("store")
    shutil.copy(recordable / "mlflow.db", root)  # with its tables: to make them takes seconds
    client = tracking.connect(f"sqlite:///{root}/mlflow.db")
    experiment = client.create_experiment(tracking.experiment_name(), (root / "mlruns").as_uri())
    for name in ("gone", "calm <fox>"):
        run = client.create_run(experiment, run_name=name, tags={"dvc.reports/samples": DIGEST})
        client.set_terminated(run.info.run_id)
        if name == "gone":
            client.delete_run(run.info.run_id)
    other = client.create_experiment("somebody else's", (root / "others").as_uri())
    foreign = client.create_run(other, run_name="foreign", tags={"dvc.reports/samples": DIGEST})
    client.set_terminated(foreign.info.run_id)
    return root


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[str]:
    """MLflow's own REST interface over that store, without the seconds that its command takes to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_MLFLOW_SERVER_FILE_STORE", f"sqlite:///{store}/mlflow.db")
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", str(store / "mlruns"))
        from mlflow.server import app
        from werkzeug.serving import make_server

        # what the app sets for all that this process does later
        patch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
        patch.setattr("mlflow.tracking._model_registry.utils._registry_uri", None)
        patch.setenv("MLFLOW_TRACKING_URI", "")
        patch.setenv("MLFLOW_REGISTRY_URI", "")

        served = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URI", "USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)


def test_a_store_on_this_machine_gives_the_runs_name(store: Path) -> None:
    run = offline.latest(store, LOCK)
    assert run
    assert (run.name, run.href) == ("calm <fox>", "")
    assert offline.latest(store, Lock()) is None
    other = Lock({"generate": {"outs": [{"path": "reports/samples", "md5": "f" * 32 + ".dir"}]}})
    assert offline.latest(store, other) is None


def test_a_server_gives_a_link_without_the_password(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        tracking, "PATIENCE", 120
    )  # it opens its store with the first call, on a machine that may be busy
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    found = offline.latest(tmp_path, LOCK)
    assert found
    assert found.name == "calm <fox>"
    assert found.href.startswith(f"{server}/#/experiments/1/runs/")
    run = found.href.rpartition("/")[2]
    with urllib.request.urlopen(f"{server}/api/2.0/mlflow/runs/get?run_id={run}", timeout=120) as answer:
        assert json.load(answer)["run"]["info"]["lifecycle_stage"] == "active"


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "https://[", "databricks"])
def test_a_server_that_is_down_or_of_another_kind_is_no_loss(
    uri: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert offline.latest(store, LOCK) is None


def test_credentials_go_by_a_header_and_not_into_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[urllib.request.Request] = []

    def urlopen(request: urllib.request.Request, timeout: float) -> None:
        asked.append(request)
        raise urllib.error.URLError("down")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    assert offline.latest(Path(), LOCK) is None
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "token")
    assert offline.latest(Path(), LOCK) is None
    assert [request.headers["Authorization"] for request in asked] == ["Basic YW5uOnNlY3JldA==", "Bearer token"]


@pytest.mark.parametrize("digest", ["' OR 1=1", "../x", ""])
def test_what_is_no_hash_is_not_asked_for(digest: str, store: Path) -> None:
    assert offline.latest(store, Lock({"generate": {"outs": [{"path": "reports/samples", "md5": digest}]}})) is None
