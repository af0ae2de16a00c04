"""A team's MLflow server, on SQLite and on PostgreSQL: the same runs, files, datasets and model names as in a file."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import soundfile

from stages import track
from tests.support import mlflow_store
from tests.support.servers import free_port, mlflow_server, postgres, postgres_tools
from timbre import tracking
from timbre.commands import cli
from timbre.core.errors import TrackingError
from timbre.tracking import registry
from timbre.training import timing


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request: Any, recordable: Path, warm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copy(recordable / "mlflow.db", folder / "server.db")  # with its tables: to make them takes seconds
    with ExitStack() as stack:
        store = f"sqlite:///{folder}/server.db"
        if request.param == "postgresql":
            pytest.importorskip("psycopg2", reason="psycopg2-binary is not installed: pip install -e '.[test]'")
            tools = postgres_tools()
            if tools is None:
                missing = "PostgreSQL is not installed, so nothing is tested with it; `apt-get install postgresql`"
                warnings.warn(missing, stacklevel=1)
                pytest.skip(missing)
            store = stack.enter_context(postgres(tools))
        yield stack.enter_context(mlflow_server(store, folder / "artifacts", warm / "python"))


def test_a_version_is_recorded_compared_and_promoted_on_a_server(
    server: str, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow.artifacts import download_artifacts

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TrackingError, match="cannot be reached"):
        track.main(**mlflow_store.ARGUMENTS)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)  # it is up now: what was missed is made up for
    mlflow_store.write_gates(root, named=True, words=True)
    timing.write(root / "models/speed.json", root / "models/adapter", [{"step": 1, "frames_per_second": 900.0}])
    for name, rate in (("gentle", "1e-4"), ("bold", "4e-4")):
        (root / "params.yaml").write_text(mlflow_store.PARAMS.replace("1e-4", rate))
        monkeypatch.setenv("DVC_EXP_NAME", name)
        track.main(**mlflow_store.ARGUMENTS)
        track.main(**mlflow_store.ARGUMENTS)
    bold, gentle = mlflow_store.runs(server)
    assert all(tracking.is_complete(run) for run in (bold, gentle))
    assert (bold.data.params["train.learning_rate"], bold.data.tags["gates"]) == ("0.0004", "passed")
    assert len(tracking.connect().get_metric_history(bold.info.run_id, "train_loss")) == 120
    experiment = bold.info.experiment_id
    assert len(tracking.connect().search_runs([experiment], f"dataset.digest = '{mlflow_store.DIGEST}'")) == 2

    kept = Path(download_artifacts("models:/timbre@candidate", tracking_uri=server))
    assert (kept / timing.WEIGHTS).read_bytes() == b"weights"
    sound = download_artifacts(f"runs:/{bold.info.run_id}/samples/tuned-one-0.flac", tracking_uri=server)
    with soundfile.SoundFile(sound) as file:
        assert json.loads(file.comment)["synthetic"] is True
        assert file.frames == soundfile.info(root / "reports/samples/tuned-one-0.flac").frames

    cli.execute(["promote", "gentle"])
    cli.execute(["runs"])
    out = capsys.readouterr().out
    assert "bold [candidate]" in out
    assert "gentle [champion]" in out
    assert "train.learning_rate 0.0001 → 0.0004" in out
    assert set(registry.aliases(tracking.connect())) == {"candidate", "champion"}
