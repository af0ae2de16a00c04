"""`timbre log`: the voice's history in lines, and drawn."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.git_history import Voice
from timbre.commands import cli, log, runs

TALK = ["The trellis boat leaves.", "It comes back.", "Then it is dark.", "Good night."]


@pytest.fixture
def voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Voice:
    """Four versions: a recording, its words, a correction that fails no gate any more, and a branch."""
    voice = Voice(tmp_path / "voice")
    voice.add("noon", TALK)
    spoken = voice.transcripts.pop("noon")
    voice.commit("Declare a recording")
    voice.transcripts["noon"] = spoken
    voice.wrong, voice.similarity = dict.fromkeys(voice.wrong, 2), 0.25
    voice.commit("First voice")
    voice.edit("noon", 0, text="The Trelis boat leaves.")
    voice.wrong, voice.similarity = dict.fromkeys(voice.wrong, 0), 0.5
    voice.commit("Correct a name")
    (voice.root / "notes.txt").write_text("no version\n")
    voice.git("add", "-A")
    voice.git("commit", "-qm", "Write a note")
    voice.git("checkout", "-qb", "topic")
    voice.params["train"]["rate"] = 0.1
    voice.commit("Learn faster \x1b[31m")
    voice.add("dusk", TALK[2:])
    voice.commit("Add a recording")
    voice.git("checkout", "-q", "main")
    voice.git("merge", "-q", "--no-ff", "-m", "Merge <topic>", "topic")
    monkeypatch.chdir(voice.root)
    return voice


def test_the_history_has_a_line_per_version(voice: Voice, capsys: pytest.CaptureFixture[str]) -> None:
    cli.execute(["log"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4, "the note is none, and the branch is one"
    assert [line.split("  ", 3)[3].strip() for line in lines] == [
        "WER 0.000           similarity 0.500           gates pass         "
        "1 recording added, 1 clip added, +0.1 min, 1 parameter changed · Merge <topic>",
        "WER 0.000 (−0.500)  similarity 0.500 (+0.250)  gates pass         "
        "1 line in 1 recording reworded, 1 clip re-worded · Correct a name",
        "WER 0.500 (+0.250)  similarity 0.250 (−0.250)  gates FAIL: words  "
        "1 transcript added, 2 clips added, +0.2 min · First voice",
        "WER 0.250           similarity 0.500           gates pass         "
        "1 recording added, 1 speaker added · Declare a recording",
    ]
    assert lines[0].startswith("2026-11-02  ")


def test_a_version_without_a_measure_leaves_its_column_empty(voice: Voice, capsys: pytest.CaptureFixture[str]) -> None:
    path = voice.root / "reports/metrics.json"
    path.write_text('{"tuned": {"wer": 0.1}}')
    voice.git("commit", "-qam", "As it was measured long ago")
    cli.execute(["log", "-n", "2"])
    old, new = capsys.readouterr().out.splitlines()
    assert old.index("only code or results · As") == new.index("1 recording added")
    assert "similarity" not in old
    path.write_text('{"tuned": {"wer": 0.2}}')
    voice.git("commit", "-qam", "Once more")
    cli.execute(["log", "-n", "1"])
    assert "WER 0.200 (+0.100)  only code or results · Once more" in capsys.readouterr().out


def test_a_program_reads_it_as_json(voice: Voice, capsys: pytest.CaptureFixture[str]) -> None:
    cli.execute(["log", "topic", "-n", "2", "--json"])
    told = capsys.readouterr().out
    versions = json.loads(told)
    assert [version["subject"] for version in versions] == ["Add a recording", "Learn faster \x1b[31m"]
    assert (versions[0]["measured"]["wer"], versions[0]["failed"]) == (0, [])
    assert "\x1b" not in told
    cli.execute(["log", "topic"])
    assert "\x1b" not in capsys.readouterr().out


def test_it_is_drawn_in_the_terminal_and_on_a_page_that_opens_offline(
    voice: Voice, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.execute(["log", "--plot"])
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "",
        "Wrong words  ▅█▁▁  0.250 → 0.000",
        "Similarity   █▁██  0.500 → 0.500",
        "drawn in reports/log.html",
    ]
    page = (voice.root / "reports/log.html").read_text()
    assert page.count("<svg ") == 2
    assert page.count('<g class="failed">') == 2, "the version that failed a gate, in both charts"
    assert page.count('<g class="passed">') == 6
    assert "Merge &lt;topic&gt;" in page
    assert not re.search(r"(src|href|url)\s*[=(]|@import", page), "it loads nothing"
    Whole().feed(page)


class Whole(HTMLParser):
    """Complains of a tag that is closed in the wrong place."""

    EMPTY = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open += [tag] * (tag not in self.EMPTY)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_history_without_measurements_has_lines_and_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    voice = Voice(tmp_path / "bare")
    voice.add("noon", TALK)
    voice.commit("Write words", run=False)
    monkeypatch.chdir(voice.root)
    cli.execute(["log", "--plot", "picture.html"])
    out = capsys.readouterr().out
    assert "WER —" in out
    assert out.endswith("nothing measured yet\n")
    assert not Path("picture.html").exists()


def test_a_long_name_ends_with_a_word() -> None:
    assert log._shortened("Seed 42fcc3ba maintainers") == "Seed 42fcc3ba…"
    assert log._shortened("A" * 30) == "A" * 19 + "…"
    assert log._shortened("Ann Example") == "Ann Example"


def test_a_number_that_is_written_otherwise_has_not_changed() -> None:
    assert list(runs.param_changes({"a": "6", "b": "3"}, {"a": "3.0", "b": "3.0"})) == ["a 6 → 3"]
