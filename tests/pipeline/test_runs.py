"""`timbre runs` and `timbre promote` over a real store: what changed, how it did, and who becomes the champion."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from stages import track
from tests.support import mlflow_store
from tests.support.dvc_cache import keep
from tests.support.report_outs import write_owned
from timbre import tracking
from timbre.commands import cli
from timbre.core.errors import SourceError, TrackingError
from timbre.core.records import Example, read_jsonl, write_jsonl
from timbre.tracking import registry


def set_params(root: Path, rate: str) -> None:
    (root / "params.yaml").write_text(mlflow_store.PARAMS.replace("1e-4", rate))


def record(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", name)
    track.main(**mlflow_store.ARGUMENTS)


@pytest.fixture(scope="module")
def recorded(recordable: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A first run; one with another rate that fails a gate; one with a clip less and other words."""
    root = tmp_path_factory.mktemp("recorded") / "voice"
    shutil.copytree(recordable, root)
    with pytest.MonkeyPatch.context() as patch:
        mlflow_store.enter(root, patch)
        mlflow_store.write_gates(root, named=True, words=True)
        record(root, "first", patch)
        set_params(root, "3e-4")
        mlflow_store.write_gates(root, named=True, words=False)
        record(root, "second", patch)
        table = root / "data/dataset/train.jsonl"
        write_jsonl(table, read_jsonl(table, Example)[:-1])
        mlflow_store.write_lock(root, {"data/dataset": "f" * 32 + ".dir"})
        mlflow_store.write_gates(root, named=True, words=True)
        record(root, "third", patch)
    return root


@pytest.fixture
def three(recorded: Path, root: Path) -> Path:
    """A copy of it, to work in."""
    return shutil.copytree(recorded, root, dirs_exist_ok=True)


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert cli.execute(list(arguments)) == 0
    return capsys.readouterr().out


