from __future__ import annotations

import io
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stages import dataset as stage
from stages.dataset import Params, duplicates, held_out, main, unusual_pace
from timbre.dataset import examples, load
from timbre.errors import DataError
from timbre.mapping import content_key
from timbre.records import Clip, Drop, read_jsonl, write_jsonl

PARAMS = Params(eval_share=0.1, block_seconds=60, pace_iqr=1.5)


def clip(recording: str, number: int, text: str = "", seconds: float = 10.0, at: float | None = None) -> Clip:
    start = number * 12.0 if at is None else at
    text = text or f"In {recording} this is the clip with the number {number:03}."
    spans = [[start, start + seconds]]
    return Clip(content_key(recording, spans), recording, "ann", start, start + seconds, spans, seconds, text)


def talk(recording: str, count: int) -> list[Clip]:
    return [clip(recording, number) for number in range(count)]


def test_evaluation_is_whole_blocks_of_about_the_wanted_share() -> None:
    clips = [c for name in ("one", "two", "three") for c in talk(name, 300)]
    held = held_out(clips, PARAMS)
    assert 0.05 < len(held) / len(clips) < 0.15
    sides: dict[tuple[str, int], set[bool]] = {}
    for c in clips:
        sides.setdefault((c.recording, int((c.start + c.end) / 2 // 60)), set()).add(c.id in held)
    assert all(len(side) == 1 for side in sides.values())


def test_an_edit_or_a_new_recording_moves_no_other_clip_across() -> None:
    clips = talk("one", 300)
    held = held_out(clips, PARAMS)
    words = [replace(clips[0], text="Something else."), *clips[1:]]
    assert held_out(words, PARAMS) == held
    moved = clip("one", 77, at=77 * 12.0 + 0.1)
    times = [*clips[:77], moved, *clips[78:]]
    assert {i for i in held_out(times, PARAMS) if i != moved.id} == held - {clips[77].id}
    assert (moved.id in held_out(times, PARAMS)) == (clips[77].id in held)
    assert held_out(clips[:100] + clips[101:], PARAMS) == held - {clips[100].id}
    more = held_out([*clips, *talk("two", 300)], PARAMS)
    assert more & {c.id for c in clips} == held


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 13, 25])
@pytest.mark.parametrize("name", ["a", "b", "c", "d"])
def test_few_clips_still_leave_something_on_both_sides(name: str, count: int) -> None:
    held = held_out(talk(name, count), PARAMS)
    assert len(held) >= (2 if count >= 4 else 1)
    assert len(held) <= count / 2


def test_a_clip_whose_pace_cannot_be_is_left_out_where_there_are_enough_to_tell() -> None:
    dice = random.Random(0)
    clips = [clip("one", n, seconds=dice.uniform(3.2, 3.8)) for n in range(30)]
    wrong = clip("one", 30, "A word.")
    assert list(unusual_pace([*clips, wrong], 1.5)) == [wrong.id]
    assert unusual_pace([*clips, wrong], 1.5)[wrong.id].startswith("pace: 2000 ms per character, where ann usually")
    assert unusual_pace([*clips[:10], wrong], 1.5) == {}
    even = [clip("one", n, seconds=3.5) for n in range(30)]
    assert unusual_pace([*even, clip("one", 30, seconds=4.0)], 1.5) == {}


def test_what_is_tested_is_never_learnt_under_another_punctuation() -> None:
    clips = [clip("one", 0, "The tide, again!"), clip("one", 1, "the tide again"), clip("one", 2, "The tides again.")]
    assert list(duplicates(clips, {clips[0].id})) == [clips[1].id]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage, "read", lambda *_: PARAMS)
    clips = [
        *talk("one", 12),
        clip("one", 12, "..."),
        *talk("two", 12),
        clip("two", 12, "Say it."),
        clip("two", 13, "Say it!"),
    ]
    write_jsonl(Path("data/clips.jsonl"), clips)
    write_jsonl(Path("data/drops.jsonl"), [Drop("one", 500.0, 501.0, "Hm.", "dropped: flagged so in the transcript")])
    (tmp_path / "data/clips").mkdir()
    for number, c in enumerate(clips):
        soundfile.write(f"data/clips/{c.id}.flac", np.full(160, number / 100), 16000)
    return tmp_path


def make() -> None:
    flags = "--table data/clips.jsonl --drops data/drops.jsonl --clips data/clips --out data/dataset"
    sys.argv = ["dataset", *flags.split()]
    main()


def test_every_clip_and_drop_is_in_exactly_one_table(root: Path) -> None:
    make()
    train, held = (examples(Path(f"data/dataset/{name}.jsonl")) for name in ("train", "eval"))
    rejected = read_jsonl(Path("data/dataset/rejected.jsonl"), Drop)
    assert len(train) + len(held) + len(rejected) == 28
    assert {"dropped", "wordless"} <= {drop.reason.split(":")[0] for drop in rejected}
    assert len({e.id for e in [*train, *held]}) == len(train) + len(held)
    assert all(Path(e.audio).exists() for e in train)
    stats = json.loads(Path("data/dataset/stats.json").read_text())
    assert stats["train"]["clips"] == len(train)
    assert stats["speakers"]["ann"]["clips"] == len(train) + len(held)
    assert sum(stats["rejected"]["reasons"].values()) == len(rejected)


def test_the_loader_gives_sound_text_source_and_where_they_are_from(root: Path) -> None:
    make()
    table = Path("data/dataset/train.jsonl")
    loaded, rows = load(table), examples(table)
    assert loaded.column_names == ["audio", "text", "source", "id", "recording", "start", "end"]
    assert (len(loaded), loaded[0]["text"], loaded[0]["source"]) == (len(rows), rows[0].text, "ann")
    samples, rate = soundfile.read(io.BytesIO(loaded[0]["audio"]["bytes"]))
    assert (rate, len(samples)) == (16000, 160)
    assert loaded.features["audio"].sampling_rate == 16000
    loaded.to_parquet("train.parquet")
    assert rows[0].id.encode() + b".flac" in Path("train.parquet").read_bytes()
    Path(rows[3].audio).unlink()
    with pytest.raises(DataError, match=rf"{rows[3].id}\.flac: is named by .*train\.jsonl and missing"):
        load(table)


def test_nothing_to_learn_from_is_an_error_that_says_where_to_look(root: Path) -> None:
    write_jsonl(Path("data/clips.jsonl"), talk("one", 1))
    with pytest.raises(
        DataError, match=r"data/clips\.jsonl: 1 clips are left .*data/drops\.jsonl says what was left out"
    ):
        make()
    assert not Path("data/dataset").exists()


@pytest.mark.parametrize("change", [{"eval_share": 0.0}, {"eval_share": 0.6}, {"block_seconds": 0.0}])
def test_params_that_cannot_work_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(PARAMS, **change)
