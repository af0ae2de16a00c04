"""`timbre trace`: back from a sound to the line, the seconds and the consent, and forward to all that was made."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_outputs import end_early
from tests.support.git_history import Voice
from tests.support.paths import ROOT
from timbre.commands import cli, trace
from timbre.core.errors import DataError
from timbre.core.records import Sample, to_json
from timbre.trace import text
from timbre.tracking import experiment_name
from timbre.versions.snapshot import open_snapshot

NOON = ["The ferry waits.", "It goes at noon.", "Mind the gap.", "The tide comes in.", "All aboard.", "It is late."]
HOSTILE = "A \x1b[31mred\x07 <script>talk</script>\u202e"


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    """Two versions of a voice: v1 with a recording of marina's, then one of bob's too, in which she speaks once."""
    voice = Voice(tmp_path_factory.mktemp("trace") / "voice")
    voice.add("noon", NOON)
    voice.allow("marina", when="2026-03-01", evidence="https://example.org/yes")
    voice.speakers["marina"]["name"] = "Marina Example"
    voice.allow("bob", when="2026-03-02")
    (voice.root / "data").mkdir()
    (voice.root / "data/prompts.tsv").write_text("id\ttext\none\tThe ferry waits here.\n")
    voice.commit("First voice")
    voice.git("tag", "v1")
    voice.add("night", ["Good night.", "The lamp burns.", "Who is there?", "It is I."], speaker="bob")
    voice.sources["night"] |= {"url": "https://example.org/night", "licence": "CC-BY-4.0"}
    voice.sources["night"].pop("file")
    voice.edit("night", 3, speaker="marina")
    voice.edit("night", 2, flag="drop")
    voice.commit("Add bob")
    write_work_tree(voice)
    return voice


def write_work_tree(voice: Voice) -> None:
    """What `fetch`, `train`, `generate` and `evaluate` leave; the tables are in DVC's cache."""
    raw = voice.root / "data/raw"
    raw.mkdir()
    for name, about in voice.sources.items():
        recording = {"id": name, "speaker": about["speaker"], "sha256": "ab" * 32, "seconds": 30.0}
        told = {"title": HOSTILE, "uploader": "Harbour Radio", "license": "CC BY", "file_sha256": "cd" * 32}
        (raw / f"{name}.json").write_text(json.dumps({"key": "k", "recording": recording, "provenance": told}))
        (raw / f"{name}.flac").touch()
    adapter = voice.root / "models/adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    (adapter / "training.json").write_text(json.dumps({"steps": 90, "best_step": 60, "best_eval_loss": 3.21}))
    samples = voice.root / "reports/samples"
    samples.mkdir()
    key = traced(voice, "adapter")["found"]["key"]
    clip = traced(voice, "data/transcripts/noon.tsv:2")["found"]["id"]
    said = traced(voice, "data/transcripts/noon.tsv:7")["found"]["id"]
    for condition in ("base", "tuned", "tuned_clone"):
        cloned, worn = (clip if "clone" in condition else None), (key if "tuned" in condition else None)
        line = "The ferry waits here."
        sample = Sample(
            id=f"{condition}-one-0", condition=condition, prompt="one", kind="true", text=line, clip=said, seed=0,
            reference=cloned, adapter=worn, base="b" * 16, seconds=1.5, ended=True, key="k",
        )  # type: ignore[arg-type]  # fmt: skip
        (samples / f"{sample.id}.json").write_text(to_json(sample))
    (voice.root / "reports/scores.csv").write_text(
        "sample,condition,prompt,seed,wer,errors,words,similarity,text,heard\n"
        "tuned_clone-one-0,tuned_clone,one,0,0.25,1,4,0.8765,The ferry waits here.,The fairy waits here.\n"
    )


def traced(voice: Voice, what: str, revision: str | None = None, history: bool = False) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(trace.as_json(trace.trace(voice.root, what, revision, history))))
    return made


