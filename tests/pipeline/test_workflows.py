"""The workflows, as far as a machine without GitHub can tell: what they may do, and each script run as written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from tests.support.git_history import Voice
from tests.support.paths import ROOT
from timbre.diff import speed
from timbre.diff.speed import SpeedComparison, SpokenTime, TimedSentence

FOLDER = ROOT / ".github/workflows"
NAMES = sorted(path.name for path in FOLDER.glob("*.yml"))
FAKE_GH = """\
#!/usr/bin/env python3
# `gh api`, as far as the workflow uses it: comments are kept in a file.
import json, os, subprocess, sys
arguments, store = sys.argv[2:], os.environ["FAKE_COMMENTS"]
comments = json.load(open(store))
def value(name): return arguments[arguments.index(name) + 1]
assert sys.argv[1] == "api"
if "--method" not in arguments:
    found = subprocess.run(["jq", "-r", value("--jq")], input=json.dumps(comments), text=True, stdout=subprocess.PIPE)
    print(found.stdout, end="")
    sys.exit(found.returncode)
name, _, file = value("--field").partition("=@")
assert name == "body"
body = open(file).read()
if value("--method") == "POST":
    assert arguments[2] == "repos/ann/voice/issues/7/comments", arguments
    comments.append({"id": 100 + len(comments), "user": {"type": "Bot"}, "body": body})
else:
    number = int(arguments[2].removeprefix("repos/ann/voice/issues/comments/"))
    next(comment for comment in comments if comment["id"] == number)["body"] = body
json.dump(comments, open(store, "w"))
"""


def workflow(name: str) -> dict[str, Any]:
    return dict(YAML(typ="safe", pure=True).load(FOLDER / name))


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in workflow(name)["jobs"].values() for step in job["steps"]]


def script(name: str, step: str) -> str:
    return str(next(found["run"] for found in steps(name) if found.get("name") == step))


def run(text: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """As GitHub runs a step: bash that stops at the first failure."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    everything = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **env}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text]
    return subprocess.run(command, cwd=cwd, env=everything, capture_output=True, text=True, check=False)


