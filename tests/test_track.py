"""Versions become runs of a real MLflow store: one each, whole, and never at the price of the voice."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stages import track
from tests.outs import write_outs
from timbre import tracking
from timbre.errors import TrackingError

PARAMS = "train:\n  learning_rate: 1e-4\n  lora: {rank: 8}\nwhisper:\n  model: tiny.pt\n"
FLAGS = {
    "dataset": "data/dataset",
    "adapter": "models/adapter",
    "history": "models/history.csv",
    "samples": "reports/samples",
    "heard": "reports/heard",
    "scores": "reports/scores.csv",
    "metrics": "reports/metrics.json",
    "report": "reports/index.html",
}
DIGEST = "0123456789abcdef0123456789abcdef.dir"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outs, and a store with its tables made: making them takes seconds."""
    root = tmp_path_factory.mktemp("template")
    write_outs(root)
    (root / "reports/index.html").write_text("<h1>a page</h1>")
    (root / "params.yaml").write_text(PARAMS)
    lock = {"schema": "2.0", "stages": {"dataset": {"outs": [{"path": "data/dataset", "md5": DIGEST}]}}}
    (root / "dvc.lock").write_text(json.dumps(lock))
    tracking.connect(f"sqlite:///{root}/mlflow.db").search_experiments()
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "voice"
    shutil.copytree(template, root)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(root)
    monkeypatch.setattr("sys.argv", ["track", *(word for pair in FLAGS.items() for word in (f"--{pair[0]}", pair[1]))])
    return root


def runs(root: Path) -> list[Any]:
    client = tracking.connect(f"sqlite:///{root}/mlflow.db")
    experiment = tracking.experiment_of(client, create=False)
    return list(client.search_runs([experiment])) if experiment else []


def test_a_version_has_one_run_whatever_is_repeated_or_reverted(root: Path) -> None:
    track.main()
    track.main()
    assert len(runs(root)) == 1
    before = (root / "data/dataset/train.jsonl").read_text()
    (root / "data/dataset/train.jsonl").write_text(before.replace("captain", "pilot"))
    track.main()
    assert len(runs(root)) == 2
    (root / "data/dataset/train.jsonl").write_text(before)
    track.main()
    assert len(runs(root)) == 2
    assert all(tracking.is_complete(run) for run in runs(root))


def test_a_parameter_or_another_listener_is_a_new_version(root: Path) -> None:
    track.main()
    (root / "params.yaml").write_text(PARAMS.replace("1e-4", "2e-4"))
    track.main()
    assert len(runs(root)) == 2
    heard = root / "reports/heard/base-one-0.json"
    heard.write_text(heard.read_text().replace('"key": "', '"key": "0'))
    track.main()
    assert len(runs(root)) == 3


def test_a_run_holds_all_that_people_compare(root: Path) -> None:
    track.main()
    (run,) = runs(root)
    client = tracking.connect()
    assert run.info.status == "FINISHED"
    assert run.data.params == {"train.learning_rate": "0.0001", "train.lora.rank": "8", "whisper.model": "tiny.pt"}
    metrics = json.loads((root / "reports/metrics.json").read_text())
    assert run.data.metrics["wer/tuned_clone"] == metrics["tuned_clone"]["wer"]
    assert run.data.metrics["cer/base"] == metrics["base"]["cer"]
    assert len(client.get_metric_history(run.info.run_id, "train_loss")) == 120
    assert [m.step for m in client.get_metric_history(run.info.run_id, "eval_loss")] == list(range(12, 121, 12))
    assert run.data.metrics["best_step"] == 108

    inputs = {given.dataset.name: given for given in run.inputs.dataset_inputs}
    assert set(inputs) == {"dataset/train", "dataset/eval"}
    assert inputs["dataset/train"].dataset.digest == DIGEST
    assert json.loads(inputs["dataset/train"].dataset.source)["dvc"] == "data/dataset"
    assert json.loads(inputs["dataset/eval"].dataset.profile) == {"clips": 3, "seconds": 27.0}
    assert run.data.tags["dvc.data/dataset"] == DIGEST

    files = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert files == {"metrics.json", "report", "samples", "scores.csv"}
    samples = {item.path for item in client.list_artifacts(run.info.run_id, "samples")}
    assert "samples/tuned_clone-ferry-0.flac" in samples
    assert (root / "mlruns" / run.info.run_id / "artifacts/report/index.html").exists()


def test_the_commit_stands_in_the_run_and_what_the_pipeline_writes_is_no_change(root: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.org", *arguments], check=True)

    (root / ".gitignore").write_text("mlflow.db*\nmlruns\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    (root / "dvc.lock").write_text((root / "dvc.lock").read_text() + "\n")
    track.main()
    (run,) = runs(root)
    assert re.fullmatch("[0-9a-f]{40}", run.data.tags["git.commit"])
    assert run.data.tags["git.dirty"] == "false"
    (root / "params.yaml").write_text(PARAMS.replace("rank: 8", "rank: 16"))
    track.main()
    assert {run.data.tags["git.dirty"] for run in runs(root)} == {"false", "true"}


def test_a_run_that_was_cut_short_is_recorded_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests
    from mlflow import MlflowClient

    def gone(*_: object) -> None:
        raise requests.ConnectionError("the line went dead")

    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "log_artifacts", gone)
        with pytest.raises(TrackingError, match="the line went dead"):
            track.main()
    assert not tracking.is_complete(runs(root)[0])
    track.main()
    (run,) = runs(root)
    assert tracking.is_complete(run)
    assert len(tracking.connect().get_metric_history(run.info.run_id, "train_loss")) == 120, "no point twice"


def test_a_page_drawn_anew_replaces_that_of_its_run(root: Path) -> None:
    track.main()
    (root / "reports/index.html").write_text("<h1>a better page</h1>")
    track.main()
    (run,) = runs(root)
    assert "better" in (root / "mlruns" / run.info.run_id / "artifacts/report/index.html").read_text()


def test_a_server_that_is_down_is_told_in_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    with pytest.raises(TrackingError) as error:
        track.main()
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
            track.main()


def test_an_experiment_in_a_temporary_folder_writes_to_the_main_store(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = root / ".dvc/tmp/exps/standalone/tmpab12"
    shutil.copytree(root, elsewhere, ignore=shutil.ignore_patterns(".dvc", "mlflow.db", "mlruns"))
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("DVC_EXP_NAME", "sober-tern")
    track.main()
    assert not (elsewhere / "mlflow.db").exists()
    (run,) = runs(root)
    assert run.info.run_name == "sober-tern"
    assert run.info.artifact_uri.startswith((root / "mlruns").as_uri())


def test_a_missing_out_is_named_before_anything_is_recorded(root: Path) -> None:
    shutil.rmtree(root / "models/adapter")
    with pytest.raises(track.DataError, match="models/adapter: missing; `dvc repro` makes it"):
        track.main()
    assert runs(root) == []


def test_the_stage_depends_on_every_section_of_the_parameters() -> None:
    from ruamel.yaml import YAML

    here = Path(__file__).parent.parent
    declared = YAML(typ="safe").load(here / "dvc.yaml")["stages"]["track"]["params"]
    assert set(declared) == set(YAML(typ="safe").load(here / "params.yaml"))