def drawn(voice: Voice, what: str, *flags: str, width: int | None = None) -> str:
    return text.draw(trace.trace(voice.root, what, None, "--history" in flags), "--every" in flags, width)


@pytest.fixture
def voice(harbour: Voice, monkeypatch: pytest.MonkeyPatch) -> Voice:
    monkeypatch.chdir(harbour.root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return harbour


@pytest.fixture
def scratch(voice: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Voice:
    """A copy to change."""
    shutil.copytree(voice.root, tmp_path / "voice")
    monkeypatch.chdir(tmp_path / "voice")
    return at(tmp_path / "voice")


def at(root: Path) -> Voice:
    """The repository that is there already."""
    copy = object.__new__(Voice)
    copy.root = root
    return copy


def test_a_sample_leads_back_to_the_parameters_the_lines_and_the_consent(voice: Voice) -> None:
    found = traced(voice, "tuned_clone-one-0")
    sample = found["found"]
    assert found["kind"] == "sample"
    assert found["missing"] == []
    assert (sample["prompt_where"], sample["seed"], sample["errors"]) == ("data/prompts.tsv:2", 0, 1)
    assert (sample["heard"], sample["similarity"]) == ("The fairy waits here.", 0.8765)
    assert (sample["kind"], sample["truth"]["text"]) == ("true", "All aboard. It is late.")
    assert [line["where"] for line in sample["reference"]["lines"]] == [
        f"data/transcripts/noon.tsv:{n}" for n in (2, 3)
    ]
    assert sample["reference"]["text"] == "The ferry waits. It goes at noon."
    origin = sample["reference"]["recording"]
    assert (origin["file"], origin["where"], origin["licence"]) == (
        "data/recordings/noon.flac", "data/sources.yaml:1", "CC0-1.0",
    )  # fmt: skip
    assert origin["speaker"]["evidence"] == "https://example.org/yes"
    learnt = {some["recording"]["id"]: some for some in sample["adapter"]["learnt"]}
    assert {id: len(some["clips"]) for id, some in learnt.items()} == {"noon": 2, "night": 2}
    assert learnt["night"]["recording"]["url"] == "https://example.org/night"
    assert sample["adapter"]["best_step"] == 60
    assert sample["adapter"]["params"] == {"rate": 0.0003}


def test_the_tree_says_it_in_words(voice: Voice) -> None:
    rows = drawn(voice, "tuned_clone-one-0").splitlines()
    assert rows[0] == "tuned_clone-one-0  “The ferry waits here.”"
    assert "Whisper heard “The fairy waits here.”: 1 of 4 words wrong" in rows
    for said in (
        "similarity to the speaker 0.88",
        "├─ prompt   one, data/prompts.tsv:2, true",
        "│  ├─ line  data/transcripts/noon.tsv:2  0.00–3.00 s  “The ferry waits.”",
        "│     ├─ rights  CC0-1.0; given on paper",
        "│  │  ├─ noon   2 clips, 0:14; data/recordings/noon.flac (data/sources.yaml:1); marina, CC0-1.0",
        "│     ├─ consent   2026-03-02, by Bob",
    ):
        assert said in rows, "\n".join(rows)


@pytest.mark.parametrize("named", ["id", "prefix", "audio", "line"])
def test_a_clip_is_found_by_id_by_its_beginning_by_file_and_by_line(voice: Voice, named: str) -> None:
    clip = traced(voice, "data/transcripts/noon.tsv:5")["found"]
    what = {"id": clip["id"], "prefix": clip["id"][:7], "audio": clip["audio"], "line": "data/transcripts/noon.tsv:4"}
    found = traced(voice, what[named])
    assert found["kind"] == "clip"
    assert found["found"] == clip
    assert (clip["text"], clip["part"]) == ("Mind the gap. The tide comes in.", "training")


def test_what_was_said_against_a_clip_is_told_with_it(scratch: Voice) -> None:
    clip = traced(scratch, "data/transcripts/noon.tsv:2")["found"]["id"]
    rejected = Path("data/dataset/rejected.jsonl")
    rejected.parent.mkdir()
    row = {"recording": "noon", "start": 0.0, "end": 7.0, "text": "", "kind": "warning", "clip": clip}
    rejected.write_text(json.dumps({**row, "reason": "noisy: 12 dB"}) + "\n")
    assert "├─ note     noisy: 12 dB" in drawn(scratch, clip)
    assert traced(scratch, "noon")["found"]["uses"][0]["left_out"] == 0, "a warning leaves nothing out"


def test_a_clip_leads_forward_to_the_adapter_and_the_samples_that_clone_it(voice: Voice) -> None:
    key = traced(voice, "adapter")["found"]["version"]
    first = traced(voice, "data/transcripts/noon.tsv:2")["found"]
    assert (first["learnt_by"], first["cloned_by"]) == (key, ["tuned_clone-one-0"])
    last = traced(voice, "data/transcripts/noon.tsv:7")["found"]
    assert (last["part"], last["learnt_by"], last["cloned_by"]) == ("evaluation", None, [])
    assert "├─ adapter  the one here has not learnt from it" in drawn(voice, "data/transcripts/noon.tsv:7")


def test_each_clip_of_the_adapter_is_listed_with_its_lines(voice: Voice) -> None:
    [noon, _] = traced(voice, "adapter")["found"]["learnt"]
    assert noon["clips"][1]["lines"] == ["data/transcripts/noon.tsv:4", "data/transcripts/noon.tsv:5"]
    said = drawn(voice, "adapter", "--every")
    assert "8.00–15.00 s, data/transcripts/noon.tsv:4–5: “Mind the gap. The tide comes in.”" in said


def test_a_line_that_is_in_no_clip_and_a_name_that_nothing_has_are_told(voice: Voice) -> None:
    with pytest.raises(DataError, match=r"night\.tsv:4: “Who is there\?” is in no clip: dropped: flagged so"):
        traced(voice, "data/transcripts/night.tsv:4")
    with pytest.raises(DataError, match=r"noon\.tsv:99: is no line of a transcript"):
        traced(voice, "data/transcripts/noon.tsv:99")
    with pytest.raises(DataError, match=r"nooon: no sample, clip, adapter, .*; did you mean noon\?"):
        traced(voice, "nooon")


def test_a_recording_leads_forward_to_all_that_was_made_of_it(voice: Voice) -> None:
    found = traced(voice, "noon")
    [use] = found["found"]["uses"]
    assert found["kind"] == "recording"
    assert (len(use["training"]), len(use["evaluation"]), len(use["learnt"])) == (2, 1, 2)
    assert use["spoken"] == ["tuned-one-0", "tuned_clone-one-0"]
    assert use["cloned"] == ["tuned_clone-one-0"]
    assert use["files"] == ["data/raw/noon.flac"]
    assert traced(voice, "https://example.org/night")["found"]["uses"][0]["recording"]["id"] == "night"


def test_of_anothers_recording_a_speaker_has_only_their_own_lines(voice: Voice) -> None:
    noon, night = traced(voice, "marina")["found"]["uses"]
    assert (noon["recording"]["id"], noon["lines"], len(noon["training"])) == ("noon", 6, 2)
    assert (night["recording"]["id"], night["lines"], len(night["training"])) == ("night", 1, 1)
    [theirs] = traced(voice, "bob")["found"]["uses"]
    assert theirs["lines"] == 4


def test_a_consent_that_was_taken_back_is_shouted_with_what_to_do(scratch: Voice) -> None:
    path = Path("data/speakers.yaml")
    people = json.loads(path.read_text())
    people["speakers"]["bob"]["consent"]["revoked"] = "2026-05-01"
    path.write_text(json.dumps(people))
    said = drawn(scratch, "bob")
    assert "├─ TAKEN BACK  on 2026-05-01" in said
    assert "`timbre remove bob --write`, then `dvc repro`, takes all of this out; until then raw sound and" in said
    assert "TAKEN BACK" in drawn(scratch, "tuned_clone-one-0")
    assert traced(scratch, "night", "HEAD")["found"]["uses"][0]["recording"]["speaker"]["revoked"] == "2026-05-01"
    path.unlink()
    assert "bob: NO ENTRY in data/speakers.yaml" in drawn(scratch, "bob")


def test_a_recording_that_is_no_longer_declared_is_found_as_long_as_a_table_has_it(scratch: Voice) -> None:
    Path("data/sources.yaml").write_text("[]\n")
    [use] = traced(scratch, "night")["found"]["uses"]
    assert use["recording"]["where"] is None
    assert use["training"]
    assert "no longer declared" in drawn(scratch, "night")


def test_the_adapter_is_traced_to_the_table_that_it_learnt_from(scratch: Voice) -> None:
    before = traced(scratch, "adapter")["found"]
    table = Path("data/dataset/train.jsonl")
    table.parent.mkdir()
    table.write_text("")
    after = traced(scratch, "adapter")
    assert after["found"] == before
    assert after["missing"] == [f"{table}: has changed since the adapter learnt; `dvc repro` trains anew"]


def test_lines_that_were_edited_since_and_a_sample_of_another_adapter_are_told(scratch: Voice) -> None:
    path = Path("data/transcripts/noon.tsv")
    path.write_text(path.read_text().replace("The ferry waits.", "The fairy waits."))
    assert "the lines say something else now than the clip was made with" in drawn(scratch, f"{path}:2")
    Path("models/adapter/adapter_model.safetensors").write_bytes(b"others")
    found = traced(scratch, "tuned-one-0")
    assert found["found"]["adapter"] is None
    assert "which spoke it, is not models/adapter of this version" in found["missing"][0]


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


def test_what_strangers_wrote_moves_no_cursor(voice: Voice) -> None:
    said = drawn(voice, "night")
    assert "title A ⟨U+001B⟩[31mred⟨U+0007⟩ <script>talk</script>⟨U+202E⟩, by Harbour Radio, licence CC BY" in said
    assert all(character.isprintable() or character == "\n" for character in said)


def test_rows_are_broken_where_the_terminal_ends(voice: Voice) -> None:
    rows = drawn(voice, "tuned_clone-one-0", "--every", width=80).splitlines()
    assert max(map(len, rows)) <= 100, "an id or a hash is never broken"
    wide = drawn(voice, "tuned_clone-one-0", "--every")
    assert "".join(wide.split()).replace("│", "") == "".join("".join(rows).split()).replace("│", "")


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


def test_a_speaker_is_told_from_a_recording_of_the_same_name(scratch: Voice) -> None:
    path = Path("data/sources.yaml")
    path.write_text(path.read_text().replace("id: night", "id: bob"))
    assert traced(scratch, "bob")["kind"] == "recording"
    assert traced(scratch, "speaker:bob")["kind"] == "speaker"


def test_tracing_loads_no_model_library(voice: Voice) -> None:
    code = (
        "import sys; from timbre.commands.cli import execute; execute(['trace', 'marina', '--history'])\n"
        "assert not {'torch', 'transformers', 'mlflow', 'datasets', 'dvc'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env={"PYTHONPATH": str(ROOT)})


def test_a_base_whose_licence_forbids_something_is_told_with_it(harbour: Voice) -> None:
    assert "non-commercial" not in drawn(harbour, "tuned-one-0")
    path = harbour.root / "models/adapter/training.json"
    before = path.read_text()
    path.write_text(json.dumps({**json.loads(before), "base_licence": "House rules, non-commercial use only"}))
    try:
        for what in ("tuned-one-0", "base-one-0", "adapter"):
            assert "House rules, non-commercial use only" in drawn(harbour, what)
    finally:
        path.write_text(before)


def test_the_tree_says_that_a_person_ended_the_training_early(scratch: Voice) -> None:
    end_early(scratch.root)
    assert "a person ended it early, at step 90 of 300" in drawn(scratch, "adapter", width=200)
