from __future__ import annotations

import io
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import dataset as stage
from stages.dataset import duplicates, held_out, main, rejected, repeated, split, unfit, unusual_pace, warnings
from timbre.core.content import content_key
from timbre.core.errors import DataError, SourceError
from timbre.core.records import Clip, Drop, Example, Label, read_jsonl, write_jsonl
from timbre.core.sections import DatasetParams, VoiceParams
from timbre.core.text import words
from timbre.exchange.dataset_rows import examples, load
from timbre.families import csm

PARAMS = DatasetParams(
    speakers=None,
    eval_share=0.1, block_seconds=60, pace_iqr=1.5, snr=15, silence=0.6, clipping=0.001, language=0.5, repeats=2,
    doubtful_cer=0.1, wrong_cer=0.7, min_heard=0.25,
)  # fmt: skip


def clip(recording: str, number: int, text: str = "", seconds: float = 10.0, at: float | None = None) -> Clip:
    start = number * 12.0 if at is None else at
    text = text or f"In {recording} this is the clip with the number {number:03}."
    spans = [[start, start + seconds]]
    made = Clip(content_key(recording, spans), recording, "ann", start, start + seconds, spans, seconds, text)
    return replace(made, speech=0.9 * seconds, snr=40)


def heard(clips: Sequence[Clip], **values: Any) -> dict[str, Label]:
    """Labels as a Whisper that errs nowhere gives them, with these values for all."""
    return {c.id: replace(Label(c.id, c.recording, c.start, c.end, c.text, c.text, 0, None), **values) for c in clips}


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
    worded = [replace(clips[0], text="Something else."), *clips[1:]]
    assert held_out(worded, PARAMS) == held
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
    assert unusual_pace([*clips, wrong], 1.5)[wrong.id].startswith("pace: 1800 ms per letter, where ann usually")
    assert unusual_pace([*clips[:10], wrong], 1.5) == {}
    assert unusual_pace([*clips, wrong], None) == {}
    even = [clip("one", n, seconds=3.5) for n in range(30)]
    assert unusual_pace([*even, clip("one", 30, seconds=4.0)], 1.5) == {}


def test_silence_around_the_words_does_not_make_a_pace_unusual() -> None:
    clips = [replace(clip("one", n, seconds=3.5 + 0.01 * n), speech=3.0 + 0.01 * n) for n in range(30)]
    padded = replace(clip("one", 30, seconds=9.0), speech=3.1)
    assert unusual_pace([*clips, padded], 1.5) == {}


@pytest.mark.parametrize(
    ("clip_is", "label_is", "reason"),
    [
        ({"text": "..."}, {}, "wordless: its text has no word that could be spoken"),
        ({"clipped": 0.002}, {}, "clipping: 0.20% of its samples are cut off, over dataset.clipping (0.10%)"),
        ({"snr": 14.0}, {}, "noisy: speech is 14 dB above what is beside it, under dataset.snr (15)"),
        ({"speech": 3.0}, {}, "silence: nobody speaks in 70% of it, over dataset.silence (60%)"),
        ({}, {"language": 0.2}, "foreign: its language is the recording's with 20%, under dataset.language"),
        ({}, {"heard": "Nö.", "cer": 0.9}, "misheard: Whisper hears “Nö.”, 90% apart, over dataset.wrong_cer"),
        (
            {},
            {"heard": "Nö.", "cer": 0.1, "worst": 0.8},
            "misheard: Whisper hears “Nö.”; a sentence is 80% apart, over dataset.wrong_cer",
        ),
        ({}, {"language": 0.6, "cer": 0.5}, None),
    ],
)
def test_a_limit_leaves_out_what_is_beyond_it_and_null_nothing(
    clip_is: dict[str, Any], label_is: dict[str, Any], reason: str | None
) -> None:
    one = replace(clip("one", 0), **clip_is)
    label = replace(heard([one])[one.id], **label_is)
    assert unfit(one, label, PARAMS) == reason
    off = replace(PARAMS, snr=None, silence=None, clipping=None, language=None, wrong_cer=None)
    assert unfit(one, label, off) == (reason if reason and reason.startswith("wordless") else None)


def test_a_warning_is_about_a_clip_that_is_used_all_the_same() -> None:
    odd = replace(clip("one", 3), abrupt=True, clipped=0.0004)
    clips = [*talk("one", 3), odd, *talk("two", 9)]
    labels = heard(clips) | heard([odd], heard="In one this is a clip.", cer=0.3)
    made = split(clips, labels, PARAMS)
    rows = list(rejected(made, clips, labels, PARAMS))
    assert [(row.kind, row.clip, row.reason.split(":")[0]) for row in rows] == [
        ("warning", odd.id, kind) for kind in ("misheard", "cut", "clipping")
    ]
    assert odd in made.train + made.evaluation
    first = next(rejected(made, clips, labels, replace(PARAMS, doubtful_cer=None)))
    assert first.reason.startswith("cut")


