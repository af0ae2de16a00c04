"""A real repository for the tests: git, DVC, a folder as remote, tiny random models and two short recordings.

It holds this project's own stages and library. What the models say is noise; which stage runs, what it computes and
what it writes is what these tests look at.
"""

from __future__ import annotations

import gc
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

import tests.support.surroundings  # noqa: F401  first: what numpy and torch read when they are loaded
from tests.support import git_histories, warm_python
from tests.support.git_history import Voice
from tests.support.paths import ROOT
from tests.support.review_page import page, serve  # noqa: F401
from tests.support.shared import built_once, session_folder
from tests.support.surroundings import QUIET_DVC
from tests.support.waiting import until
from timbre.core.running import cores

# Whoever begins the tests in a shell's background ignores Ctrl-C, and so would every process that a test sends it to.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Repro:
    """What one `dvc repro` did."""

    code: int
    output: str
    ran: list[str] = field(init=False)  # the stages whose command had something to do; `track` is asked in every run

    def __post_init__(self) -> None:
        ran = re.findall(r"^Running stage '(\w+)'", self.output, re.MULTILINE)
        known = re.search(r"^track: version \w+ has its run already, [^;]*$", self.output, re.MULTILINE)
        object.__setattr__(self, "ran", [stage for stage in ran if stage != "track" or not known])

    def computed(self, stage: str) -> int:
        """Entries that the stage's map computed; 0 when it didn't run at all."""
        found = re.search(rf"^{stage}: (\d+) computed", self.output, re.MULTILINE)
        return int(found[1]) if found else 0

    def restored(self, stage: str) -> int:
        found = re.search(rf"^{stage}: \d+ computed, (\d+) restored", self.output, re.MULTILINE)
        return int(found[1]) if found else 0

    @property
    def trained(self) -> bool | None:
        """Whether steps were taken; False where the adapter was kept or restored, None where `train` didn't run."""
        found = re.search(r"^train: (best at|kept|restored)", self.output, re.MULTILINE)
        return found[1] == "best at" if found else None


@dataclass(frozen=True)
class Repository:
    root: Path
    warm: Path | None = None  # folder of tests/support/warm_python.py to put first on the PATH

    def run(self, *command: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=self.root, env=self.environment(**env), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 or not check, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def repro(self, *arguments: str, check: bool = True, **env: str) -> Repro:
        done = self.run("dvc", "repro", *arguments, check=check, **env)
        return Repro(done.returncode, done.stdout + done.stderr)

    def kill_in(self, stage: str, reached: Callable[[], bool], seconds: float = 120) -> None:
        """Run `dvc repro`, and SIGKILL it and all its children as soon as `reached` says so."""
        process = subprocess.Popen(
            ["dvc", "repro", stage],
            cwd=self.root,
            env=self.environment(),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            end = time.monotonic() + seconds
            while not reached():
                assert process.poll() is None, f"{stage} ended before it could be killed"
                assert time.monotonic() < end, f"{stage} never reached the point to kill it at"
                time.sleep(0.002)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            until(lambda: not self.at_work())  # tests/support/warm_python.py kills what it forked, a moment later

    def at_work(self) -> list[int]:
        """The processes that work in this folder."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if Path(process.cwd()) == self.root.resolve():
                    found.append(process.pid)
        return found

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.root / path
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
        file.write_text(text.replace(old, new), encoding="utf-8")

    def lock(self) -> str:
        return (self.root / "dvc.lock").read_text()

    def begin(self) -> None:
        """Git and DVC, and somebody who commits."""
        for command in (["git", "init", "-q", "-b", "main"], ["dvc", "init", "-q"]):
            self.run(*command)
        for name, value in (("user.email", "ann@example.org"), ("user.name", "Ann")):
            self.run("git", "config", name, value)
        (self.root / ".dvc/config").write_text("[core]\n    analytics = false\n    check_update = false\n")

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)

    def copy(self, target: Path) -> Repository:
        shutil.copytree(self.root, target, symlinks=True)
        return Repository(target, self.warm)

    def environment(self, **more: str) -> dict[str, str]:
        """With a hash seed, or without `warm`, stages and dvc begin as processes of their own."""
        cold = environment(**more)
        if not self.warm or "PYTHONHASHSEED" in more:
            return cold
        return {**cold, "PATH": f"{self.warm}{os.pathsep}{cold['PATH']}"}


# What the stages that map over recordings, clips and samples tell their progress by.
MAPS = (
    "fetch", "transcribe", "who", "clean", "speech", "chunk", "check", "voices", "encode", "generate", "listen",
    "evaluate", "similarity",
)  # fmt: skip


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_", "GIT_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return {**kept, "PATH": path, "PYTHONPATH": "", **QUIET_DVC, **more}


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """`-n auto`: one process more than there are cores, since a test waits for a server, a disk or a browser; `-n
    logical`, which the unit tests are run with, is as many as there are."""
    return cores() + 1 if config.option.numprocesses == "auto" else None


def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """The processes of `-n` are forked from the one that has torch loaded, as stages are: importing what test files
    need takes longer than collecting them. Where unit tests run alone they are not: torch may not be loaded then."""
    if all(Path(argument).resolve().is_relative_to(ROOT / "tests/unit") for argument in config.args):
        return
    folder = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    stack = ExitStack()
    programs = stack.enter_context(warm_python.shared(folder / "warm", environment()))
    config.add_cleanup(stack.close)
    for spec in specs:
        spec.python = shlex.quote(str(programs / "worker"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The layers whose tests take longest come first, and of them the files that run the pipeline: a worker that has
    nothing left takes over from the end of another's list, so what is there last had better be short."""
    longest = ("pipeline", "models", "browser")
    whole_runs = {item.path for item in items if runs_pipeline(item)}

    def place(item: pytest.Item) -> tuple[int, bool]:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        return longest.index(folder) if folder in longest else len(longest), item.path not in whole_runs

    items.sort(key=place)


def runs_pipeline(item: pytest.Item) -> bool:
    return item.get_closest_marker("pipeline") is not None or "made" in getattr(item, "fixturenames", ())


def pytest_collection_finish() -> None:
    """Garbage collection need not look through all that was imported, time and again: a tenth of the unit tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose `python` and `dvc` need not load torch first."""
    with warm_python.shared(session_folder(tmp_path_factory) / "warm", environment()) as programs:
        yield programs


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    """Ten commits, to be read and not to be written to."""
    return git_histories.write(tmp_path_factory.mktemp("history") / "voice")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds nothing but the mark of a project, and one works in it."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "dvc.yaml").touch()
    monkeypatch.chdir(root)
    return root


@pytest.fixture(scope="session")
def recordable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.mlflow_store import write_template

    return built_once(tmp_path_factory, "recordable", write_template)


@pytest.fixture
def root(recordable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that `stages.track.main` records in its own MLflow store."""
    from tests.support.mlflow_store import enter

    root = tmp_path / "voice"
    shutil.copytree(recordable, root)
    enter(root, monkeypatch)
    return root


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium through playwright: pages are looked at by what people open them with."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if not chromium:
        message = "NO CHROMIUM: no page was opened in a browser; install chromium to run these tests"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()
