"""`timbre trace`: back from a sound to the line, the seconds and the consent, and forward to all that was made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_outputs import end_early
from tests.support.git_history import Voice
from tests.support.paths import ROOT
from tests.support.traced_voice import drawn, traced
from timbre import families
from timbre.core.errors import DataError


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


def test_an_adapter_with_more_weights_beside_it_has_the_key_that_its_samples_name(scratch: Voice) -> None:
    adapter = scratch.root / "models/adapter"
    alone = traced(scratch, "adapter")["found"]["key"]
    assert alone == families.adapter_fingerprint(adapter)
    (adapter / "stage2.safetensors").write_bytes(b"of GPT-SoVITS")
    key = traced(scratch, "adapter")["found"]["key"]
    assert key == families.adapter_fingerprint(adapter) != alone
    record = scratch.root / "reports/samples/tuned-one-0.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"adapter": key}))
    assert traced(scratch, "tuned-one-0")["found"]["adapter"]["key"] == key


def test_lines_that_were_edited_since_and_a_sample_of_another_adapter_are_told(scratch: Voice) -> None:
    path = Path("data/transcripts/noon.tsv")
    path.write_text(path.read_text().replace("The ferry waits.", "The fairy waits."))
    assert "the lines say something else now than the clip was made with" in drawn(scratch, f"{path}:2")
    Path("models/adapter/adapter_model.safetensors").write_bytes(b"others")
    found = traced(scratch, "tuned-one-0")
    assert found["found"]["adapter"] is None
    assert "which spoke it, is not models/adapter of this version" in found["missing"][0]


def test_what_strangers_wrote_moves_no_cursor(voice: Voice) -> None:
    said = drawn(voice, "night")
    assert "title A ⟨U+001B⟩[31mred⟨U+0007⟩ <script>talk</script>⟨U+202E⟩, by Harbour Radio, licence CC BY" in said
    assert all(character.isprintable() or character == "\n" for character in said)


def test_rows_are_broken_where_the_terminal_ends(voice: Voice) -> None:
    rows = drawn(voice, "tuned_clone-one-0", "--every", width=80).splitlines()
    assert max(map(len, rows)) <= 100, "an id or a hash is never broken"
    wide = drawn(voice, "tuned_clone-one-0", "--every")
    assert "".join(wide.split()).replace("│", "") == "".join("".join(rows).split()).replace("│", "")


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
