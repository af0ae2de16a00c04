"""Versions become runs of a real MLflow store: one each, whole, and never at the price of the voice."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import soundfile

from stages import track
from tests.support import dnsmos, mlflow_store
from tests.support.fake_outputs import end_early
from tests.support.mlflow_store import ARGUMENTS, DIGEST, PARAMS, runs_in
from tests.support.paths import ROOT
from tests.support.report_outs import write_owned
from timbre import tracking
from timbre.core import params
from timbre.core.errors import SourceError, TimbreError, TrackingError
from timbre.tracking import mlmodel, other_runs, registry, version
from timbre.tracking.version import TrackedFiles
from timbre.training import timing


def test_a_version_has_one_run_whatever_is_repeated_or_reverted(root: Path) -> None:
    track.main(**ARGUMENTS)
    track.main(**ARGUMENTS)
    assert len(runs_in(root)) == 1
    before = (root / "data/dataset/train.jsonl").read_text()
    (root / "data/dataset/train.jsonl").write_text(before.replace("captain", "pilot"))
    track.main(**ARGUMENTS)
    assert len(runs_in(root)) == 2
    (root / "data/dataset/train.jsonl").write_text(before)
    track.main(**ARGUMENTS)
    assert len(runs_in(root)) == 2
    assert all(tracking.is_complete(run) for run in runs_in(root))


def test_a_run_plays_its_sentences_beside_those_of_the_run_before(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def page(run: Any) -> str:
        path = root / "mlruns" / run.info.run_id / "artifacts/side by side/index.html"
        return path.read_text()

    sentences = len(list((root / "reports/samples").glob("tuned_clone-*-0.flac")))
    track.main(**ARGUMENTS)
    assert page(runs_in(root)[0]).count("<audio") == sentences
    (root / "params.yaml").write_text(PARAMS.replace("1e-4", "2e-4"))
    track.main(**ARGUMENTS)
    second, first = sorted(runs_in(root), key=lambda run: -run.info.start_time)
    assert page(second).count("<audio") == 2 * sentences
    assert f"<bdi>{first.info.run_name}</bdi> (before)" in page(second)
    sounds = root / "mlruns" / second.info.run_id / "artifacts/side by side/sounds.json"
    sounds.write_text("spoilt")
    (root / "params.yaml").write_text(PARAMS.replace("1e-4", "3e-4"))
    track.main(**ARGUMENTS)
    third = max(runs_in(root), key=lambda run: run.info.start_time)
    assert page(third).count("<audio") == 2 * sentences, "the damaged one is left out, the one before it is there"
    assert f"{second.info.run_name}: not the sounds of a run; they are left out" in capsys.readouterr().err
    assert [other.remark for other in other_runs.others(tracking.connect(), first.info.run_id)] == ["before", "before"]
    write_owned(root, revoked="2026-04-01")
    assert not list(other_runs.others(tracking.connect(), first.info.run_id)), "who withdrew is heard nowhere"
    assert f"track: {second.info.run_name} is not shown beside this run" in capsys.readouterr().err


def test_a_parameter_or_another_listener_is_a_new_version(root: Path) -> None:
    track.main(**ARGUMENTS)
    (root / "params.yaml").write_text(PARAMS.replace("1e-4", "2e-4"))
    track.main(**ARGUMENTS)
    assert len(runs_in(root)) == 2
    heard = root / "reports/heard/base-one-0.json"
    heard.write_text(heard.read_text().replace('"key": "', '"key": "0'))
    track.main(**ARGUMENTS)
    assert len(runs_in(root)) == 3


def test_a_run_holds_all_that_people_compare(root: Path) -> None:
    track.main(**ARGUMENTS)
    (run,) = runs_in(root)
    client = tracking.connect()
    assert run.info.status == "FINISHED"
    assert set(run.data.params) == set(track.flat(params.load()))
    assert {name: run.data.params[name] for name in ("evaluate.strict", "train.learning_rate", "voice.revision")} == {
        "evaluate.strict": "False",
        "train.learning_rate": "0.0001",
        "voice.revision": "None",
    }
    metrics = json.loads((root / "reports/details.json").read_text())
    assert run.data.metrics["wer/tuned_clone"] == metrics["tuned_clone"]["wer"]
    assert run.data.metrics["cer/base"] == metrics["base"]["cer"]
    assert len(client.get_metric_history(run.info.run_id, "train_loss")) == 120
    assert [m.step for m in client.get_metric_history(run.info.run_id, "eval_loss")] == list(range(12, 121, 12))
    assert run.data.metrics["best_step"] == 108
    first = {name: value for name, value in run.data.metrics.items() if name.startswith(track.FIRST)}
    assert first.keys() == {
        f"{track.FIRST}/{name}"
        for name in ("wer", "wer_added", "similarity", "similarity_added", "named", "gates_failed", "loss")
    }
    assert min(name.partition("/")[0] for name in run.data.metrics) == track.FIRST, "MLflow shows it first"

    inputs = {given.dataset.name: given for given in run.inputs.dataset_inputs}
    assert set(inputs) == {"dataset/train", "dataset/eval"}
    assert inputs["dataset/train"].dataset.digest == DIGEST
    assert json.loads(inputs["dataset/train"].dataset.source)["dvc"] == "data/dataset"
    assert json.loads(inputs["dataset/eval"].dataset.profile) == {"clips": 3, "seconds": 27.0}
    assert run.data.tags["dvc.data/dataset"] == DIGEST

    files = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert files == {
        "adapter", "details.json", "images", "points", "report", "samples", "samples.json", "scores.csv", "side by side"
    }  # fmt: skip
    table = client.load_table(run.info.experiment_id, "samples.json", [run.info.run_id])
    assert (root / "reports" / table["sound"][0]).exists()
    assert len(table) == len(list((root / "reports/samples").glob("*.flac")))
    samples = {item.path for item in client.list_artifacts(run.info.run_id, "samples")}
    assert {f"samples/tuned_clone-ferry-0.{kind}" for kind in ("flac", "json", "png")} <= samples
    key = mlmodel.adapter_key(root / "models/adapter")
    for kind in ("tuned", "base"):
        name = f"samples/{kind}_clone-ferry-0.flac"
        with soundfile.SoundFile(client.download_artifacts(run.info.run_id, name)) as file:
            about = json.loads(file.comment)
        assert about["synthetic"], "what leaves the repository says what spoke it"
        assert (about["voice"] == key) == (kind == "tuned")
    points = [item.path for item in client.list_artifacts(run.info.run_id, "points")]
    assert points == [f"points/step-{step:06}.flac" for step in (0, 36, 72, 108)], "from base to finished voice"
    pictures = [item.path for item in client.list_artifacts(run.info.run_id, "images") if item.path.endswith("png")]
    assert sorted(int(path.split("+step+")[1].split("+")[0]) for path in pictures) == [0, 36, 72, 108]
    assert (root / "mlruns" / run.info.run_id / "artifacts/report/index.html").exists()


def test_the_commit_stands_in_the_run_and_what_the_pipeline_writes_is_no_change(root: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.org", *arguments], check=True)

    (root / ".gitignore").write_text("mlflow.db*\nmlruns\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    (root / "dvc.lock").write_text((root / "dvc.lock").read_text() + "\n")
    track.main(**ARGUMENTS)
    (run,) = runs_in(root)
    assert re.fullmatch("[0-9a-f]{40}", run.data.tags["git.commit"])
    assert run.data.tags["git.dirty"] == "false"
    (root / "params.yaml").write_text(PARAMS.replace("rank: 8", "rank: 16"))
    track.main(**ARGUMENTS)
    assert {run.data.tags["git.dirty"] for run in runs_in(root)} == {"false", "true"}


def test_the_files_that_are_recorded_are_those_of_dvc_yaml() -> None:
    from ruamel.yaml import YAML

    command = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]["track"]["cmd"]
    flags = dict(re.findall(r"--(\w+) (\S+)", command))
    assert {name: str(path) for name, path in vars(TrackedFiles()).items()} == flags == mlflow_store.FLAGS


def test_predicted_opinions_that_come_later_are_added_once_and_make_no_other_version(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dnsmos.put_in_place(monkeypatch)
    track.main(**ARGUMENTS)
    (run,) = runs_in(root)
    assert version.OPINIONS_TAG not in run.data.tags
    assert not [name for name in run.data.metrics if name.startswith("mos/")]
    expected = dnsmos.judged(root / "reports/samples")
    for _ in range(2):
        track.main(**ARGUMENTS)
    (run,) = runs_in(root)
    assert {name: value for name, value in run.data.metrics.items() if name.startswith("mos/")} == {
        f"mos/{condition}": value for condition, value in expected.items()
    }
    assert len(tracking.connect().get_metric_history(run.info.run_id, "mos/tuned_clone")) == 1


def test_a_run_is_named_after_its_commit_and_says_whose_it_is_and_how_to_get_back(root: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], check=True, capture_output=True)

    (root / ".gitignore").write_text("mlflow.db*\nmlruns\n.timbre\n")
    git("init", "-q")
    for name, value in (("user.name", "Ann Example"), ("user.email", "ann@example.org")):
        git("config", name, value)
    git("remote", "add", "origin", "https://ann:secret@example.org/voice.git")
    git("add", "-A")
    git("commit", "-qm", "Correct the captain's name\x1b[31m")
    mlflow_store.write_gates(root, words=False)
    git("commit", "-qam", "Correct the captain's name")
    track.main(**ARGUMENTS)
    (root / "params.yaml").write_text(PARAMS.replace("rank: 8", "rank: 16"))
    track.main(**ARGUMENTS)
    changed, first = runs_in(root)
    assert (first.info.run_name, changed.info.run_name) == (
        "Correct the captain's name", "after Correct the captain's name"
    )  # fmt: skip
    assert first.data.tags["mlflow.user"] == "Ann Example"
    assert first.data.tags["mlflow.source.name"] == "https://example.org/voice.git"
    note = first.data.tags["mlflow.note.content"]
    assert "- gates: failed: words" in note
    assert f"git checkout {first.data.tags['git.commit'][:12]} && dvc checkout`" in note
    assert "similarity to the speaker" in note


def test_a_page_drawn_anew_replaces_that_of_its_run(root: Path) -> None:
    track.main(**ARGUMENTS)
    (root / "reports/index.html").write_text(mlflow_store.PAGE.replace("a page", "a better page"))
    track.main(**ARGUMENTS)
    (run,) = runs_in(root)
    assert "better" in (root / "mlruns" / run.info.run_id / "artifacts/report/index.html").read_text()


def test_a_missing_out_is_named_before_anything_is_recorded(root: Path) -> None:
    shutil.rmtree(root / "models/adapter")
    with pytest.raises(track.DataError, match="models/adapter: missing; `dvc repro` makes it"):
        track.main(**ARGUMENTS)
    assert runs_in(root) == []


def test_gates_and_over_fitting_stand_among_the_tags(root: Path) -> None:
    mlflow_store.write_gates(root, named=True, words=False, similarity=False)
    track.main(**ARGUMENTS)
    (run,) = runs_in(root)
    told = {name: run.data.tags[name] for name in ("gate.named", "gate.words", "gates")}
    assert told == {"gate.named": "passed", "gate.words": "failed", "gates": "failed: words, similarity"}
    assert run.data.metrics["gate_value/words"] == 0.25
    assert "best at step 108" in run.data.tags["overfitting"]
    assert run.data.tags["overfitting"].endswith("by step 120 it had risen by 0.1500")
    assert "ended early" not in run.data.tags


def test_an_early_end_stands_among_the_tags(root: Path) -> None:
    end_early(root)
    track.main(**ARGUMENTS)
    (run,) = runs_in(root)
    assert run.data.tags["ended early"] == "a person ended it early, at step 120 of 300"


def test_a_failed_gate_ends_the_pipeline_only_if_strict_and_once_all_is_recorded(root: Path) -> None:
    mlflow_store.write_gates(root, named=True, words=False, similarity=False)
    (root / "params.yaml").write_text(PARAMS.replace("strict: false", "strict: true"))
    for _ in range(2):
        with pytest.raises(TimbreError, match=r"^gate `words` failed: .*\ngate `similarity` failed: [^\n]*$"):
            track.main(**ARGUMENTS)
    (run,) = runs_in(root)
    assert tracking.is_complete(run)
    assert run.data.tags["gate.words"] == "failed"


def test_a_voice_without_gates_says_nothing_of_them(root: Path) -> None:
    metrics = json.loads((root / "reports/details.json").read_text())
    (root / "reports/details.json").write_text(json.dumps({k: v for k, v in metrics.items() if k != "gates"}))
    track.main(**ARGUMENTS)
    assert not [name for name in runs_in(root)[0].data.tags if name.startswith("gate")]


def test_tags_name_the_data_the_lock_and_the_base_model(root: Path) -> None:
    track.main(**ARGUMENTS)
    mlflow_store.write_lock(root, {"data/dataset": DIGEST, "models/adapter": "fedcba9876543210fedcba9876543210.dir"})
    (root / "params.yaml").write_text(PARAMS.replace("revision: null", "revision: 0a1b2c3"))
    track.main(**ARGUMENTS)
    second, first = (run.data.tags for run in runs_in(root))
    assert first["data.version"] == second["data.version"] == DIGEST
    assert first["dvc.lock"] != second["dvc.lock"]
    assert first["base.model"] == "models/tiny/csm"
    assert first["base.revision"] == "b0b1b2b3b4b5b6b7", "the content of a folder"
    assert second["base.revision"] == "0a1b2c3", "the commit of a hub model"


def test_what_training_cost_is_told_where_it_was_this_voice(root: Path) -> None:
    speed = root / "models/speed.json"
    timing.write(speed, root / "models/adapter", [{"step": 1, "frames_per_second": 900.0, "memory_mb": 512.5}])
    track.main(**ARGUMENTS)
    (run,) = runs_in(root)
    assert run.data.metrics["system/frames_per_second"] == 900.0
    (root / "models/adapter" / timing.WEIGHTS).write_bytes(b"other weights")
    track.main(**ARGUMENTS)
    assert len(runs_in(root)) == 2
    assert not [name for name in runs_in(root)[0].data.metrics if name.startswith("system/")]


def test_the_adapter_is_a_model_version_and_the_candidate_goes_with_the_voice(root: Path) -> None:
    from mlflow.artifacts import download_artifacts

    track.main(**ARGUMENTS)
    (root / "params.yaml").write_text(PARAMS.replace("1e-4", "2e-4"))
    (root / "models/adapter" / timing.WEIGHTS).write_bytes(b"other weights")
    track.main(**ARGUMENTS)
    client = tracking.connect()
    second, first = runs_in(root)
    assert registry.aliases(client) == {"candidate": second.info.run_id}
    kept = download_artifacts("models:/timbre@candidate", tracking_uri=tracking.store_uri())
    assert (Path(kept) / timing.WEIGHTS).read_bytes() == b"other weights"
    (root / "params.yaml").write_text(PARAMS)
    (root / "models/adapter" / timing.WEIGHTS).write_bytes(b"weights")
    track.main(**ARGUMENTS)
    assert registry.aliases(client) == {"candidate": first.info.run_id}, "the voice went back, and the name with it"
    assert len(client.search_model_versions("name = 'timbre'")) == 2


def test_a_dataset_is_found_by_dvcs_hash_and_comes_back_from_its_cache(root: Path) -> None:
    import mlflow
    from dvc.repo import Repo
    from mlflow.data.dataset_source_registry import register_dataset_source

    from timbre.tracking.dvc_source import DvcSource

    Repo.init(no_scm=True)
    Repo().add("data/dataset")
    pointer = (root / "data/dataset.dvc").read_text()
    digest = re.findall(r"md5: (\w+\.dir)", pointer)[0]
    mlflow_store.write_lock(root, {"data/dataset": digest})
    table = (root / "data/dataset/train.jsonl").read_bytes()
    track.main(**ARGUMENTS)
    shutil.rmtree(root / "data/dataset")
    client = tracking.connect()
    experiment = tracking.experiment_of(client)
    assert not client.search_runs([experiment], f"dataset.digest = '{DIGEST}'")
    (run,) = client.search_runs([experiment], f"dataset.digest = '{digest}'")
    register_dataset_source(DvcSource)
    given = next(g for g in run.inputs.dataset_inputs if g.dataset.name == "dataset/train")
    source = mlflow.data.get_source(given.dataset)
    assert source.load().read_bytes() == table
    shutil.rmtree(root / ".dvc/cache")
    with pytest.raises(TrackingError, match=r"data/dataset/train.jsonl: .*not in DVC's cache; .*dvc pull data/dataset"):
        source.load()


def test_nothing_is_recorded_of_a_voice_that_may_not_be_heard(root: Path) -> None:
    write_owned(root, revoked="2026-04-01")
    with pytest.raises(SourceError, match=r"models/adapter: .* marina took the consent back"):
        track.main(**ARGUMENTS)
    write_owned(root)
    page = root / "reports/index.html"
    page.write_text(page.read_text().replace("marina", "marina bob"))
    with pytest.raises(SourceError, match=r"reports/index\.html: holds the voice of bob"):
        track.main(**ARGUMENTS)
    assert runs_in(root) == []
