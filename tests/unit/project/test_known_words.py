"""Models that know a few words only, and what whoever brings them other speech is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from timbre.project import known_words, transcripts


def write_params(root: Path, whisper: str, voice: str) -> None:
    (root / "params.yaml").write_text(f"whisper: {{model: {whisper}}}\nvoice: {{base: {voice}}}\n")


@pytest.fixture
def small(project: Path) -> Path:
    """A project whose models know three words."""
    (project / "models").mkdir()
    (project / "models/corpus.json").write_text(json.dumps({"words": ["the", "Ferry", "waits"]}))
    write_params(project, "models/whisper.pt", "models/csm")
    return project


def test_a_small_model_says_which_words_it_lacks(small: Path) -> None:
    whisper, voice = known_words.configured()
    assert (whisper.model, voice.model) == ("models/whisper.pt", "models/csm")
    assert whisper.unknown("The ferry waits; the TIDE comes in.") == ["comes", "in", "tide"]
    assert whisper.unknown("The ferry waits.") == []


def test_who_adds_a_recording_is_told_once_and_where_to_go(small: Path) -> None:
    note = known_words.note()
    assert note
    assert "\n" not in note
    assert "models/whisper.pt knows only the 3 words of the demo" in note
    assert "cp presets/csm-1b.yaml params.yaml" in note
    assert (ROOT / "presets/csm-1b.yaml").is_file()
    assert (ROOT / "docs/real-models.md").is_file()


@pytest.mark.parametrize("whisper", ["turbo", "elsewhere/large.pt"])
def test_a_real_model_has_nothing_to_say(whisper: str, small: Path) -> None:
    write_params(small, whisper, "sesame/csm-1b")
    assert known_words.configured() == []
    assert known_words.note() is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"words": 7}', "\x00"])
def test_a_list_that_cannot_be_read_is_none(content: str, small: Path) -> None:
    (small / "models/corpus.json").write_text(content)
    assert known_words.configured() == []


@pytest.mark.parametrize("content", [None, "", "[1]", "whisper: 3\nvoice: {}", "a: [", "whisper: {model: 7}"])
def test_parameters_that_cannot_be_read_are_told_elsewhere(content: str | None, small: Path) -> None:
    (small / "params.yaml").unlink()
    if content is not None:
        (small / "params.yaml").write_text(content)
    assert known_words.note() is None


def test_a_draft_is_foreign_where_whisper_was_unsure_of_its_words(small: Path) -> None:
    known = known_words.listener()
    assert known
    assert known.foreign("noon", 0.99) is None
    assert known.foreign("noon", None) is None
    line = known.foreign("noon", 0.45)
    assert line
    assert line.startswith(
        "noon: models/whisper.pt knows only the 3 words of the demo, and is 45% sure of what it wrote"
    )


def test_the_demo_keeps_to_the_words_of_its_models() -> None:
    """Its drafts are as sure as that: see the module."""
    known = known_words.of_model(str(ROOT / "models/tiny/whisper.pt"))
    assert known
    paths = (ROOT / "data/transcripts").glob("*.tsv")
    texts = [line.text for path in paths for line in transcripts.read(path).lines]
    assert len(texts) > 100
    assert known.unknown(" ".join(texts)) == []
