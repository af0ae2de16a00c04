"""`timbre import` of Hugging Face datasets: parquet, saved folders and audiofolders."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fake_outputs import voice
from tests.support.imports import ANN, WHO, back, heard, run, sounds, wav
from timbre.audio import to_pcm
from timbre.core.errors import DataError
from timbre.core.text import normalise

pytestmark = pytest.mark.usefixtures("project")

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(_TEXT.filter(normalise), min_size=1, max_size=3))
def test_any_text_comes_through_a_parquet_with_only_its_white_space_changed(texts: list[str]) -> None:
    rows = [{"audio": {"bytes": wav(s), "path": "x.wav"}, "text": t} for s, t in zip(SOUNDS, texts, strict=False)]
    pq.write_table(pa.Table.from_pylist(rows), "any.parquet")
    shutil.rmtree("data", ignore_errors=True)
    run("any.parquet", *ANN)
    assert [text for _, text, _ in back()] == [" ".join(text.split()) for text in texts]


SOUNDS = [(to_pcm(voice(0.3, number)), 16_000) for number in range(3)]


def test_a_saved_dataset_and_an_audiofolder_are_read_like_a_parquet(tmp_path: Path) -> None:
    from datasets import Audio, Dataset, DatasetDict

    made = sounds(4)
    cells = [{"bytes": wav(sound), "path": f"{number}.wav"} for number, sound in enumerate(made)]
    whole = Dataset.from_dict({"audio": cells, "text": [f"Number {n}." for n in range(4)], "source": ["ann"] * 4})
    whole = whole.cast_column("audio", Audio(decode=False))
    DatasetDict(train=whole.select([0, 1, 2]), test=whole.select([3])).save_to_disk(tmp_path / "saved")
    whole.save_to_disk(tmp_path / "flat", num_shards=2)
    (tmp_path / "parquet/data").mkdir(parents=True)
    whole.to_parquet(tmp_path / "parquet/data/train-00000-of-00001.parquet")
    folder = tmp_path / "folder"
    for number, sound in enumerate(made):
        (folder / "train").mkdir(parents=True, exist_ok=True)
        (folder / f"train/{number}.wav").write_bytes(wav(sound))
    table = "file_name,text,source\n" + "".join(f'{n}.wav,"Number {n}.",ann\n' for n in range(4))
    (folder / "train/metadata.csv").write_text(table)
    half = [json.dumps({"file_name": "0.wav", "text": "\ud800 no", "source": "ann"})]
    lines = [json.dumps({"file_name": f"{n}.wav", "sentence": f"Number {n}.", "who": "ann"}) for n in range(4)]
    shutil.copytree(folder / "train", tmp_path / "lines", ignore=shutil.ignore_patterns("*.csv"))
    expected = [("ann", f"Number {n}.", heard(sound)) for n, sound in enumerate(made)]
    for name in ("saved", "flat", "parquet", "folder"):
        shutil.rmtree("data", ignore_errors=True)
        run(tmp_path / name, *WHO)
        assert back() == expected, name
    (tmp_path / "lines/metadata.jsonl").write_text("\n".join(half))
    with pytest.raises(DataError, match="row 1: holds half of a character"):
        run(tmp_path / "lines", *WHO)
    (tmp_path / "lines/metadata.jsonl").write_text("\n".join(lines))
    shutil.rmtree("data")
    run(tmp_path / "lines", *WHO, "--text-column", "sentence", "--speaker-column", "who")
    assert back() == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [*ANN],
            r"has no column `text`; there are audio \(struct<.*>\), said \(string\), speaker \(int64\); say which",
        ),
        ([*ANN, "--text-column", "speaker"], "x.parquet: row 1: has no text"),
        ([*ANN, "--text-column", "said", "--audio-column", "said"], "'Hello there.' leads|Hello there. is missing"),
        ([*ANN, "--text-column", "said"], "the data name 2 voices .1, 2.; leave it out to keep them apart"),
    ],
)
def test_other_columns_are_listed_and_can_be_named(tmp_path: Path, arguments: list[str], message: str) -> None:
    cells = [{"bytes": wav(sound), "path": None} for sound in sounds(2)]
    table = pa.table({"audio": cells, "said": ["Hello there.", "Hello."], "speaker": [1, 2]})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DataError, match=message):
        run(tmp_path / "x.parquet", *arguments)
    run(tmp_path / "x.parquet", *ANN, "--text-column", "said", "--speaker-column", "")
    assert len(back()) == 2


def test_a_parquet_may_not_reach_outside_its_folder_and_bad_cells_are_told(tmp_path: Path) -> None:
    cells = [
        {"bytes": None, "path": "/etc/hostname"},
        {"bytes": None, "path": "../secret.wav"},
        {"bytes": b"", "path": None},
        {"bytes": b"RIFF", "path": "x.wav"},
        None,
    ]
    pq.write_table(pa.table({"audio": cells, "text": ["Hello."] * 5}), tmp_path / "x.parquet")
    with pytest.raises(DataError) as caught:
        run(tmp_path / "x.parquet", *ANN)
    told = str(caught.value)
    assert told.count("leads out of") == 2
    assert told.count("has no sound") == 2
    assert "row 4: is not audio that can be read" in told
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and so on")
    with pytest.raises(DataError, match=r"broken\.parquet: cannot be read as a dataset"):
        run(tmp_path / "broken.parquet", *ANN)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/state.json").write_text('{"_data_files": [{"filename": "../../x.arrow"}]}')
    with pytest.raises(DataError, match="leads out of"):
        run(tmp_path / "bad", *ANN)


def test_sound_in_other_containers_and_two_channels_comes_in_too(tmp_path: Path) -> None:
    samples = voice(1.0, 3)
    stereo, ogg = io.BytesIO(), io.BytesIO()
    soundfile.write(stereo, np.stack([samples, samples], axis=1), 16_000, format="FLAC")
    soundfile.write(ogg, voice(1.0, 4), 16_000, format="OGG")
    cells = [{"bytes": made.getvalue(), "path": None} for made in (stereo, ogg)]
    pq.write_table(pa.table({"audio": cells, "text": ["One.", "Two."]}), tmp_path / "x.parquet")
    run(tmp_path / "x.parquet", *ANN)
    assert back()[0] == ("ann", "One.", to_pcm(samples).tobytes())
    assert [text for _, text, _ in back()] == ["One.", "Two."]