def test_a_number_that_is_heard_as_another_is_a_warning_though_few_characters_are_wrong() -> None:
    doubted = Label("c", "one", 0, 1, "Pier ten.", "Pier twelve.", 0.01, None, 0.01, "10 heard as 12")
    assert list(warnings(clip("one", 0), doubted, PARAMS)) == [
        "misheard: Whisper hears “Pier twelve.”, another number (10 heard as 12); is the text what is said?"
    ]


def test_a_clip_that_sounds_like_somebody_else_is_a_warning() -> None:
    strange = Label("c", "one", 0, 1, "Pier ten.", "Pier ten.", 0.0, None, stranger=True)
    assert list(warnings(clip("one", 0), strange, PARAMS)) == [
        "voice: sounds like somebody else than most clips of ann; is the line's speaker right?"
    ]
    assert list(warnings(clip("one", 0), replace(strange, stranger=False), PARAMS)) == []


def test_the_same_words_stay_as_often_as_allowed_and_which_does_not_depend_on_the_order() -> None:
    clips = [clip(name, n, "Again and again.") for name in ("one", "two") for n in range(3)]
    left_out = repeated(clips, 2)
    assert len(left_out) == 4
    assert repeated(clips[::-1], 2) == left_out
    assert repeated(clips, None) == {}
    assert set(left_out.values()) == {"repeated: 6 clips say the same words, over dataset.repeats (2)"}


WORDS = st.sampled_from(["the", "The", "tide", "tide,", "boat", "boats", "Again!", "again"])
SPOKEN = st.lists(st.tuples(st.sampled_from(["one", "two"]), WORDS, WORDS, st.floats(0.5, 30)), max_size=40)


