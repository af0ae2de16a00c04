"""The page that an MLflow run shows: sentences × runs with players, whatever other runs left in the store."""

from __future__ import annotations

import json
import re

import pytest

from timbre.core.errors import DataError
from timbre.report import side_by_side
from timbre.report.side_by_side import PlayedRun, PlayedSentence


def spoken(line: str, wer: float = 0.0, similarity: float | None = 0.9, text: str = "") -> PlayedSentence:
    return PlayedSentence(line, text or f"Sentence {line}.", "heard so", wer, similarity, "SUQz")


def run(name: str, *sentences: PlayedSentence, remark: str = "") -> PlayedRun:
    return PlayedRun(name, remark, side_by_side.by_line(sentences))


def lines(page: str) -> list[str]:
    return re.findall(r"<th scope=\"row\"><bdi>Sentence (\w+)", page)


def test_each_run_has_a_player_and_what_differs_most_comes_first() -> None:
    own = run("Now", spoken("a"), spoken("b", wer=0.5), spoken("c", similarity=0.5), remark="this run")
    other = run("Before", spoken("a"), spoken("b"), spoken("c"), remark="champion")
    page = side_by_side.page([own, other])
    assert lines(page) == ["b", "c", "a"]
    assert page.count('<audio controls preload="none"') == 6
    assert "<bdi>Before</bdi> (champion)" in page
    assert "50 % of the words wrong" in page


def test_a_sentence_that_the_other_run_has_not_or_has_otherwise_is_told() -> None:
    page = side_by_side.page([run("Now", spoken("a"), spoken("b")), run("Before", spoken("a", text="Another."))])
    assert "another text: <bdi>Another.</bdi>" in page
    assert page.count("<audio") == 3
    assert "—" in page


def test_nothing_of_another_run_becomes_a_part_of_the_page() -> None:
    evil = "<script>alert(1)</script>\u202e"
    page = side_by_side.page([run("Now", spoken("a")), run(evil, spoken("a", text=evil))])
    assert "<script" not in page
    assert "\u202e" not in page


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[1]", b'[{"line": "a"}]', b"\xff", json.dumps([vars(spoken("a")) | {"mp3": '"><b>'}]).encode(),
     json.dumps([vars(spoken("a")) | {"wer": "x"}]).encode(), json.dumps([vars(spoken("a")) | {"text": 1}]).encode()],
)  # fmt: skip
def test_what_another_run_left_is_read_with_care(content: bytes) -> None:
    with pytest.raises(DataError, match="Before: not the sounds of a run"):
        side_by_side.read(content, "Before")


def test_what_is_kept_is_read_back() -> None:
    sentences = [spoken("a"), spoken("b", 0.25, None)]
    assert side_by_side.read(side_by_side.to_json(sentences).encode(), "x") == sentences
