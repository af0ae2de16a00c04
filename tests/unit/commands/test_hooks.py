"""`timbre hooks`: what is missing is installed, what a person has stays, and nothing is in git's way."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from timbre.commands import cli, hooks
from timbre.core.errors import DataError

GIT = ["git", "-c", "user.name=A", "-c", "user.email=a@b.c"]
INSTALLED = Path(".git/hooks")


@pytest.fixture(autouse=True)
def _repository(project: Path) -> None:
    run("init", "-q", "-b", "main")
    for path in INSTALLED.glob("*"):  # a template's samples
        path.unlink()


def run(*arguments: str, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    environment = {**{name: value for name, value in os.environ.items() if not name.startswith("GIT_")}, "PATH": path}
    return subprocess.run([*GIT, *arguments], env=environment, capture_output=True, text=True, check=True)


def install(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert cli.execute(["hooks", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_what_is_missing_is_installed_and_what_a_person_has_stays(capsys: pytest.CaptureFixture[str]) -> None:
    INSTALLED.mkdir(exist_ok=True)
    (INSTALLED / "pre-commit").write_text("#!/bin/sh\nmake check\n")
    told = install(capsys)
    assert told == [
        "post-checkout: installed",
        'pre-commit: you have one, and it stays; add `dvc git-hook pre-commit "$@"` to it',
        "pre-push: needs a remote; after `dvc remote add -d …`, `timbre hooks` installs it",
    ]
    assert (INSTALLED / "pre-commit").read_text() == "#!/bin/sh\nmake check\n"
    assert os.access(INSTALLED / "post-checkout", os.X_OK)
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[core]\nremote = box\n")
    assert install(capsys)[0::2] == ["post-checkout: is there already", "pre-push: installed"]


def test_hooks_that_other_repositories_share_are_left_alone(tmp_path: Path) -> None:
    run("config", "core.hooksPath", str(tmp_path / "mine"))
    with pytest.raises(DataError, match="which other repositories share; nothing was installed"):
        cli.execute(["hooks"])
    assert not (tmp_path / "mine").exists()
    assert cli.execute(["hooks", "--ask"]) == 0, "it is not in the way of `make`"


def test_without_dvc_git_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    install(capsys)
    run("add", "-A", path="/usr/bin:/bin")
    done = run("commit", "--allow-empty", "-qm", "x", path="/usr/bin:/bin")
    assert "dvc is not on the PATH, so `dvc git-hook pre-commit` was not run" in done.stderr


def test_a_terminal_is_asked_once_and_nobody_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert install(capsys, "--ask") == []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert install(capsys, "--ask") == []
    monkeypatch.setattr("builtins.input", lambda question: pytest.fail("asked again"))
    assert install(capsys, "--ask") == []
    assert not (INSTALLED / "post-checkout").exists()
    hooks.ASKED.unlink()
    monkeypatch.setattr("builtins.input", lambda question: "")
    assert install(capsys, "--ask")[0] == "post-checkout: installed"


def test_git_checkout_brings_back_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".dvc/tmp").mkdir(parents=True)
    Path(".dvc/config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    Path(".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
    Path(".gitignore").write_text("/voice\n/.timbre\n")
    for name in ("one", "two"):
        digest = hashlib.md5(name.encode()).hexdigest()
        path = Path(".dvc/cache/files/md5", digest[:2], digest[2:])
        path.parent.mkdir(parents=True)
        path.write_text(name)
        Path("voice.dvc").write_text(json.dumps({"outs": [{"md5": digest, "size": 3, "hash": "md5", "path": "voice"}]}))
        run("add", "-A")
        run("commit", "-qm", name)
        run("tag", name)
    install(capsys)
    Path("voice").write_text("two")
    run("checkout", "-q", "one")
    assert Path("voice").read_text() == "one"
