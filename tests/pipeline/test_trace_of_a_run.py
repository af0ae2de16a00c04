"""What `timbre trace` says of a voice that the pipeline really made."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tests.conftest import Repository
from timbre import tracking
from timbre.commands import cli
from timbre.tracking import offline
from timbre.versions import dvc_lock
from timbre.versions.snapshot import WorkTree


@pytest.mark.pipeline
def test_every_sample_of_a_real_run_is_traced_without_a_gap(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository.root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    names = [path.stem for path in Path("reports/samples").glob("*.json")]
    assert len(names) >= 8
    for name in names:
        assert cli.execute(["trace", name, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        sample = found["found"]
        assert found["missing"] == []
        assert (sample["reference"] is not None) == ("clone" in name)
        assert (sample["adapter"] is not None) == ("tuned" in name)
        assert [len(clip["lines"]) > 0 for clip in [sample["reference"]] if clip] in ([], [True])
        if sample["adapter"]:
            [run] = found["runs"]  # read from MLflow's own store
            assert {some["recording"]["speaker"]["name"] for some in sample["adapter"]["learnt"]} == {"Ann, a sound"}
    store = tracking.store_uri(repository.root)
    digest = dvc_lock.read(WorkTree(repository.root)).outs["models/adapter"]
    same = offline.of_library(store, "dvc.models/adapter", digest)
    assert [dataclasses.asdict(one) for one in same] == [run], "as MLflow itself says"
    rows = Path("data/dataset/train.jsonl").read_text().splitlines()
    for clip in (json.loads(row)["id"] for row in rows):
        cli.execute(["trace", clip, "--json"])
        found = json.loads(capsys.readouterr().out)["found"]
        assert found["lines"]
        assert not found["changed"]
