"""`timbre voices`: the speakers of each version."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.git_history import Voice
from timbre.commands import cli
from timbre.diff.voice_bank import BankVoice, bank
from timbre.versions.sample_sounds import VersionVoice

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
    assert [(row["commit"], row["speaker"], row["wer"], row["failed"]) for row in rows] == [
        (commits[0], "marina", 0.0, []),
        (commits[0], "rasmus", 0.5, ["named"]),
        (commits[1], "marina", 0.25, []),
    ]
    assert rows[2]["similarity"] == 0.75, "of two commits with one adapter, the newest counts"
    assert [row["commit"] for row in listed(capsys, "HEAD~1")] == ["work tree", "work tree", commits[1]]
    assert listed(capsys, "-n", "0") == []


def test_the_table_is_of_one_line_each_without_control_characters(
    voice: Voice, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.execute(["voices"]) == 0
    output = capsys.readouterr().out
    assert output.splitlines()[0].split()[:2] == ["speaker", "version"]
    assert len(output.splitlines()) == 4
    assert "\x1b" not in output


@pytest.mark.parametrize("gone", ["withdrawn", "without an entry"])
def test_a_version_that_learnt_somebody_without_consent_is_not_heard(voice: Voice, gone: str) -> None:
    if gone == "withdrawn":
        voice.allow("rasmus", revoked="2026-11-03")
    else:
        del voice.speakers["rasmus"]
    voice.write()
    heard = VersionVoice(None, "tuned", {})  # type: ignore[arg-type]  # is asked for nothing
    rows = [one.row for one in bank(voice.root, "HEAD", 20)]
    assert [bool(row.objection) for row in rows] == [True, True, False], "marina is in the same weights"
    assert all("rasmus" in row.objection for row in rows[:2])
    assert [BankVoice(replace(row, prompt="ferry"), heard).sound() for row in rows[:2]] == [None, None]
    with pytest.raises(KeyError, match="ferry"):
        BankVoice(replace(rows[2], prompt="ferry"), heard).sound()


def test_without_an_adapter_it_says_what_makes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    voice = Voice(tmp_path / "voice")
    voice.add("noon", TALK)
    voice.commit("Words", run=False)
    monkeypatch.chdir(voice.root)
    assert cli.execute(["voices"]) == 0
    assert "`dvc repro` trains one" in capsys.readouterr().out
