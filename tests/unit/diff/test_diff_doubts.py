"""Lines that are likely wrong are flagged: by their pace, and by what Whisper doubted or was certain of."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.support import git_histories
from tests.support.git_history import Voice
from timbre.core.records import Label
from timbre.diff.clips import ClipChange, outliers
from timbre.versions.clip_rows import ClipRow

TALK = ["The night ferry waits.", "It comes back at nine.", "Then it is dark.", "Good night to all.", "Mind the gap."]


def doubts(tmp_path: Path, words: list[tuple[float, str, float]], *edits: tuple[int, dict[str, Any]]) -> dict[int, Any]:
    """Line → reasons, after `edits` of a recording of which Whisper drafted `words`."""
    voice = Voice(tmp_path / "voice")
    voice.add("noon", TALK)
    voice.drafts["noon"] = words
    voice.commit("First voice")
    for number, values in edits:
        voice.edit("noon", number, **values)
    voice.write()
    found = git_histories.report(voice.root, "main", None)
    return {doubt.row.number: doubt.why for doubt in found.doubts}


def test_a_word_that_whisper_doubted_and_nobody_heard_is_flagged(tmp_path: Path) -> None:
    words = [(0.1, " The", 0.9), (0.4, " night", 0.31), (1.0, " fairy", 0.2), (4.5, " comes", 0.1)]
    found = doubts(
        tmp_path, words, (0, {"text": "The night ferry waits here."}), (1, {"speaker": "otto", "flag": "ok"})
    )
    assert found == {2: ("Whisper was unsure of “night” (31%)",)}, "fairy was corrected, and the other line was heard"


def test_a_correction_of_what_whisper_was_sure_of_is_flagged(tmp_path: Path) -> None:
    words = [(0.1, " The", 0.99), (0.4, " night", 0.98), (1.0, " ferry", 0.96)]
    found = doubts(tmp_path, words, (0, {"text": "The knight ferry waits."}))
    assert found == {2: ("Whisper was sure of “night” (98%)",)}


def test_a_replacement_that_is_made_again_and_again_is_meant(tmp_path: Path) -> None:
    words = [(0.4, " night", 0.98), (12.5, " night", 0.98)]
    edits = [(n, {"text": TALK[n].replace("night", "knight")}) for n in (0, 3)]
    assert doubts(tmp_path, words, *edits) == {}


LABEL = {
    "clip": "c",
    "recording": "noon",
    "start": 0.0,
    "end": 7.0,
    "heard": "The knight fairy baits it",
    "language": None,
}


@pytest.mark.parametrize(
    ("text", "cer", "flagged"),
    [
        ("The night ferry, waits! It comes back at nine.", 0.4, True),
        ("The night ferry waits. It comes back at nine.", 0.1, False),
        ("The ferry waits. It comes back at nine.", 0.4, False),  # was said of other words than the line has now
    ],
)
def test_a_line_that_the_label_check_hears_otherwise_is_flagged(
    tmp_path: Path, text: str, cer: float, flagged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = json.dumps({**LABEL, "text": text, "cer": cer}).encode()
    monkeypatch.setattr(
        "timbre.versions.dvc_outs.Outs.find", lambda self, lock, path: table if "labels" in path else None
    )
    found = doubts(tmp_path, [], (0, {"speaker": "otto"}))
    why = "in the clip Whisper heard “The knight fairy baits it”, 40% of it otherwise"
    assert found == ({2: (why,)} if flagged else {})


def test_another_number_is_flagged_however_few_characters_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "The night ferry waits. It comes back at nine."
    table = json.dumps({**LABEL, "text": text, "cer": 0.02, "numbers": "9 heard as 5"}).encode()
    monkeypatch.setattr(
        "timbre.versions.dvc_outs.Outs.find", lambda self, lock, path: table if "labels" in path else None
    )
    [[why]] = doubts(tmp_path, [], (0, {"speaker": "otto"})).values()
    assert why == "in the clip Whisper heard “The knight fairy baits it”: another number, 9 heard as 5"


def test_the_check_writes_what_is_read_here() -> None:
    assert {*LABEL, "text", "cer", "worst", "numbers", "stranger"} == {field.name for field in fields(Label)}


@pytest.mark.parametrize("draft", [b"", b"[]", b'{"segments": [{"words": [{"start": "x"}]}]}', b"\xff"])
def test_a_draft_of_another_make_flags_nothing(tmp_path: Path, draft: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timbre.versions.dvc_outs.Outs.find", lambda *about: draft)
    assert doubts(tmp_path, [], (0, {"text": "The knight ferry waits."})) == {}


def test_a_clip_in_which_nobody_speaks_so_fast_is_an_outlier() -> None:
    usual = [ClipRow(str(n), "noon", 5.0 * n, 5.0 * n + 4, 4.0, "a" * 40, "training") for n in range(6)]
    fast = ClipRow("fast", "noon", 40, 44, 4.0, "a" * 120, "training")
    changes = [ClipChange("added", (), (usual[0],)), ClipChange("re-worded", (fast,), (fast,))]
    assert outliers(changes, [*usual, fast]) == {"fast": "30 letters a second, usual here are 10"}
