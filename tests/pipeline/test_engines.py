"""Worker processes: the same folder as without them, whoever is killed, and nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.entries import jobs, refuse, stumble, upper
from tests.support.files import contents
from tests.support.paths import ROOT
from tests.support.waiting import until
from timbre.core import running
from timbre.core.errors import DataError, EngineError
from timbre.core.sections import ComputeParams
from timbre.mapping.refresh import refresh

TWO = ComputeParams("local", 2, None, "auto")
TEXTS = [f"T{number}" for number in range(5)]
LINGERING = """
import sys
from pathlib import Path
from tests.support.entries import jobs, linger
from timbre.core.sections import ComputeParams
from timbre.core.running import run
from timbre.mapping.refresh import refresh

def main():
    folder = Path(sys.argv[1])
    two = ComputeParams("local", 2, None, "auto")
    refresh(folder, jobs(folder, "A", "B"), linger, suffixes=[".json"], label="t", engine=two)

if __name__ == "__main__":
    run(main)
"""


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("one")
    refresh(folder, jobs(folder, *TEXTS), upper, suffixes=[".json"], label="t")
    return contents(folder)


@pytest.mark.parametrize("killed", [{}, {"T0": 1}, {"T3": 2}], ids=["nobody", "once", "twice"])
def test_worker_processes_write_the_same_folder_whoever_is_killed(
    tmp_path: Path, expected: dict[str, bytes], killed: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    todo = jobs(tmp_path, *TEXTS, deaths=killed)
    done = refresh(tmp_path / "two", todo, upper, suffixes=[".json"], label="t", batch=2, engine=TWO)
    assert contents(tmp_path / "two") == expected
    assert done.computed == len(TEXTS), "what a worker finished before it was killed is not counted twice"
    assert capsys.readouterr().err.count("its worker process was lost (killed") == sum(killed.values())


def test_entries_that_kill_every_worker_are_named_after_the_others_are_finished(tmp_path: Path) -> None:
    todo = jobs(tmp_path, *TEXTS, deaths={"T1": 9})
    with pytest.raises(EngineError, match=r"^t1: the process that computes it was lost 3 times \(killed, .*\); if"):
        refresh(tmp_path / "two", todo, upper, suffixes=[".json"], label="t", engine=TWO)
    assert set(contents(tmp_path / "two")) == {"t0.json", "t2.json", "t3.json", "t4.json"}


def test_a_mistake_in_an_entry_is_told_as_without_workers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^T\d: is no sound$"):
        refresh(tmp_path, jobs(tmp_path, *TEXTS), refuse, suffixes=[".json"], label="t", engine=TWO)


def test_a_bug_in_a_worker_says_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        refresh(tmp_path, jobs(tmp_path, *TEXTS), stumble, suffixes=[".json"], label="t", engine=TWO)
    assert "entries.py" in caught.value.__notes__[0]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL], ids=lambda sent: sent.name)
def test_workers_end_with_the_process_that_began_them(tmp_path: Path, sent: signal.Signals) -> None:
    script = tmp_path / "lingering.py"
    script.write_text(LINGERING)
    notes = tmp_path / "notes"
    notes.mkdir()
    process = subprocess.Popen(
        [sys.executable, script, notes], start_new_session=True, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    until(lambda: len(list(notes.glob("*.pid"))) == 2)
    if sent == signal.SIGINT:  # as Ctrl-C: to the terminal's processes, all of them
        os.killpg(process.pid, sent)
        _, told = process.communicate(timeout=120)
        assert process.returncode == 130
        assert "stopped; what is finished is kept" in told
        assert "Traceback" not in told
    else:
        process.kill()
        process.communicate(timeout=120)
    pids = [int(path.stem) for path in notes.glob("*.pid")]
    until(lambda: not any(map(psutil.pid_exists, pids)))


def test_a_model_has_the_same_threads_whatever_workers_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    before = torch.get_num_threads()
    monkeypatch.setattr(running, "cores", lambda: 3)
    try:
        for width, expected in [(10, 1), (6000, 3)]:
            running.settle(torch.nn.Linear(width, width, device="meta"))
            assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


def test_independent_entries_are_shared_out_among_the_workers(tmp_path: Path, expected: dict[str, bytes]) -> None:
    todo = jobs(tmp_path, *TEXTS, pids=True)
    refresh(tmp_path / "two", todo, upper, suffixes=[".json"], label="t", batch=9, independent=True, engine=TWO)
    assert contents(tmp_path / "two") == expected
    assert len(list(tmp_path.glob("*.pid"))) == 2
