"""What DVC writes in place is made whole again after a kill."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.dvc_repo import Desk
from timbre.commands import cli
from timbre.core.errors import DataError

LOCK = "stages:\n  count:\n    cmd: wc\n    deps:\n    - path: transcripts\n      md5: 0\n"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = Desk(tmp_path, Path(sys.executable).parent)
    desk.run("git", "init", "-qb", "main")
    desk.write(".dvc/config", "")
    monkeypatch.chdir(desk.root)
    return desk


@pytest.mark.parametrize("left", ["", "schema: '2.0'\n", LOCK[:50], "\x00" * 40, "stages: {count: 1}\n", LOCK[:-1]])
def test_a_damaged_lock_becomes_the_last_commits(desk: Desk, left: str, capsys: pytest.CaptureFixture[str]) -> None:
    desk.write("dvc.lock", LOCK)
    desk.run("git", "add", "-A")
    desk.run("git", "-c", "user.name=Ann", "-c", "user.email=ann@example.org", "commit", "-qm", "Count")
    desk.write("dvc.lock", left)
    assert cli.execute(["doctor"]) == 1
    assert "dvc.lock is damaged; DVC starts no stage" in capsys.readouterr().out
    assert cli.execute(["repair"]) == 0
    assert "dvc.lock: was damaged, and is the last commit's again" in capsys.readouterr().out
    assert (desk.root / "dvc.lock").read_text() == LOCK


def test_without_a_commit_a_damaged_lock_goes(desk: Desk) -> None:
    desk.write("dvc.lock", "")
    assert cli.execute(["repair"]) == 0
    assert not (desk.root / "dvc.lock").exists()


@pytest.mark.parametrize("left", ["", '{"read', "[]"])
def test_a_damaged_list_of_locks_goes_and_dvc_runs(desk: Desk, left: str) -> None:
    (desk.root / ".dvc/tmp").mkdir(exist_ok=True)
    desk.write(".dvc/tmp/rwlock", left)
    assert cli.execute(["repair", "--quiet"]) == 0
    assert not (desk.root / ".dvc/tmp/rwlock").exists()


@pytest.mark.parametrize("left", [LOCK, "stages: {}\n"])
def test_what_is_whole_stays(desk: Desk, left: str, capsys: pytest.CaptureFixture[str]) -> None:
    desk.write("dvc.lock", left)
    assert cli.execute(["repair"]) == 0
    assert capsys.readouterr().out == "nothing is damaged\n"
    assert (desk.root / "dvc.lock").read_text() == left


def test_a_lock_in_conflict_stays_and_doctor_and_repair_name_the_command(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    left = f"<<<<<<< ours\n{LOCK}=======\n>>>>>>> theirs\n"
    desk.write("dvc.lock", left)
    assert cli.execute(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "dvc.lock is in conflict after a merge; DVC starts no stage" in out
    assert "damaged" not in out
    with pytest.raises(DataError, match="`timbre resolve`, then `dvc repro`"):
        cli.execute(["repair", "--quiet"])
    assert (desk.root / "dvc.lock").read_text() == left
