"""`timbre voices`: the speakers of each version."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.git_history import Voice
from timbre.commands import cli

TALK = ["The boat leaves.", "It comes back.", "Then it is dark.", "Good night."]


@pytest.fixture
def voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Voice:
    """Three versions: two with one adapter, and one of two speakers, of which one takes the consent back later."""
    voice = Voice(tmp_path / "voice")
    voice.add("noon", TALK)
    voice.commit("First voice")
    voice.similarity = 0.75
    voice.commit("Measure again")
    voice.add("dusk", TALK, speaker="rasmus")
    voice.run()
    one = {"tuned": {"wer": 0.5, "similarity": 0.25, "named": 0.0}, "gates": {"named": {"passed": False}}}
    other = {"tuned": {"wer": 0.0, "similarity": 0.9, "named": 1.0}, "gates": {"named": {"passed": True}}}
    both = {"tuned": {"wer": 0.25}, "gates": {"named": {"passed": False}}, "speakers": {"marina": other, "rasmus": one}}
    (voice.root / "reports/details.json").write_text(json.dumps(both))
    voice.git("add", "-A")
    voice.git("commit", "-qm", "Learn Rasmus\x1b[31m too")
    monkeypatch.chdir(voice.root)
    return voice


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert cli.execute(["voices", "--json", *arguments]) == 0
    return list(json.loads(capsys.readouterr().out))


def test_each_speaker_of_each_adapter_has_a_row(voice: Voice, capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys)
    commits = voice.git("log", "--format=%h", "--abbrev=8").splitlines()
    assert [(row["version"], row["speaker"], row["wer"], row["failed"]) for row in rows] == [
        (commits[0], "marina", 0.0, []),
        (commits[0], "rasmus", 0.5, ["named"]),
        (commits[1], "marina", 0.25, []),
    ]
    assert rows[2]["similarity"] == 0.75, "of two commits with one adapter, the newest counts"
    assert [row["version"] for row in listed(capsys, "HEAD~1")] == ["work tree", "work tree", commits[1]]
    assert listed(capsys, "-n", "0") == []


def test_the_table_is_of_one_line_each_and_names_who_withdrew(voice: Voice, capsys: pytest.CaptureFixture[str]) -> None:
    voice.allow("rasmus", revoked="2026-11-03")
    voice.write()
    assert cli.execute(["voices"]) == 0
    output = capsys.readouterr().out
    lines = output.splitlines()
    assert lines[0].split()[:2] == ["speaker", "version"]
    assert len(lines) == 4
    assert [("consent withdrawn" in line) for line in lines] == [False, False, True, False]
    assert "\x1b" not in output


def test_without_an_adapter_it_says_what_makes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    voice = Voice(tmp_path / "voice")
    voice.add("noon", TALK)
    voice.commit("Words", run=False)
    monkeypatch.chdir(voice.root)
    assert cli.execute(["voices"]) == 0
    assert "`dvc repro` trains one" in capsys.readouterr().out
