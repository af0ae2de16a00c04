"""`timbre push dataset` to a hub of this machine, and exports by processes that know nothing of each other."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.dataset_repository import build, dataset
from tests.support.files import contents
from tests.support.loopback_hub import Hub
from tests.support.paths import ROOT
from timbre.commands import cli


@pytest.fixture(autouse=True)
def dataset_project(project: Path) -> Path:
    return build(project)


def export(kind: str, folder: str) -> None:
    assert cli.execute(["export", kind, folder]) == 0


def test_the_same_dataset_is_the_same_bytes_anywhere(tmp_path: Path) -> None:
    kinds = ("ljspeech", "gpt-sovits", "hf")
    for kind in kinds:
        export(kind, f"out/{kind}")
    shutil.copytree("data", tmp_path / "elsewhere/data")
    (tmp_path / "elsewhere/dvc.yaml").touch()
    code = (
        "import sys; from timbre.commands import cli; _, out, *kinds = sys.argv\n"
        "for kind in kinds: cli.execute(['export', kind, f'{out}/{kind}'])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "other"), *kinds]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    subprocess.run(command, cwd=tmp_path / "elsewhere", env=environment, check=True, capture_output=True)
    assert {path.name for path in Path("out").iterdir()} == set(kinds)
    assert contents("out") == contents(tmp_path / "other")


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub()
    yield made
    made.server.shutdown()


def push(hub: Hub, *arguments: str, token: str = "hf_ann") -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": token, "HF_HOME": str(Path("hf"))}
    command = [sys.executable, "-m", "timbre.commands.cli", "push", "dataset", *arguments]
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_dataset_is_pushed_whole_and_a_newer_one_replaces_it(hub: Hub) -> None:
    done = push(hub, "ann/harbour", "--private")
    assert (done.returncode, done.stderr.count("error")) == (0, 0), done.stderr
    assert done.stdout.splitlines()[0] == "ann/harbour, private:"
    parquet, consent = "data/train-00000-of-00001.parquet", "consent for: training, Publish"
    for part in (parquet, "voice of ann", consent, "licence CC-BY-4.0"):
        assert part in done.stdout
    assert done.stdout.splitlines()[-1] == f"sent: {hub.url}/datasets/ann/harbour"
    export("hf", "out")
    assert hub.repos["ann/harbour"] == contents("out")
    assert hub.private == {"ann/harbour": True}
    hub.repos["ann/harbour"] |= {"data/train-00001-of-00002.parquet": b"older", ".gitattributes": b"theirs"}
    dataset({"train": ["Another sentence."], "eval": ["And one."]})
    assert push(hub, "ann/harbour").returncode == 0
    assert sorted(hub.repos["ann/harbour"]) == [".gitattributes", *sorted(contents("out"))]
    table = pq.read_table(io.BytesIO(hub.repos["ann/harbour"]["data/train-00000-of-00001.parquet"]))
    assert table["text"].to_pylist() == ["Another sentence."]
    assert len(hub.commits) == 2
    assert push(hub, "ann/harbour").returncode == 0
    assert len(hub.commits) == 2, "nothing new, no commit"


def test_a_dry_run_sends_nothing_and_shows_what_would_go(hub: Hub) -> None:
    done = push(hub, "ann/harbour", "--dry-run")
    assert "nothing sent; .timbre/push/harbour is what would go" in done.stdout
    assert (hub.repos, hub.objects) == ({}, {})
    assert Path(".timbre/push/harbour/README.md").is_file()


def test_a_hub_that_refuses_is_one_line_and_a_public_repository_is_not_taken_for_private(hub: Hub) -> None:
    done = push(hub, "ann/harbour", token="hf_other")
    assert (done.returncode, hub.repos) == (1, {})
    assert "error: ann/harbour: the hub did not take it: Invalid username or password.; is it yours" in done.stderr
    assert "Traceback" not in done.stderr
    hub.repos["ann/harbour"], hub.private["ann/harbour"] = {}, False
    done = push(hub, "ann/harbour", "--private")
    assert "ann/harbour: is there already and public; make it private on the hub first" in done.stderr
    assert hub.repos["ann/harbour"] == {}
    hub.server.shutdown()
    hub.server.server_close()
    done = push(hub, "ann/harbour")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
