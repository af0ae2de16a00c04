"""What a voice lacks, and which sentences fill it first."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from timbre.commands import cli, coverage
from timbre.core.records import Example, write_jsonl
from timbre.project.coverage import Wanted, pairs, propose, text_words
from timbre.project.coverage import coverage as covered


def test_coverage_counts_different_units_and_how_often_they_are_wanted() -> None:
    wanted = Wanted("words", text_words(["The ferry waits.", "The ferry leaves.", "A ferry."]))
    found = covered(wanted, text_words(["The ferry, the ferry, the ferry", "A train."]))
    assert (found.wanted, found.learnt, found.well) == (5, 3, 2)
    assert found.share == pytest.approx(6 / 8)
    assert found.missing == ["leaves", "waits"]


def test_a_sentence_that_fills_most_comes_first_and_one_that_fills_nothing_never() -> None:
    wanted = [Wanted("words", text_words(["storm harbour lantern captain"]))]
    offered = ["Nothing new here.", "A storm is near.", "Storm, lantern, captain.", "The harbour again."]
    proposals = propose([(text, text_words([text])) for text in offered], wanted, Counter(), 4)
    assert [proposal.text for proposal in proposals][:2] == ["Storm, lantern, captain.", "The harbour again."]
    assert "Nothing new here." not in [proposal.text for proposal in proposals]
    assert proposals[0].fills == ["captain", "lantern", "storm"]


def test_english_sounds_are_those_of_the_dictionary_and_unknown_words_their_letters() -> None:
    assert coverage.said("The ferry's 2") == ["DH", "AH", "F", "EH", "R", "IY", "Z", "T", "UW"]
    assert coverage.said("zqx") == ["z", "q", "x"]
    assert pairs(["T", "UW"]) == ["- T", "T UW", "UW -"]


@pytest.fixture
def voice(project: Path) -> Path:
    Path("data/dataset").mkdir(parents=True)
    Path("presets").mkdir()
    row = Example("a.flac", "The ferry waits.", "ann", "a", "noon", 0.0, 2.0, 2.0)
    write_jsonl(Path("data/dataset/train.jsonl"), [row])
    Path("data/prompts.tsv").write_text("id\tkind\ttext\none\tdomain\tThe ferry leaves Whitby.\n")
    rows = ["# to read", "The ferry waits.", "The ferry leaves Whitby.", "It leaves now.", "A cat sat on a mat."]
    Path("presets/sentences.txt").write_text("\n".join(rows) + "\n")
    return project


def test_the_command_proposes_what_is_missing_and_never_a_prompt(
    voice: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.execute(["coverage"]) == 0
    told = capsys.readouterr().out
    assert "missing words of the prompts: leaves, whitby" in told
    assert "record next:\n  It leaves now.\n  A cat sat on a mat." in told
    assert "write sentences with: whitby" in told
    cli.execute(["coverage", "--json"])
    assert json.loads(capsys.readouterr().out)["coverage"][0]["learnt"] == 2
    cli.execute(["coverage", "-n", "1", "--out", "next.txt"])
    assert Path("next.txt").read_text() == "It leaves now.\n"


def test_the_sentence_of_a_held_out_clip_is_never_proposed(voice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = Example("b.flac", "It leaves now!", "ann", "b", "noon", 2.0, 4.0, 2.0)
    write_jsonl(Path("data/dataset/eval.jsonl"), [row])
    assert cli.execute(["coverage"]) == 0
    assert "record next:\n  A cat sat on a mat." in capsys.readouterr().out


def test_the_recording_page_begins_with_what_is_missing(voice: Path) -> None:
    from timbre.commands.review import booth_form

    args = cli.parser(["review"]).parse_args(["review", "--record", "ann-2", "--fill"])
    assert booth_form(args)["sentences"].splitlines() == ["It leaves now.", "A cat sat on a mat."]