@settings(deadline=None, max_examples=150)
@given(SPOKEN, st.sampled_from([0.1, 0.3, 0.5]), st.sampled_from([20.0, 60.0]), st.sampled_from([None, 1, 3]))
def test_nothing_that_is_tested_was_learnt(rows: list[Any], share: float, block: float, repeats: int | None) -> None:
    params = replace(PARAMS, eval_share=share, block_seconds=block, repeats=repeats, pace_iqr=None)
    clips, at = [], {"one": 0.0, "two": 0.0}
    for recording, first, second, seconds in rows:
        clips.append(clip(recording, 0, f"{first} {second}", seconds, at[recording]))
        at[recording] += seconds
    made = split(clips, heard(clips), params)
    ids = [c.id for c in [*made.train, *made.evaluation]] + list(made.reasons)
    assert sorted(ids) == sorted(c.id for c in clips), "each clip is learnt, tested or left out"
    learnt, tested = ({tuple(words(c.text)) for c in side} for side in (made.train, made.evaluation))
    assert not learnt & tested, "no text on both sides"
    sides: dict[tuple[str, int], set[bool]] = {}
    for side in (made.train, made.evaluation):
        for c in side:
            for other in made.evaluation if side is made.train else made.train:
                apart = c.recording != other.recording or c.end <= other.start or other.end <= c.start
                assert apart, "no sound on both sides"
            sides.setdefault((c.recording, int((c.start + c.end) / 2 // block)), set()).add(side is made.train)
    mixed = [block for block, both in sides.items() if len(both) == 2]
    assert len(mixed) <= 1, "blocks stay whole, but for the one that fills up the share"


def test_what_is_tested_is_never_learnt_under_another_punctuation() -> None:
    clips = [clip("one", 0, "The tide, again!"), clip("one", 1, "the tide again"), clip("one", 2, "The tides again.")]
    assert list(duplicates(clips, {clips[0].id})) == [clips[1].id]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage, "read", lambda: SimpleNamespace(dataset=PARAMS, voice=VoiceParams("csm", "", None)))
    clips = [
        *talk("one", 12),
        clip("one", 12, "..."),
        *talk("two", 12),
        clip("two", 12, "Say it."),
        clip("two", 13, "Say it!"),
    ]
    write_sources("one", "two")
    write_speakers(ann=0)
    write_jsonl(Path("data/clips.jsonl"), clips)
    write_jsonl(Path("data/drops.jsonl"), [Drop("one", 500.0, 501.0, "Hm.", "dropped: flagged so in the transcript")])
    write_jsonl(Path("data/labels.jsonl"), heard(clips).values())
    (tmp_path / "data/clips").mkdir()
    for number, c in enumerate(clips):
        soundfile.write(f"data/clips/{c.id}.flac", np.full(160, number / 100), 16000)
    return tmp_path


def write_sources(*names: str, language: str = "en") -> None:
    entry = "- {{id: {}, url: 'https://a.b/{}.flac', speaker: ann, language: {}, licence: CC0-1.0, consent: me}}\n"
    Path("data").mkdir(exist_ok=True)
    Path("data/sources.yaml").write_text("".join(entry.format(name, name, language) for name in names))


def write_speakers(**numbers: int) -> None:
    entry = "  {}: {{name: A, number: {}, consent: {{by: A, when: 2026-03-01, for: tests, evidence: null}}}}\n"
    entries = (entry.format(name, number) for name, number in numbers.items())
    Path("data/speakers.yaml").write_text("speakers:\n" + "".join(entries))


def make() -> None:
    main(
        *(
            Path("data", name)
            for name in (
                "sources.yaml",
                "speakers.yaml",
                "clips.jsonl",
                "drops.jsonl",
                "labels.jsonl",
                "clips",
                "dataset",
            )
        )
    )


def test_speech_that_whisper_does_not_know_stops_before_anything_is_learnt(root: Path) -> None:
    labels = [replace(label, cer=0.9) for label in read_jsonl(Path("data/labels.jsonl"), Label)]
    write_jsonl(Path("data/labels.jsonl"), labels)
    with pytest.raises(DataError, match=r"Whisper hears 0 of \d+ clips as they are written.*presets/csm-1b\.yaml"):
        make()
    assert not Path("data/dataset").exists()


def test_what_a_speaker_says_who_is_left_out_stops_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither that Whisper does not know it, nor that the family does not speak its language."""
    rows = read_jsonl(Path("data/clips.jsonl"), Clip)
    theirs = {row.id for row in rows if row.recording == "two"}
    write_jsonl(Path("data/clips.jsonl"), [replace(c, speaker="bob") if c.id in theirs else c for c in rows])
    labels = read_jsonl(Path("data/labels.jsonl"), Label)
    write_jsonl(Path("data/labels.jsonl"), [replace(n, cer=0.9) if n.clip in theirs else n for n in labels])
    write_sources("two", language="ja")
    foreign = Path("data/sources.yaml").read_text()
    write_sources("one")
    with Path("data/sources.yaml").open("a") as stream:
        stream.write(foreign)
    write_speakers(ann=0, bob=1)
    only = SimpleNamespace(dataset=replace(PARAMS, min_heard=0.9), voice=VoiceParams("xtts", "", None))
    monkeypatch.setattr(stage, "read", lambda: only)
    with pytest.raises(DataError, match="two: xtts does not speak ja"):
        make()
    only.dataset = replace(only.dataset, speakers=["ann"])
    make()
    stats = json.loads(Path("data/dataset/stats.json").read_text())
    assert list(stats["speakers"]) == ["ann"]
    assert stats["rejected"]["reasons"]["unasked"] == len(theirs)


def test_a_row_says_its_recordings_language(root: Path) -> None:
    write_sources("one", "two", language="de")
    make()
    rows = [row for name in ("train", "eval") for row in read_jsonl(Path(f"data/dataset/{name}.jsonl"), Example)]
    assert {row.language for row in rows} == {"de"}


def test_a_row_says_its_speakers_number_unless_it_is_0(root: Path) -> None:
    make()
    assert '"number"' not in Path("data/dataset/train.jsonl").read_text()
    write_speakers(eve=0, ann=3)
    make()
    rows = [row for name in ("train", "eval") for row in read_jsonl(Path(f"data/dataset/{name}.jsonl"), Example)]
    assert {(row.source, row.number) for row in rows} == {("ann", 3)}


def test_a_speaker_can_be_left_out_by_name() -> None:
    anns, bobs = talk("one", 8), [replace(clip("two", number), speaker="bob") for number in range(8)]
    kept = split([*anns, *bobs], heard([*anns, *bobs]), replace(PARAMS, speakers=["bob"]))
    assert {c.speaker for c in [*kept.train, *kept.evaluation]} == {"bob"}
    assert {kept.reasons[c.id] for c in anns} == {"unasked: dataset.speakers does not name ann"}
    alone = split(bobs, heard(bobs), PARAMS)
    assert (kept.train, kept.evaluation) == (alone.train, alone.evaluation)


def test_a_speaker_who_is_asked_for_and_has_no_clip_is_named() -> None:
    clips = talk("one", 8)
    with pytest.raises(DataError, match=r"dataset\.speakers: eve has no clip; the speakers who have are ann"):
        split(clips, heard(clips), replace(PARAMS, speakers=["ann", "eve"]))
    with pytest.raises(ValueError, match=r"speakers: \[\] names nobody; null takes everyone"):
        replace(PARAMS, speakers=[])


def test_each_speaker_keeps_clips_back_for_evaluation() -> None:
    anns = [clip("one", number) for number in range(40)]
    bobs = [replace(clip("two", number), speaker="bob") for number in range(8)]
    tested = held_out([*anns, *bobs], PARAMS)
    assert tested == held_out(anns, PARAMS) | held_out(bobs, PARAMS)
    assert len(held_out(bobs, PARAMS)) >= 2


def test_a_clip_of_somebody_who_is_not_written_down_is_refused(root: Path) -> None:
    write_speakers(eve=0)
    with pytest.raises(SourceError, match=r"speakers\.yaml: no entry for ann, whose voice is in one, two"):
        make()


def test_a_language_that_the_family_does_not_speak_is_refused_by_recording(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.families, "family", lambda name: csm.FAMILY._replace(languages=("de", "zh")))
    with pytest.raises(DataError, match=r"one: csm does not speak en, only de, zh; (.|\n)*two: csm does not speak en"):
        make()


def test_every_clip_and_drop_is_in_exactly_one_table(root: Path) -> None:
    make()
    train, held = (examples(Path(f"data/dataset/{name}.jsonl")) for name in ("train", "eval"))
    left_out = read_jsonl(Path("data/dataset/rejected.jsonl"), Drop)
    assert len(train) + len(held) + len(left_out) == 28
    assert {"dropped", "wordless"} <= {drop.reason.split(":")[0] for drop in left_out}
    assert [drop.clip is None for drop in left_out] == [drop.reason.startswith("dropped") for drop in left_out]
    assert len({e.id for e in [*train, *held]}) == len(train) + len(held)
    assert all(Path(e.audio).exists() for e in train)
    stats = json.loads(Path("data/dataset/stats.json").read_text())
    assert stats["train"]["clips"] == len(train)
    assert stats["speakers"]["ann"]["clips"] == len(train) + len(held)
    assert sum(stats["rejected"]["reasons"].values()) == len(left_out)


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


def test_without_datasets_one_line_says_how_to_install_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)  # an import of it fails
    with pytest.raises(DataError, match=r"needs the package datasets: pip install -c constraints.txt '\.\[datasets\]'"):
        load(Path("data/dataset/train.jsonl"))


def test_nothing_to_learn_from_is_an_error_that_says_where_to_look(root: Path) -> None:
    write_jsonl(Path("data/clips.jsonl"), talk("one", 1))
    with pytest.raises(
        DataError, match=r"data/clips\.jsonl: 1 clips are left .*left out: 1 dropped; data/drops\.jsonl names"
    ):
        make()
    assert not Path("data/dataset").exists()


def test_a_clip_that_nobody_has_heard_is_named(root: Path) -> None:
    clips = talk("one", 12)
    write_jsonl(Path("data/labels.jsonl"), [heard(clips)[c.id] for c in clips[1:]])
    write_sources("one", "two")
    write_jsonl(Path("data/clips.jsonl"), clips)
    with pytest.raises(DataError, match=rf"data/labels\.jsonl: lacks clip {clips[0].id}; run `dvc repro check`"):
        make()


@pytest.mark.parametrize(
    "change",
    [{"eval_share": 0.0}, {"snr": 5, "silence": 40}, {"repeats": 0}, {"eval_share": 0.6}, {"block_seconds": 0.0}],
)
def test_params_that_cannot_work_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=list(change)[-1]):
        replace(PARAMS, **change)


def test_nothing_is_learnt_from_speech_that_whisper_does_not_know() -> None:
    clips = talk("one", 8)
    labels = list(heard(clips, cer=0.5).values())
    known = list(heard(clips[:2]).values())
    (line,) = stage.unheard([*known, *labels[3:]], replace(PARAMS, min_heard=0.3))
    assert line.startswith("Whisper hears 2 of 7 clips as they are written, under dataset.min_heard (30%)")
    assert "presets/csm-1b.yaml" in line
    for params in (
        replace(PARAMS, min_heard=2 / 7),
        replace(PARAMS, min_heard=None),
        replace(PARAMS, doubtful_cer=None),
    ):
        assert not list(stage.unheard([*known, *labels[3:]], params))
    assert not list(stage.unheard([], PARAMS))
