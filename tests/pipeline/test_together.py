"""Several people at one voice: branches, merges, clones without data, and the history that they leave."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import git_histories
from tests.support.dvc_repo import HEADER, Desk, begin
from tests.support.git_history import Voice
from timbre.commands import cli

TALK = ["The trellis boat leaves.", "It comes back.", "Then it is dark.", "Good night."]


@pytest.fixture(scope="module")
def first(warm: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = begin(tmp_path_factory.mktemp("first") / "voice", warm)
    for name in ("noon", "night"):
        desk.write(f"transcripts/{name}.tsv", HEADER + "0\t1\tann\t\tone two\n")
    desk.publish("First voice")
    return desk


@pytest.fixture
def desk(first: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = first.copy(tmp_path / "voice")
    monkeypatch.chdir(desk.root)
    return desk


@pytest.mark.pipeline
def test_two_people_edit_two_recordings_and_one_command_ends_the_conflict(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for branch, name, more in (("ann", "noon", "three"), ("ben", "night", "three four")):
        desk.run("git", "checkout", "-qb", branch, "main")
        desk.write(f"transcripts/{name}.tsv", f"{HEADER}0\t1\tann\t\tone two {more}\n")
        desk.publish(f"Correct {name}")
    assert desk.run("git", "merge", "ann", check=False).returncode == 1
    conflicts = desk.run("git", "diff", "--name-only", "--diff-filter=U").stdout.split()
    assert conflicts == ["dvc.lock", "metrics.json"]
    shutil.copytree(desk.root, tmp_path / "other", symlinks=True)

    assert cli.execute(["resolve"]) == 0
    said = capsys.readouterr().out
    assert "dvc.lock: took our side\nmetrics.json: took our side" in said
    assert "now: dvc repro, git add -u, git commit  (count will run)" in said
    assert desk.run("git", "ls-files", "--unmerged").stdout == ""
    desk.publish("Merge ann")
    assert desk.run("dvc", "status").stdout.startswith("Data and pipelines are up to date")
    headers, words = 2 * len(HEADER.split()), 2 * len(["0", "1", "ann", "one", "two"]) + len(["three"] * 2 + ["four"])
    assert (desk.root / "metrics.json").read_text().split()[0] == str(headers + words), "both edits are in it"

    monkeypatch.chdir(tmp_path / "other")
    assert cli.execute(["resolve", "--theirs"]) == 0
    assert (tmp_path / "other/dvc.lock").read_text() == desk.run("git", "show", "ann:dvc.lock").stdout


@pytest.mark.pipeline
def test_a_line_that_two_people_edited_is_left_for_people(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    for branch in ("ann", "ben"):
        desk.run("git", "checkout", "-qb", branch, "main")
        desk.write("transcripts/noon.tsv", f"{HEADER}0\t1\tann\t\tone {branch}\n")
        desk.publish(f"Correct as {branch}")
    desk.run("git", "merge", "ann", check=False)
    assert cli.execute(["resolve"]) == 1
    assert (
        "transcripts/noon.tsv:2: yours to mend; keep one of the two versions, then `git add`" in capsys.readouterr().out
    )
    assert desk.run("git", "ls-files", "--unmerged").stdout.count("noon.tsv") == 3
    desk.write("transcripts/noon.tsv", f"{HEADER}0\t1\tann\t\tone ben\n")
    assert cli.execute(["resolve"]) == 1, "git does not know yet"
    assert "transcripts/noon.tsv: decided, as it seems; `git add` it" in capsys.readouterr().out


def test_without_a_conflict_there_is_nothing_to_resolve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    voice = Voice(tmp_path / "voice")
    voice.add("noon", TALK)
    voice.commit("First voice")
    monkeypatch.chdir(voice.root)
    assert cli.execute(["resolve"]) == 0
    assert capsys.readouterr().out == "nothing is in conflict\n"


@pytest.mark.pipeline
def test_a_clone_without_data_asks_the_remote(tmp_path: Path) -> None:
    voice = Voice(tmp_path / "voice")
    remote = tmp_path / "remote"
    (voice.root / ".dvc/config").write_text(
        f"[core]\n    remote = storage\n    analytics = false\n['remote \"storage\"']\n    url = {remote}\n"
    )
    voice.add("noon", TALK)
    voice.commit("First voice")
    voice.edit("noon", 0, text="The Trelis boat leaves.")
    voice.commit("Correct a name")
    shutil.copytree(voice.root / ".dvc/cache/files", remote / "files")  # what `dvc push` leaves
    subprocess.run(["git", "clone", "-q", str(voice.root), str(tmp_path / "clone")], check=True)

    def report(remotes: bool) -> tuple[list[str], list[str]]:
        found = git_histories.report(tmp_path / "clone", "HEAD~1", "HEAD", remotes)
        return [change.kind for change in found.clips], found.unreachable

    kinds, missing = report(remotes=False)
    assert kinds == []
    assert "data/chunks/clips.jsonl of HEAD" in missing
    assert report(remotes=True) == (["re-worded"], [])
    shutil.rmtree(remote)
    shutil.rmtree(tmp_path / "clone/.dvc/cache", ignore_errors=True)
    assert report(remotes=True)[0] == [], "a remote that is gone is told, and ends nothing"
