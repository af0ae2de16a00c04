"""What holds for any two versions: nothing is lost, nothing is made up, and both directions tell the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.git_history import Voice
from timbre.core import records
from timbre.diff import clips, lines, rates, wording
from timbre.diff.document import TextSpan
from timbre.diff.lines import TURNED
from timbre.diff.sections import voice
from timbre.evaluation import score_rows, scores
from timbre.evaluation.score_rows import ScoreRow
from timbre.evaluation.scores import Score
from timbre.versions import clip_rows, dvc_lock
from timbre.versions import lenient_rows as rows
from timbre.versions.clip_rows import ClipRow
from timbre.versions.dvc_lock import read, stale
from timbre.versions.lenient_rows import TranscriptRow
from timbre.versions.snapshot import open_snapshot

WORDS = st.sampled_from(["the", "tide", "Tide", "comes", "in", "can't", "—", "…", "a  b", "ß", "שלום", ".", ","])
TEXTS = st.one_of(st.text(), st.lists(WORDS, max_size=30).map(" ".join))
TIMES = st.integers(0, 60)


@st.composite
def transcripts(draw: st.DrawFn) -> list[TranscriptRow]:
    """Lines one after the other, as a transcript has them; few words and few times, so that many are alike."""
    times = sorted(draw(st.lists(TIMES, max_size=24, unique=True)))
    pairs = zip(times[::2], times[1::2], strict=False)
    one = st.tuples(st.sampled_from(["ann", "ben"]), st.sampled_from(["", "ok", "drop"]), st.sampled_from("abcd"))
    return [TranscriptRow(number, start / 2, end / 2, *draw(one)) for number, (start, end) in enumerate(pairs, 2)]


@given(TEXTS, TEXTS)
def test_the_pieces_of_a_word_diff_are_the_old_text_and_the_new(old: str, new: str) -> None:
    pieces = wording.compare(old, new)
    assert "".join(piece.old for piece in pieces) == old
    assert "".join(piece.new for piece in pieces) == new
    assert all(piece.old or piece.new for piece in pieces)
    assert all(a.changed != b.changed for a, b in pairwise(pieces))


@given(TEXTS)
def test_a_text_against_itself_has_no_change(text: str) -> None:
    assert not any(piece.changed for piece in wording.compare(text, text))


@given(st.text(), st.booleans(), st.booleans())
def test_a_fold_leaves_out_and_never_adds(text: str, first: bool, last: bool) -> None:
    assert set(wording.fold(text, first, last).split()) - {"…"} <= {*text.split(), *text.replace("…", " ").split()}


@settings(deadline=None)
@given(transcripts(), transcripts())
def test_every_line_that_differs_is_in_exactly_one_change(old: list[TranscriptRow], new: list[TranscriptRow]) -> None:
    changes = lines.compare("tape", old, new)

    def content(some: list[TranscriptRow]) -> Counter[tuple[object, ...]]:
        return Counter((row.start, row.end, row.speaker, row.flag, row.text) for row in some)

    gone = content([row for change in changes for row in change.old])
    come = content([row for change in changes for row in change.new])
    assert content(old) - gone + come == content(new)
    assert all(change.kinds or change.old[0].flag != change.new[0].flag for change in changes)


@settings(deadline=None)
@given(transcripts(), transcripts())
def test_the_way_back_tells_the_same_turned(old: list[TranscriptRow], new: list[TranscriptRow]) -> None:
    there = {(change.old, change.new): sorted(change.kinds) for change in lines.compare("tape", old, new)}
    back = {(change.new, change.old): change.kinds for change in lines.compare("tape", new, old)}
    assert there == {rows: sorted(TURNED.get(kind, kind) for kind in kinds) for rows, kinds in back.items()}


@given(transcripts())
def test_a_transcript_against_itself_is_empty(some: list[TranscriptRow]) -> None:
    assert lines.compare("tape", some, list(some)) == []


@given(st.binary())
def test_any_file_can_be_read(content: bytes) -> None:
    found = rows.parse(content, "x.tsv")
    assert len(found.rows) + len(found.problems) <= content.count(b"\n") + 1


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("0\t3\tann\tok\tThe\ttide", "6 fields instead of 5; a tab in the text?"),
        ("0\t3\tann\tThe tide", "4 fields instead of 5; fields are separated by a tab, also where one is empty"),
        ("0\tsoon\tann\tok\tThe tide", "end 'soon' is not a number of seconds such as 12.40"),
    ],
)
def test_a_row_that_is_no_line_is_told_with_what_is_wrong(row: str, what: str) -> None:
    assert [(problem.line, problem.what) for problem in rows.parse(f"{row}\n".encode(), "x.tsv").problems] == [
        (1, what)
    ]


def line(number: int, start: float, end: float, text: str, flag: str = "") -> TranscriptRow:
    return TranscriptRow(number, start, end, "ann", flag, text)


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        ([line(2, 0, 3, "The tide")], [line(2, 0, 3, "The time")], ["reworded"]),
        ([line(2, 0, 3, "The tide")], [line(2, 0, 3, "The  tide")], ["respelled"]),
        ([line(2, 0, 3, "The “tide”")], [line(2, 0, 3, 'The "tide"')], ["respelled"]),
        ([line(2, 0, 3, "The tide")], [line(2, 0.2, 3, "The tide")], ["retimed"]),
        ([line(2, 0, 3, "The tide")], [line(2, 0.2, 3, "The time")], ["reworded", "retimed"]),
        ([line(2, 0, 3, "The tide")], [line(2, 70, 73, "The tide")], ["retimed"]),
        ([line(2, 0, 3, "The tide")], [line(2, 0, 3, "The tide", "drop")], ["dropped"]),
        ([line(2, 0, 3, "The tide", "drop")], [line(2, 0, 3, "The tide", "ok")], ["restored"]),
        ([line(2, 0, 3, "The tide")], [line(2, 0, 3, "The tide", "ok")], ["heard"]),
        ([line(2, 0, 3, "The tide")], [], ["removed"]),
        ([line(2, 0, 3, "The tide")], [line(2, 8, 9, "Another")], ["removed", "added"]),
        ([line(2, 0, 4, "a b")], [line(2, 0, 2, "a"), line(3, 2, 4, "b")], ["split"]),
        ([line(2, 0, 4, "a b")], [line(2, 0, 2, "a"), line(3, 2, 4, "c")], ["reworded", "split"]),
        ([line(2, 0, 2, "a"), line(3, 2, 4, "b")], [line(2, 0, 4, "a b")], ["merged"]),
    ],
)
def test_what_happened_to_a_line(old: list[TranscriptRow], new: list[TranscriptRow], kinds: list[str]) -> None:
    assert [kind for change in lines.compare("tape", old, new) for kind in change.kinds] == kinds


def test_a_shift_of_everything_is_a_change_of_times_alone() -> None:
    old = [line(i, i, i + 0.8, f"line {i % 7}") for i in range(2, 100)]
    new = [line(i, i + 41.5, i + 42.3, f"line {i % 7}") for i in range(2, 100)]
    changes = lines.compare("tape", old, new)
    assert {change.kinds for change in changes} == {("retimed",)}
    assert {change.new[0].start - change.old[0].start for change in changes} == {41.5}


def test_frequent_replacements_are_counted() -> None:
    changes = [wording.compare(f"the trellis {i}", f"the Trelis {i}") for i in range(14)]
    assert wording.replacements(changes) == {("trellis", "Trelis"): 14}


def test_the_tables_are_those_that_the_stages_write() -> None:
    made = records.Clip("c0ffee", "tape", "ann", 1.0, 4.0, [[1.0, 4.0]], 3.0, "The tide.")
    row = records.Example("data/clips/c0ffee.flac", "The tide.", "ann", "c0ffee", "tape", 1.0, 4.0, 3.0)
    tables = {"training": records.to_json(row).encode(), "evaluation": b""}
    assert clip_rows.parse(records.to_json(made).encode(), tables) == [
        ClipRow("c0ffee", "tape", 1.0, 4.0, 3.0, "The tide.", "training", "ann", ((1.0, 4.0),))
    ]
    drop = records.Drop("tape", 1.0, 4.0, "The tide.", "too long: 31 s")
    (read,) = clip_rows.rejected(records.to_json(drop).encode())
    assert (read.recording, read.start, read.text, read.kind) == ("tape", 1.0, "The tide.", "too long")
    warning = records.Drop("tape", 1.0, 4.0, "The tide.", "short: 0.9 s", "warning", "c0ffee")
    (read,) = clip_rows.rejected(records.to_json(warning).encode())
    assert (read.kind, read.warning, read.clip) == ("short (a warning)", True, "c0ffee")


def test_scores_are_those_that_evaluate_writes(tmp_path: Path) -> None:
    score = Score(
        "tuned-pier-0", "tuned", "pier", 0, 0.25, 0.1, 1, 4, None, None, 1.0, 0.1, 2.5, True, False, True, False,
        "To the pier.", "To the peer.", "to the [-pier-] {+peer+}",
    )  # fmt: skip
    scores.write(tmp_path / "scores.csv", [score])
    (row,) = score_rows.read((tmp_path / "scores.csv").read_bytes())
    read = dict(vars(row))
    assert read.pop("flags") == {"ended": True, "silent": False, "clipped": True, "repeated": False, "looped": False}
    assert {name: getattr(score, name) for name in read} == read


def scored(prompt: str, errors: int = 0, similarity: float | None = None) -> ScoreRow:
    return ScoreRow(prompt, "tuned", prompt, 0, errors / 4, errors, 4, "", "", similarity, {}, "")


def test_a_change_comes_with_what_chance_would_do() -> None:
    def scores(errors: list[int]) -> dict[str, ScoreRow]:
        return {f"p{i}": scored(f"p{i}", errors=n) for i, n in enumerate(errors)}

    def similarity(values: list[float]) -> dict[str, ScoreRow]:
        return {f"p{i}": scored(f"p{i}", similarity=n) for i, n in enumerate(values)}

    assert rates.margins("tuned", "wer", scores([1] * 8), scores([0] * 8)) == 0.0, "each sentence gained the same"
    assert rates.margins("tuned", "wer", scores([2, 0] * 4), scores([0, 2] * 4)) == pytest.approx(0.3704, abs=1e-3)
    assert rates.margins("tuned", "wer", scores([1] * 4), scores([0] * 4)) is None, "four sentences say nothing"
    found = rates.margins("tuned", "similarity", similarity([0.5] * 6), similarity([0.6, 0.7] * 3))
    assert found == pytest.approx(1.96 * 0.0548 / 6**0.5, abs=1e-3)


def test_rates_over_other_sentences_have_no_margin_of_their_change() -> None:
    same, text = {f"p{i}": scored(f"p{i}") for i in range(8)}, "The ferry waits."
    assert rates.margins("tuned", "wer", same, dict(same)) == 0.0
    assert rates.margins("tuned", "wer", same, {**same, "p8": scored("p8", errors=3)}) is None
    assert rates.margins("tuned", "wer", same, {**same, "p0": replace(same["p0"], text=text)}) is None


def test_what_was_heard_before_stands_beside_what_was_to_be_said_before() -> None:
    before = replace(scored("p"), wer=0.0, text="The ferry waits.", heard="The ferry waits.")
    after = replace(before, wer=0.5, text="The lamp burns.", heard="The lamb burns.")
    [change] = rates.prompts({"p": before}, {"p": after})
    assert (change.text_before, change.text) == ("The ferry waits.", "The lamp burns.")
    page = SimpleNamespace(text=lambda text, *style: TextSpan(text, *style), embeds=False, sounds={})
    row = voice._row(page, change, like=False, played=False)  # type: ignore[arg-type]
    assert "".join(span.text for span in row[2]) == "The ferry waits.", "nothing is struck"  # type: ignore[union-attr]


def clip(name: str, start: float, end: float, text: str, part: str) -> ClipRow:
    return ClipRow(name, "tape", start, end, end - start, text, part)


def test_what_happened_to_a_clip() -> None:
    old = [
        clip("a", 0, 5, "one", "training"), clip("b", 5, 9, "two", "training"), clip("c", 9, 12, "three", "training"),
        clip("d", 20, 29, "four five", "training"), clip("g", 90, 95, "gone", "training"),
    ]  # fmt: skip
    new = [
        clip("a", 0, 5, "One!", "training"), clip("b", 5, 9, "two", "evaluation"),
        clip("c", 9, 12, "three", "training"), clip("e", 20, 25, "four", "training"),
        clip("f", 25, 29, "five", "training"),
        clip("h", 40, 45, "new", "training"),
    ]  # fmt: skip
    found = {
        change.kind: ([c.id for c in change.old], [c.id for c in change.new]) for change in clips.compare(old, new)
    }
    assert found == {
        "re-worded": (["a"], ["a"]), "moved": (["b"], ["b"]), "re-cut": (["d"], ["e", "f"]),
        "added": ([], ["h"]), "removed": (["g"], []),
    }  # fmt: skip


def test_the_same_words_in_training_and_evaluation_leak() -> None:
    some = [clip("a", 0, 5, "Two boats.", "training"), clip("b", 5, 9, "two boats", "evaluation")]
    some += [clip("c", 9, 12, "two boats", "left out"), clip("d", 9, 12, "Three", "evaluation")]
    assert clips.leaks(some) == [clips.Leak("Two boats.", ("a",), ("b",))]


@pytest.mark.parametrize("version", ["HEAD", None])
def test_large_folders_are_told_by_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    voice = Voice(tmp_path / "voice")
    sound = voice.root / "sound"
    sound.mkdir()
    (sound / "a").write_bytes(b"aaa")
    (sound / "b").write_bytes(b"bb")
    voice.git("add", "-A")
    voice.git("commit", "-qm", "Record")
    monkeypatch.setattr(dvc_lock, "LARGE", 4)
    with open_snapshot(voice.root, version) as snapshot:
        monkeypatch.setattr(snapshot, "read", None)  # nothing may be hashed
        assert dvc_lock._same({"md5": "any.dir", "size": 5, "nfiles": 2}, "sound", snapshot)
        assert not dvc_lock._same({"md5": "any.dir", "size": 6, "nfiles": 2}, "sound", snapshot)
        assert not dvc_lock._same({"md5": "any.dir", "size": 5, "nfiles": 3}, "sound", snapshot)


def test_a_lock_from_another_machine_is_read_at_any_commit(tmp_path: Path) -> None:
    voice = Voice(tmp_path / "voice")
    voice.add("noon", ["One.", "Two.", "Three."])
    voice.commit("first")
    voice.edit("noon", 0, text="Eins.")
    voice.params["train"]["rate"] = 0.5
    voice.commit("edited and not run", run=False)
    for version in ("HEAD", None):
        with open_snapshot(voice.root, version) as snapshot:
            found = {stage.stage: stage.reasons for stage in stale(snapshot, read(snapshot))}
        assert found == {
            "segment": ("data/transcripts changed",), "chunk": (), "dataset": (),
            "train": ("train.rate changed",), "generate": (), "evaluate": (),
        }  # fmt: skip