def test_runs_tells_from_one_to_the_next_what_changed_and_how_it_did(
    three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, third, second, first = output(capsys, "runs").splitlines()
    assert head.split() == ["run", "version", "day", "commit", "wrong", "words", "similarity", "gates", "changed"]
    assert third.startswith("third [candidate]  ")
    assert third.endswith("-1 clip")
    assert "failed: words" in second
    assert second.endswith("train.learning_rate 0.0001 → 0.0003")
    assert first.endswith("passed")
    wer = json.loads((three / "reports/details.json").read_text())["tuned_clone"]["wer"]
    assert all(f"{wer:.1%}" in line for line in (first, second, third))
    assert third.index("-1 clip") == second.index("train.") == head.index("changed")
    found = json.loads(output(capsys, "runs", "-n", "2", "--json"))
    assert [(row["run"], row["data"], row["params"]) for row in found] == [
        ("third", ["-1 clip"], []),
        ("second", [], ["train.learning_rate 0.0001 → 0.0003"]),
    ]


def test_a_corrected_word_and_a_moved_cut_are_told_apart(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, clips in (("first", "a"), ("word", "a"), ("cut", "b")):
        table = root / "data/dataset/train.jsonl"
        table.write_text(table.read_text().replace("captain", f"captain {name}", 1))
        digest = {"first": "1", "word": "2", "cut": "3"}[name] * 32 + ".dir"
        mlflow_store.write_lock(root, {"data/dataset": digest, "data/clips": clips * 32 + ".dir"})
        record(root, name, monkeypatch)
    _, cut, word, _ = output(capsys, "runs").splitlines()
    assert word.endswith("  words")
    assert cut.endswith("  clips cut elsewhere")


def test_without_a_run_it_says_what_makes_one(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no run yet" in output(capsys, "runs")
    with pytest.raises(TrackingError, match=r"there is no candidate yet; `dvc repro` records one"):
        cli.execute(["promote"])
    (root / "mlflow.db").unlink()
    assert "no run yet" in output(capsys, "runs")
    with pytest.raises(TrackingError, match="no run yet"):
        cli.execute(["promote"])
    assert not (root / "mlflow.db").exists(), "to look makes no store"


def test_summary_links_to_the_page_that_shows_the_runs(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = "http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning"
    assert output(capsys, "summary").splitlines()[-2] == f"runs      mlflow ui, then {link}"


def test_promote_takes_the_version_in_the_work_tree_and_no_other(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = (three / "params.yaml").read_text()
    set_params(three, "5e-4")
    with pytest.raises(TrackingError, match=r"this work tree has no run yet, and the candidate is third; `dvc repro`"):
        cli.execute(["promote"])
    (three / "params.yaml").write_text(rates)
    client = tracking.connect()
    second = next(run for run in tracking.finished(client) if run.info.run_name == "second")
    registry.point(client, registry.CANDIDATE, second.info.run_id)  # a colleague's clone stands there
    with pytest.raises(TrackingError, match="this work tree holds third, and the candidate is second; `dvc repro`"):
        cli.execute(["promote"])
    assert registry.CHAMPION not in registry.aliases(client)
    track.main(**mlflow_store.ARGUMENTS)
    cli.execute(["promote"])
    assert registry.aliases(client)["champion"] != second.info.run_id
    (three / "reports/scores.csv").unlink()
    with pytest.raises(TrackingError, match=r"reports/scores.csv: missing, so it is unknown which version is here"):
        cli.execute(["promote"])


def test_promote_moves_the_champion_to_the_candidate_and_says_from_where(
    three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "first is the champion now, registered as version 1 of timbre\n" in output(capsys, "promote", "first")
    assert "third is the champion now, registered as version 3 of timbre, after first" in output(capsys, "promote")
    assert "third is the champion already" in output(capsys, "promote")
    client = tracking.connect()
    champion = client.get_model_version_by_alias("timbre", "champion")
    assert champion.version == registry.version_of(client, champion.run_id).version
    assert champion.tags["promoted.reason"] == "all gates passed"
    assert "third [candidate, champion]" in output(capsys, "runs")


def test_a_failed_gate_is_in_the_way_unless_there_is_a_reason(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TrackingError, match=r'^second: its gates failed: words; `--force "REASON"` promotes it'):
        cli.execute(["promote", "second"])
    with pytest.raises(TrackingError, match="--force: give a reason"):
        cli.execute(["promote", "second", "--force", " "])
    assert registry.CHAMPION not in registry.aliases(tracking.connect())
    output(capsys, "promote", "second", "--force", "two of nine words are names")
    tags = tracking.connect().get_model_version_by_alias("timbre", "champion").tags
    assert tags["promoted.reason"] == "two of nine words are names"
    assert tags["promoted.despite"] == "its gates failed: words"


def test_a_voice_that_was_not_judged_needs_a_reason_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = json.loads((root / "reports/details.json").read_text())
    (root / "reports/details.json").write_text(json.dumps({k: v for k, v in metrics.items() if k != "gates"}))
    record(root, "first", monkeypatch)
    with pytest.raises(TrackingError, match="first: no gates were measured"):
        cli.execute(["promote"])


def test_a_run_is_meant_by_its_name_or_the_beginning_of_its_id(three: Path) -> None:
    found = tracking.finished(tracking.connect())
    assert [run.info.run_name for run in found] == ["third", "second", "first"]
    for run in found:
        for name in (run.info.run_name, run.info.run_id[:12], run.data.tags[tracking.VERSION_TAG][:12]):
            assert tracking.named(found, name) is run
    with pytest.raises(TrackingError, match=re.escape("fourth: no such run; `timbre runs` shows")):
        tracking.named(found, "fourth")
    with pytest.raises(TrackingError, match="3 runs are meant"):
        tracking.named(found, "")


def test_no_reason_promotes_a_voice_whose_consent_was_withdrawn(three: Path) -> None:
    write_owned(three, revoked="2026-04-01")
    for arguments in (["promote"], ["promote", "second", "--force", "she will not mind"]):
        with pytest.raises(SourceError, match=r"^(third|second): data/speakers\.yaml:2: marina took the consent back"):
            cli.execute(arguments)
    assert registry.CHAMPION not in registry.aliases(tracking.connect())


def test_an_adapter_that_does_not_say_whose_voice_it_is_is_judged_by_its_dataset(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_file(self: object, run_id: str, path: str, folder: str) -> str:
        raise OSError(path)

    monkeypatch.setattr("mlflow.MlflowClient.download_artifacts", without_file)  # as of an adapter of before
    with pytest.raises(TrackingError, match="first: whose voice it learnt is not known"):
        cli.execute(["promote", "first"])
    table = keep((three / "data/dataset/train.jsonl").read_bytes())
    rows = [{"relpath": name, "md5": table} for name in ("train.jsonl", "eval.jsonl")]
    listing = keep(json.dumps(rows).encode(), ".dir")
    client = tracking.connect()
    run = tracking.named(tracking.finished(client), "first")
    client.set_tag(run.info.run_id, "dvc.data/dataset", listing)
    assert cli.execute(["promote", "first"]) == 0
    write_owned(three, revoked="2026-04-01")
    with pytest.raises(SourceError, match=r"first: .* marina took the consent back"):
        cli.execute(["promote", "first"])


def test_a_voice_that_is_removed_is_the_champion_no_more(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.execute(["promote", "first"])
    (three / "data/recordings").mkdir()
    assert cli.execute(["remove", "marina", "--write"]) == 0
    shown, bars = capsys.readouterr()
    assert bars == "", "MLflow draws a bar for each file that it reads"
    assert "MLflow: first learnt marina, and is the champion no more" in shown
    assert "MLflow: third learnt marina, and is the candidate no more" in shown
    assert registry.aliases(tracking.connect()) == {}
