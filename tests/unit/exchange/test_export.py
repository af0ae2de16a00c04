"""`timbre export` and `timbre push`: what goes out can be read back, and says whose it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.support.dataset_repository import TEXTS, build, consent, dataset
from tests.support.files import contents
from timbre.commands import cli
from timbre.core.content import file_md5
from timbre.core.errors import DataError
from timbre.core.records import Example, read_jsonl
from timbre.core.text import normalise, words
from timbre.exchange import dataset_rows, huggingface
from timbre.mapping import shards
from timbre.project import sources, transcripts


@pytest.fixture(autouse=True)
def dataset_project(project: Path) -> Path:
    return build(project)


def run(*arguments: str) -> int:
    return cli.execute(list(arguments))


def samples(name: str) -> bytes:
    return bytes(soundfile.read(f"data/clips/{name}.flac", dtype="int16")[0].tobytes())


def rows(*splits: str) -> list[Example]:
    return [row for split in splits or TEXTS for row in read_jsonl(Path(f"data/dataset/{split}.jsonl"), Example)]


def test_ljspeech_has_every_clip_and_its_words_by_split() -> None:
    run("export", "ljspeech", "out")
    for table, splits in {
        "metadata": ("train", "eval"),
        "metadata_train": ("train",),
        "metadata_eval": ("eval",),
    }.items():
        lines = [line.split("|") for line in Path(f"out/{table}.csv").read_text().splitlines()]
        assert [line[0] for line in lines] == [row.id for row in rows(*splits)]
        assert [words(line[2]) for line in lines] == [words(row.text) for row in rows(*splits)]
    for row in rows():
        wav, rate = soundfile.read(f"out/wavs/{row.id}.wav", dtype="int16")
        assert (rate, wav.tobytes()) == (24_000, samples(row.id))


def test_clips_in_shards_are_exported_and_loaded_as_they_are_from_files() -> None:
    table = Path("data/dataset/train.jsonl")
    loaded = dataset_rows.load(table)
    for kind in ("hf", "ljspeech"):
        run("export", kind, kind)
    parts = {
        path.stem: shards.FilePart(path, 0, path.stat().st_size, file_md5(path))
        for path in Path("data/clips").iterdir()
    }
    for shard, names in shards.planned(parts, 2).items():
        packed = [shards.PackedEntry(name, "key", {".flac": parts[name]}) for name in names]
        shards.write(Path("data/clips") / shard, packed)
    for part in parts.values():
        part.path.unlink()
    shards.forget()
    assert dataset_rows.load(table)[:] == loaded[:]
    for kind in ("hf", "ljspeech"):
        run("export", kind, f"{kind}-of-shards")
        assert contents(Path(f"{kind}-of-shards")) == contents(Path(kind))


def test_gpt_sovits_lists_have_four_fields_that_can_be_parted(capsys: pytest.CaptureFixture[str]) -> None:
    run("export", "gpt-sovits", "out")
    lines = [line.split("|") for line in Path("out/train.list").read_text().splitlines()]
    assert lines[0] == ["wavs/0000000000000000.wav", "ann", "en", "The tide comes in."]
    assert lines[1][1:3] == ["bob", "en"]
    assert len(Path("out/eval.list").read_text().splitlines()) == 1
    assert all((Path("out") / line[0]).is_file() for line in lines)
    assert "1 texts have a |, which this format cannot hold: written as a space" in capsys.readouterr().out
    Path("data/sources.yaml").write_text(Path("data/sources.yaml").read_text().replace("en,", "de,"))
    with pytest.raises(DataError, match="GPT-SoVITS does not speak de; it knows zh, ja, en, ko, yue"):
        run("export", "gpt-sovits", "other")
    assert sorted(path.name for path in Path().iterdir()) == ["data", "dvc.yaml", "out"], "nothing half made"


def test_a_hugging_face_folder_is_what_datasets_reads_with_the_sound_untouched() -> None:
    from datasets import Audio, load_dataset

    run("export", "hf", "out")
    loaded = load_dataset("./out", cache_dir="cache")
    assert {split: [row["text"] for row in loaded[split]] for split in loaded} == TEXTS
    assert loaded["train"].column_names == ["audio", "text", "source", "id", "recording", "start", "end"]
    assert loaded["train"].features["audio"] == Audio(sampling_rate=24_000, decode=False)
    for found, row in zip(loaded["train"], rows("train"), strict=True):
        assert found["audio"] == {"bytes": Path(row.audio).read_bytes(), "path": Path(row.audio).name}
        assert (found["source"], found["recording"], found["end"]) == (row.source, row.recording, row.end)


def test_clips_of_many_sizes_are_parted_into_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface, "SHARD", 12_000)
    run("export", "hf", "out")
    names = sorted(path.name for path in Path("out/data").iterdir())
    assert len([name for name in names if name.startswith("train")]) > 1
    assert all(name.endswith(f"-of-{sum(n.startswith(name[:4]) for n in names):05}.parquet") for name in names)
    texts = [text for name in names if name[0] == "t" for text in pq.read_table(f"out/data/{name}")["text"].to_pylist()]
    assert texts == TEXTS["train"]


@pytest.mark.parametrize("kind", ["ljspeech", "hf"])
def test_what_goes_out_comes_in_again_with_the_same_words(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("export", kind, "out")
    there = {row.id: (words(row.text), np.frombuffer(samples(row.id), np.int16)) for row in rows()}
    shutil.move("out", tmp_path / "out")
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    who = ["--language", "en", "--licence", "CC-BY-4.0", "--consent", "given"]
    run("import", "../out", *who, *(["--speaker", "ann"] if kind == "ljspeech" else []))
    back = []
    for source in sources.read(Path("data/sources.yaml")):
        sound, rate = soundfile.read(source.origin, dtype="int16")
        for line in transcripts.read(Path(f"data/transcripts/{source.id}.tsv")).lines:
            cut = sound[round(line.start * rate) : round(line.end * rate)]
            back.append((words(line.text), np.trim_zeros(cut, "b").tobytes()))
    assert sorted(back) == sorted((said, np.trim_zeros(cut, "b").tobytes()) for said, cut in there.values())


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).map(normalise).filter(words)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(_TEXT, min_size=2, max_size=4))
def test_any_normalised_text_keeps_its_words_through_every_format(texts: list[str]) -> None:
    dataset({"train": texts[1:], "eval": texts[:1]})
    wanted = [words(text) for text in texts[1:]]
    for kind in ("ljspeech", "gpt-sovits", "hf"):
        shutil.rmtree("out", ignore_errors=True)
        run("export", kind, "out")
        if kind == "hf":
            found = pq.read_table("out/data/train-00000-of-00001.parquet")["text"].to_pylist()
            assert found == texts[1:]
        else:
            lines = Path("out", "metadata_train.csv" if kind == "ljspeech" else "train.list").read_bytes().split(b"\n")
            found = [line.decode().split("|")[-1] for line in lines[:-1]]
        assert [words(text) for text in found] == wanted


def test_the_card_says_whose_voices_by_what_right_and_which_version() -> None:
    run("export", "hf", "out")
    text = Path("out/README.md").read_text()
    front = YAML(typ="safe").load(text.split("---\n")[1])
    assert (front["license"], front["language"]) == ("cc-by-4.0", ["en"])
    assert front["pretty_name"] == "A voice: ann | <b>*, bob | <b>*"
    assert [entry["split"] for entry in front["configs"][0]["data_files"]] == ["train", "eval"]
    assert "| ann | ann &#124; &#60;b&#62;&#42; | 3 | " in text
    assert " | training, Publish | ann | 2026-03-01 |" in text
    assert "| noon | en | CC-BY-4.0 | data/recordings/noon.flac | 3 | " in text
    version = text.split("DVC's hash `")[1].split("`")[0]
    assert version.endswith(".dir")
    Path("data/sources.yaml").write_text(
        Path("data/sources.yaml").read_text().replace("CC-BY-4.0", "House rules 😀", 1)
    )
    run("export", "hf", "other")
    front = YAML(typ="safe").load(Path("other/README.md").read_text().split("---\n")[1])
    assert (front["license"], front["license_name"]) == ("other", "CC-BY-4.0, House rules 😀")


def test_the_version_is_the_one_that_dvc_locked() -> None:
    run("export", "hf", "out")
    version = Path("out/README.md").read_text().split("DVC's hash `")[1].split("`")[0]
    out = {"path": "data/dataset", "hash": "md5", "md5": version}
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": {"dataset": {"cmd": "x", "outs": [out]}}}))
    run("export", "hf", "same")
    Path("dvc.lock").write_text(Path("dvc.lock").read_text().replace(version, "0" * 32 + ".dir"))
    with pytest.raises(DataError, match=r"data/dataset: is not what dvc\.lock names; `dvc repro dataset`"):
        run("export", "hf", "other")


def test_what_cannot_go_is_told_and_leaves_no_folder(project: Path) -> None:
    Path("full").mkdir()
    Path("full/mine").write_text("mine")
    Path("empty").mkdir()
    run("export", "hf", "empty")
    with pytest.raises(DataError, match="full: is there already, and stays"):
        run("export", "hf", "full")
    Path("data/clips/0000000000000002.flac").unlink()
    with pytest.raises(DataError, match=r"0000000000000002\.flac: is missing; `dvc pull`"):
        run("export", "hf", "out")
    dataset(TEXTS)
    consent(ann="training")
    with pytest.raises(DataError, match="no entry for bob, whose voice is in night"):
        run("export", "hf", "out")
    text = Path("data/sources.yaml").read_text()
    Path("data/sources.yaml").write_text(text.splitlines()[0] + "\n")
    with pytest.raises(DataError, match=r"data/dataset: holds night, which data/sources\.yaml does not"):
        run("export", "hf", "out")
    assert not Path("out").exists()


@pytest.mark.parametrize("use", ["training", "anything but publishing", "do not publish", "published once"])
def test_a_voice_goes_out_only_where_its_owner_said_publish(use: str) -> None:
    consent(ann=use, bob="training, publish")
    with pytest.raises(DataError) as caught:
        run("push", "dataset", "ann/harbour")
    assert str(caught.value).startswith("data/speakers.yaml:1: ann: the consent is for " + repr(use))
    assert "bob" not in str(caught.value)


def test_neither_a_revoked_consent_nor_a_missing_licence_goes_out() -> None:
    Path("data/sources.yaml").write_text(Path("data/sources.yaml").read_text().replace("CC-BY-4.0", "unknown", 1))
    with pytest.raises(DataError, match="noon: licence 'unknown' allows nobody anything; name one"):
        run("push", "dataset", "ann/harbour", "--private")
    text = Path("data/speakers.yaml").read_text()
    Path("data/speakers.yaml").write_text(
        text.replace('"evidence": null', '"evidence": null, "revoked": "2026-05-01"', 1)
    )
    for command in (["push", "dataset", "ann/harbour"], ["export", "hf", "out"]):
        with pytest.raises(DataError, match="ann took the consent back on 2026-05-01"):
            run(*command)
    with pytest.raises(DataError, match="is no name on the hub; write OWNER/NAME"):
        run("push", "dataset", "../harbour")


def test_the_clips_of_somebody_who_was_taken_out_stay_until_the_dataset_is_made_anew() -> None:
    path = Path("data/sources.yaml")
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    rows = Path("data/dataset/train.jsonl")
    rows.write_text(rows.read_text().replace('"night"', '"noon"'))
    with pytest.raises(DataError, match=r"^bob: was taken out; `dvc repro` makes the voice without$"):
        run("export", "ljspeech", "../out")
