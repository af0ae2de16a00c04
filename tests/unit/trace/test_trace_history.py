"""What `timbre trace` says of other versions: older adapters, what has left, clones, and MLflow's runs."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.git_history import Voice
from tests.support.traced_voice import at, drawn, traced
from timbre.commands import cli, trace
from timbre.core.errors import DataError
from timbre.trace import text
from timbre.tracking import experiment_name
from timbre.versions.snapshot import open_snapshot


def test_older_versions_are_told_once_for_each_adapter_with_their_tags(voice: Voice) -> None:
    [first, second] = traced(voice, "noon", history=True)["history"]
    assert (first["subject"], first["tags"], first["clips"], first["of"]) == ("First voice", ["v1"], 2, 2)
    assert (second["subject"], second["tags"], second["clips"], second["of"]) == ("Add bob", [], 2, 4)
    assert first["md5"] != second["md5"]
    [only] = traced(voice, "bob", history=True)["history"]
    assert (only["subject"], only["recordings"], only["clips"]) == ("Add bob", ["night"], 2)
    with pytest.raises(DataError, match="--history is of a recording or a speaker"):
        traced(voice, "adapter", history=True)


def test_an_older_adapter_goes_by_the_key_that_samples_name_it_by(scratch: Voice) -> None:
    here = traced(scratch, "adapter")["found"]["key"]
    names = ("adapter_config.json", "adapter_model.safetensors")
    digest = scratch._folder({name: Path("models/adapter", name).read_bytes() for name in names})
    locked = json.loads(Path("dvc.lock").read_text())
    locked["stages"]["train"]["outs"][0]["md5"] = digest
    Path("dvc.lock").write_text(json.dumps(locked))
    scratch.git("commit", "-qam", "Train anew")
    first, second, third = traced(scratch, "noon", history=True)["history"]
    assert (first["adapter"], second["adapter"], third["adapter"]) == (None, None, here)
    said = drawn(scratch, "noon", "--history")
    assert f"“Train anew”: version {third['md5'][:8]}, the one here; 2 of its 4 clips" in said
    assert f"“First voice”: version {first['md5'][:8]}, whose weights are not here; 2 of its 2 clips" in said


def test_the_id_that_commands_print_names_a_version_wherever_a_commit_does(
    voice: Voice, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["timbre", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        return capsys.readouterr().out

    older, newer = traced(voice, "adapter", "v1")["found"]["version"], traced(voice, "adapter")["found"]["version"]
    assert older != newer
    assert f"version {newer[:8]}, models/adapter" in drawn(voice, "adapter")
    for named in (older[:8], older, "v1", voice.git("rev-parse", "--short=8", "v1").strip()):
        assert json.loads(said("trace", named, "--json"))["found"]["version"] == older, named
    assert traced(voice, newer[:8])["found"]["version"] == newer
    assert traced(voice, "adapter", older[:8])["found"]["version"] == older
    with open_snapshot(voice.root, older[:8]) as snapshot:
        assert snapshot.commit == voice.git("rev-parse", "v1").strip()
    assert "night" in said("diff", older[:8], newer[:8], "--local", "--format", "json")


def test_a_version_that_no_commit_has_yet_is_the_work_tree_by_its_id(scratch: Voice) -> None:
    locked = Path("dvc.lock").read_text()
    id = traced(scratch, "adapter")["found"]["version"]
    Path("dvc.lock").write_text(locked.replace(id, "f" * 32))
    with open_snapshot(scratch.root, "f" * 8) as snapshot:
        assert snapshot.commit is None
    with pytest.raises(DataError, match="git knows no such version"):
        open_snapshot(scratch.root, "e" * 8)


def test_files_that_git_does_not_hold_are_no_change_of_the_voice(scratch: Voice) -> None:
    before = trace.trace(scratch.root, "adapter", None, False).changed
    Path("notes.txt").write_text("of no concern")
    assert trace.trace(scratch.root, "adapter", None, False).changed == before
    Path("data/transcripts/new.tsv").write_text("start\tend\tspeaker\tflag\ttext\n")
    assert trace.trace(scratch.root, "adapter", None, False).changed == before + 1


def test_what_has_left_is_found_in_the_versions_that_had_it(scratch: Voice) -> None:
    scratch.git("checkout", "-q", "-b", "without", "v1")
    with pytest.raises(DataError, match="night: no sample, clip"):
        traced(scratch, "night", "v1")
    for merged in (False, True):
        found = traced(scratch, "night", "v1", history=True)
        assert found["found"] == {"name": "night", "voice": None, "uses": []}
        assert [past["subject"] for past in found["history"]] == ["Add bob"], "of another branch, and of a side dropped"
        assert "Add bob" in text.draw(trace.trace(scratch.root, "night", "v1", True))
        if not merged:
            scratch.git("merge", "-q", "--no-ff", "-s", "ours", "-m", "Never mind", "main")
            scratch.git("branch", "-q", "-D", "main")


def test_an_older_version_is_read_from_git_and_the_cache(voice: Voice) -> None:
    found = traced(voice, "adapter", "v1")
    assert [some["recording"]["id"] for some in found["found"]["learnt"]] == ["noon"]
    assert found["commit"] == voice.git("rev-parse", "v1")
    with pytest.raises(DataError, match="night: no sample, clip"):
        traced(voice, "night", "v1")


def test_a_clone_without_data_says_what_it_lacks(voice: Voice, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", str(voice.root), str(tmp_path / "clone")], check=True)
    clone = at(tmp_path / "clone")
    found = traced(clone, "noon")
    assert found["found"]["uses"][0]["lines"] == 6
    assert "data/raw/noon.json: not here; `dvc pull` or `dvc repro fetch` brings it" in found["missing"]
    assert any(line.startswith("data/chunks/clips.jsonl: not here") for line in found["missing"])
    said = drawn(clone, "noon")
    assert "├─ clips    not known, their tables are not here" in said
    assert "├─ adapter  not known whether it learnt from it" in said
    assert said.count("data/chunks/clips.jsonl") == 1, "each gap is told once"
    with pytest.raises(DataError, match="not all of its tables are here: `dvc pull`"):
        traced(clone, "tuned-one-0")
    with pytest.raises(DataError, match="run this in the repository's root"):
        traced(at(tmp_path), "noon")


def test_mlflow_runs_of_the_adapter_are_found_without_mlflow(scratch: Voice) -> None:
    digest = traced(scratch, "noon", history=True)["history"][1]["md5"]
    store = sqlite3.connect("mlflow.db")
    store.execute("CREATE TABLE experiments (experiment_id INTEGER, name TEXT, lifecycle_stage TEXT)")
    store.execute(
        "CREATE TABLE runs (run_uuid TEXT, name TEXT, lifecycle_stage TEXT, start_time INTEGER, experiment_id INTEGER)"
    )
    store.execute("CREATE TABLE tags (key TEXT, value TEXT, run_uuid TEXT)")
    store.executemany("INSERT INTO experiments VALUES (?, ?, 'active')", [(1, experiment_name()), (2, "another")])
    rows = [("r1", "brave", "active", 1, 1), ("r2", "gone", "deleted", 2, 1), ("r3", "elsewhere", "active", 3, 2)]
    store.executemany("INSERT INTO runs VALUES (?, ?, ?, ?, ?)", rows)
    store.executemany("INSERT INTO tags VALUES ('dvc.models/adapter', ?, ?)", [(digest, row[0]) for row in rows])
    store.commit()
    store.close()
    assert traced(scratch, "tuned-one-0")["runs"] == [{"id": "r1", "name": "brave", "href": ""}]
    assert "├─ MLflow   run brave, r1" in drawn(scratch, "tuned-one-0")
    assert traced(scratch, "noon", history=True)["history"][1]["runs"] == [{"id": "r1", "name": "brave", "href": ""}]


def test_a_server_is_asked_only_for_the_history_and_one_that_is_down_is_a_gap(
    voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    [gap] = traced(voice, "tuned-one-0")["missing"]
    assert gap.startswith("MLflow runs: a server takes a while; --history")
    [gap] = traced(voice, "noon", history=True)["missing"]
    assert gap.startswith("MLflow runs: the MLflow store http://127.0.0.1:9 cannot be reached")