def test_they_are_what_github_takes_for_workflows(tmp_path: Path) -> None:
    def complaints(*paths: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
        return subprocess.run([*command, *map(str, paths)], capture_output=True, text=True, check=False)

    assert complaints(*(FOLDER / name for name in NAMES)).returncode == 0
    wrong = tmp_path / "wrong.yml"
    wrong.write_text((FOLDER / "check.yml").read_text().replace("runs-on:", "run-on:"))
    assert complaints(wrong).returncode == 1


@pytest.mark.parametrize("name", NAMES)
def test_every_action_is_pinned_by_its_commit_and_says_its_version(name: str) -> None:
    used = re.findall(r"uses: (.*)", (FOLDER / name).read_text())
    assert used
    for line in used:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_from_a_pull_request_is_put_into_a_script(name: str) -> None:
    for step in steps(name):
        assert "${{" not in step.get("run", ""), "a value goes by `env`, where it cannot become code"


def test_only_the_job_without_foreign_code_may_write() -> None:
    found = workflow("data-diff.yml")
    assert found["permissions"] == {}
    for job in ("speed", "compare"):
        assert found["jobs"][job]["permissions"] == {"contents": "read"}
    assert found["jobs"]["comment"]["permissions"] == {"pull-requests": "write"}
    assert "head.repo.full_name == github.repository" in found["jobs"]["comment"]["if"]
    assert not any("checkout" in step.get("uses", "") for step in found["jobs"]["comment"]["steps"])
    assert workflow("check.yml")["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in "".join(path.read_text() for path in FOLDER.glob("*.yml"))


def test_check_runs_what_the_readme_tells_people_to_run() -> None:
    assert script("check.yml", "Test") == "make test"


def test_what_is_installed_to_compare_is_all_that_it_imports(tmp_path: Path) -> None:
    found = re.search(r"--constraint constraints\.txt (.+)", script("data-diff.yml", "Install"))
    assert found
    voice = merged(tmp_path)
    code = (
        "import sys, importlib.metadata as meta; from timbre.commands.cli import execute\n"
        "execute(['diff', 'HEAD^1', 'HEAD'])\n"
        "tops = {name.split('.')[0] for name in sys.modules}; owners = meta.packages_distributions()\n"
        "print(*sorted({owner.lower() for top in tops for owner in owners.get(top, [])}))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=voice.root, env=env, capture_output=True, text=True, check=True
    )
    imported = {canonicalize_name(name) for name in done.stdout.splitlines()[-1].split()}
    assert imported - {"setuptools", "timbre"} <= installed_with(found[1].split())


def installed_with(names: list[str]) -> set[str]:
    """The packages, and all that they require."""
    packages: set[str] = set()
    todo = [canonicalize_name(name) for name in names]
    while todo:
        name = todo.pop()
        if name not in packages:
            packages.add(name)
            wanted = [Requirement(line) for line in metadata.requires(name) or []]
            todo += [canonicalize_name(r.name) for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    return packages


def merged(folder: Path, stale: bool = False) -> Voice:
    """A pull request's merge commit, checked out as the workflow has it."""
    voice = Voice(folder / "voice")
    voice.add("noon", ["The trellis boat leaves.", "It comes back.", "Then it is dark."])
    voice.commit("First voice")
    voice.git("checkout", "-qb", "topic")
    voice.edit("noon", 0, text="The Trelis boat leaves.")
    voice.commit("Correct a name", run=not stale)
    voice.git("checkout", "-q", "main")
    voice.git("commit", "-q", "--allow-empty", "-m", "Meanwhile")
    voice.git("merge", "-q", "--no-ff", "-m", "Merge", "topic")
    return voice


def test_compare_leaves_a_comment_a_page_and_a_summary(tmp_path: Path) -> None:
    voice = merged(tmp_path)
    summary = tmp_path / "summary.md"
    done = run(
        script("data-diff.yml", "Compare"),
        voice.root,
        LINK="https://github.com/ann/voice/blob/c0ffee",
        RUN="https://github.com/ann/voice/actions/runs/9",
        GITHUB_STEP_SUMMARY=str(summary),
    )
    assert done.returncode == 0, done.stderr
    comment = (voice.root / "data-diff/comment.md").read_text()
    assert comment.startswith("<!-- timbre diff -->\n🟢 **1 line in 1 recording reworded")
    assert "[the whole report](https://github.com/ann/voice/actions/runs/9#artifacts)" in comment
    assert "[noon.tsv:2](https://github.com/ann/voice/blob/c0ffee/data/transcripts/noon.tsv#L2)" in comment
    assert summary.read_text() == comment
    assert "<ins>Trelis</ins>" in (voice.root / "data-diff/report.html").read_text()


@pytest.mark.parametrize(("slower", "harm"), [(1.0, False), (1.3, True)])
def test_a_measured_speed_is_in_the_comment_and_fails_where_it_harms(tmp_path: Path, slower: float, harm: bool) -> None:
    voice = merged(tmp_path)
    old, new = (voice.git("rev-parse", name) for name in ("HEAD^1", "HEAD"))
    times = [(SpokenTime(1.0 + n / 50, 2.0), SpokenTime(slower * (1.0 + n / 50), 2.0)) for n in range(30)]
    sentences = [TimedSentence(f"Sentence {n}.", *both) for n, both in enumerate(times)]
    speed.write(voice.root / "speed.json", SpeedComparison(old, new, "cpu", sentences))
    kept = tmp_path / "environment"
    kept.touch()
    assert run(script("data-diff.yml", "Speed"), voice.root, GITHUB_ENV=str(kept)).returncode == 0
    known = dict(line.split("=", 1) for line in kept.read_text().splitlines())
    done = run(
        script("data-diff.yml", "Compare"), voice.root, LINK="l", RUN="r",
        GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"), **known,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ("HARM" in (voice.root / "data-diff/comment.md").read_text()) == harm
    done = run(script("data-diff.yml", "Check"), voice.root, **known)
    assert ("a second of speech takes no more than 10% more computing" in done.stderr) == harm
    assert done.returncode == int(harm)


def test_the_speed_is_measured_where_a_voice_can_have_changed(tmp_path: Path) -> None:
    voice, out = merged(tmp_path), tmp_path / "output"
    out.touch()
    assert run(script("data-diff.yml", "Changed"), voice.root, GITHUB_OUTPUT=str(out)).returncode == 0
    assert out.read_text() == "voice=true\n", "another lock"
    out.write_text("")
    voice.git("commit", "-q", "--allow-empty", "-m", "A page of docs")
    assert run(script("data-diff.yml", "Changed"), voice.root, GITHUB_OUTPUT=str(out)).returncode == 0
    assert out.read_text() == ""


@pytest.mark.parametrize("stale", [False, True])
def test_check_fails_where_the_lock_is_behind(tmp_path: Path, stale: bool) -> None:
    done = run(script("data-diff.yml", "Check"), merged(tmp_path, stale).root)
    assert done.returncode == int(stale)
    assert ("dvc.lock is behind the files" in done.stderr) == stale


def test_there_is_one_comment_however_often_one_pushes(tmp_path: Path) -> None:
    tools, store = tmp_path / "bin", tmp_path / "comments.json"
    tools.mkdir()
    (tools / "gh").write_text(FAKE_GH)
    (tools / "gh").chmod(0o755)
    imitation = {"id": 1, "user": {"type": "User"}, "body": "<!-- timbre diff --> mine is not touched"}
    store.write_text(json.dumps([imitation, {"id": 2, "user": {"type": "Bot"}, "body": "Another bot's"}]))
    env = {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "FAKE_COMMENTS": str(store),
        "COMMENTS": "repos/ann/voice/issues/7/comments",
        "ONE": "repos/ann/voice/issues/comments",
    }
    for text in ("first", "second"):
        (tmp_path / "comment.md").write_text(f"<!-- timbre diff -->\n**{text}**\n")
        done = run(script("data-diff.yml", "Comment"), tmp_path, **env)
        assert done.returncode == 0, done.stderr
    comments = json.loads(store.read_text())
    assert [comment["body"].splitlines()[:2] for comment in comments][2:] == [["<!-- timbre diff -->", "**second**"]]
    assert comments[0] == imitation
