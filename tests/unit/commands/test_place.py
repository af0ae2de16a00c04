"""Commands run from any folder of a project, and say so outside of one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.command import timbre
from tests.support.paths import ROOT
from timbre.commands import cli, place
from timbre.core.errors import DataError
from timbre.versions.snapshot import git, resolve


@pytest.mark.parametrize("command", [name for name in cli.COMMANDS if name not in cli.ANYWHERE])
def test_outside_of_a_project_every_command_says_so(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    needed = {"init": ["a"], "release": ["--out", "a"],
              "add": ["a.wav"], "remove": ["a"], "import": ["a"], "accept": ["--all"], "say": ["a"],
              "export": ["hf", "b"], "push": ["dataset", "a/b"], "promote": ["a"], "replace": ["a", "b"]}  # fmt: skip
    with pytest.raises(DataError, match="this is no Timbre project"):
        cli.execute_anywhere([command, *needed.get(command, [])])
    assert not list(tmp_path.iterdir()), "nothing is begun in a foreign folder"


def test_from_a_subfolder_a_command_answers_as_in_the_root() -> None:
    inside, above = (timbre("summary", "--json", cwd=folder) for folder in (ROOT / "data/transcripts", ROOT))
    assert inside.stdout == above.stdout != ""


def test_a_path_is_as_seen_from_where_it_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "data/transcripts").mkdir(parents=True)
    (tmp_path / "data/transcripts/noon.tsv").touch()
    monkeypatch.chdir(tmp_path / "data")
    assert place.given_path("voices/ann") == Path("data/voices/ann")
    assert place.given_path("../say.flac") == Path("say.flac")
    assert place.given_path("-") == Path("-")
    assert place.given_path("/elsewhere/a") == Path("/elsewhere/a")
    assert place.file_or_address("https://example.org/a") == "https://example.org/a"
    assert place.given_place("transcripts/noon.tsv:14") == "data/transcripts/noon.tsv:14"
    assert place.given_place("tuned-bridge-0") == "tuned-bridge-0"
    place.enter()
    assert Path.cwd() == tmp_path


def test_an_experiment_of_dvc_is_known_by_its_name(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    with pytest.raises(DataError, match="there is no version yet to look at; `git commit` makes the first"):
        resolve(tmp_path, "HEAD")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "one")
    commit = resolve(tmp_path, "HEAD")
    git(tmp_path, "update-ref", f"refs/exps/{commit[:2]}/{commit[2:]}/leafy-newt", commit)
    assert resolve(tmp_path, "leafy-newt") == commit
    with pytest.raises(DataError, match="git knows no such version"):
        resolve(tmp_path, "newt")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_knows_every_command_and_flag(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in cli.COMMANDS)
    assert "ignore-case" in script


def test_bash_completes_commands_and_flags(capsys: pytest.CaptureFixture[str]) -> None:
    cli.execute(["completion", "bash"])
    script = capsys.readouterr().out + (
        "COMP_WORDS=(timbre tr) COMP_CWORD=1; _timbre; echo ${COMPREPLY[@]}\n"
        "COMP_WORDS=(timbre diff --fo) COMP_CWORD=2; _timbre; echo ${COMPREPLY[@]}\n"
    )
    assert subprocess.run(["bash", "-c", script], capture_output=True, text=True).stdout == "trace\n--format\n"


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", '      "compare --kind") words="ab abx rating" ;;'),
        ("bash", '      "say --out") words="" ;;'),
        ("zsh", "'--kind[kind of test (ab)]:kind:(ab abx rating)'"),
        ("zsh", "'--full[write the whole report\\: .html, .md, .json or text]:full:_files'"),
        ("fish", "-l kind -x -a 'ab abx rating' -d 'kind of test (ab)'"),
        ("fish", "-a accept -d 'turn Whisper\\'s drafts into transcripts that you can edit'"),
    ],
)
def test_a_shell_is_told_what_may_follow_an_option(shell: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli.execute(["completion", shell])
    assert line in capsys.readouterr().out


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("timbre rev", ["review"]),
        ("timbre add --sp", ["--speaker"]),
        ("timbre compare --kind ", ["ab", "abx", "rating"]),
    ],
)
def test_fish_completes_commands_flags_and_what_may_follow(
    typed: str, offered: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cli.execute(["completion", "fish"])
    (tmp_path / "timbre.fish").write_text(capsys.readouterr().out)
    script = f"source {tmp_path}/timbre.fish; complete -C '{typed}'"
    done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, check=True)
    assert [row.split("\t")[0] for row in done.stdout.splitlines()] == offered


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_zsh_reads_its_script(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cli.execute(["completion", "zsh"])
    (tmp_path / "_timbre").write_text(capsys.readouterr().out)
    script = f"fpath+=({tmp_path}); autoload -Uz compinit; compinit -u -D; autoload +X _timbre; print $_comps[timbre]"
    done = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("_timbre\n", "")
