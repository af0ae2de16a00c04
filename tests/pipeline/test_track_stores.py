"""The store that versions are recorded in: another one, one that is down, and what a run that was cut short leaves."""

from __future__ import annotations

import dataclasses
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stages import track
from tests.support import mlflow_store
from tests.support.mlflow_store import ARGUMENTS, PARAMS, runs_in
from tests.support.paths import ROOT
from timbre import tracking
from timbre.core import params
from timbre.core.errors import TrackingError
from timbre.tracking import version
from timbre.tracking.version import TrackedFiles


def cut_short(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Record a version over a line that goes dead at this call of MLflow's client."""
    import requests
    from mlflow import MlflowClient

    def gone(*_: object) -> None:
        raise requests.ConnectionError("the line went dead")

    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, call, gone)
        with pytest.raises(TrackingError, match="the line went dead"):
            track.main(**ARGUMENTS)


def test_a_run_that_was_cut_short_is_recorded_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_short(monkeypatch, "log_artifacts")
    assert not tracking.is_complete(runs_in(root)[0])
    track.main(**ARGUMENTS)
    (run,) = runs_in(root)
    assert tracking.is_complete(run)
    assert len(tracking.connect().get_metric_history(run.info.run_id, "train_loss")) == 120, "no point twice"


def test_a_version_that_the_store_has_is_left_alone_without_mlflow(root: Path) -> None:
    track.main(**ARGUMENTS)
    code = (
        "import sys; from pathlib import Path; from stages import track\n"
        f"track.main(**{{name: Path(path) for name, path in {mlflow_store.FLAGS}.items()}})\n"
        "print({'mlflow', 'torch', 'numpy', 'soundfile', 'dvc'} & set(sys.modules))"
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"track: version \w{16} has its run already, “\w{8}”\nset\(\)\n", done.stdout)


def test_another_store_gets_the_run_of_a_version_that_was_recorded_elsewhere(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(root / "mlflow.db", root / "other.db")  # with its tables, and without a run
    track.main(**ARGUMENTS)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/other.db")
    track.main(**ARGUMENTS)
    assert len(runs_in(root)) == len(mlflow_store.runs(f"sqlite:///{root}/other.db")) == 1


def test_a_store_that_had_the_version_may_be_down(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = "http://ann:secret@127.0.0.1:9"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TrackingError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        track.main(**ARGUMENTS)
    version.remember(uri, TrackedFiles().key(dataclasses.asdict(params.read())))
    track.main(**ARGUMENTS)
    assert "http://127.0.0.1:9 gives no answer now" in capsys.readouterr().out
    (root / "params.yaml").write_text(PARAMS.replace("1e-4", "2e-4"))
    with pytest.raises(TrackingError, match="cannot be reached"):
        track.main(**ARGUMENTS)


def test_a_server_that_is_down_is_told_in_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    with pytest.raises(TrackingError) as error:
        track.main(**ARGUMENTS)
    assert f"127.0.0.1:{port} cannot be reached" in str(error.value)
    assert "`dvc repro` records the run" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_server_that_never_answers_is_called_down_soon(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(tracking, "PATIENCE", 0.3)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(TrackingError, match="cannot be reached"):
            track.main(**ARGUMENTS)


def test_an_experiment_in_a_temporary_folder_writes_to_the_main_store(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = root / ".dvc/tmp/exps/standalone/tmpab12"
    shutil.copytree(root, elsewhere, ignore=shutil.ignore_patterns(".dvc", "mlflow.db", "mlruns"))
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("DVC_EXP_NAME", "sober-tern")
    track.main(**ARGUMENTS)
    assert not (elsewhere / "mlflow.db").exists()
    (run,) = runs_in(root)
    assert run.info.run_name == "sober-tern"
    assert run.info.artifact_uri.startswith((root / "mlruns").as_uri())


def test_a_run_that_was_cut_short_leaves_no_model_version(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_short(monkeypatch, "set_terminated")
    track.main(**ARGUMENTS)
    (version,) = tracking.connect().search_model_versions("name = 'timbre'")
    assert version.run_id == runs_in(root)[0].info.run_id
