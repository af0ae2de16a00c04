"""Training in two processes: what one would learn, whoever starts them, and nothing left of them when one is killed."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file

from tests.support.ddp_worker import LONG, UNEVEN
from tests.support.paths import ROOT
from tests.support.servers import free_port
from tests.support.training_root import PARAMS, flags, trained, training_root, write_params
from timbre.core.errors import DataError, ParamsError
from timbre.training import distributed

QUIET = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_root(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def learnt(place: Path, warm: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What tests/support/ddp_worker.py learns in two processes, each as on a machine of its own."""
    out = tmp_path_factory.mktemp("out")
    machines = {"PET_NNODES": "2", "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(free_port())}
    machines["PYTHON_EXEC"] = str(warm / "python")  # what torchrun starts
    command = [str(warm / "python"), "-m", "tests.support.ddp_worker", str(place), str(out)]
    both = [
        subprocess.Popen(
            command, cwd=ROOT, env={**QUIET, **machines, "PET_NODE_RANK": str(number)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for number in range(2)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=300)[0] for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], said
    assert "train: " in said[0], "the bar"
    assert "train: " not in said[1], "only the first process talks"
    return {path.parent.name: json.loads(path.read_text()) for path in out.glob("*/result.json")}


def test_losses_and_adapter_are_those_of_one_process_though_batches_do_not_share_evenly(
    place: Path, tmp_path: Path, learnt: dict[str, Any]
) -> None:
    _, run = trained(place, tmp_path, UNEVEN)
    assert len(run.state.history) == 5
    for one, two in zip(run.state.history, learnt["plain"]["history"], strict=True):
        assert one == pytest.approx(two, rel=1e-4)
    for name, weight in run.course.weights().items():
        assert weight.flatten().tolist() == pytest.approx(flat(learnt["plain"]["weights"][name]), abs=1e-3)


def test_sharing_the_weights_changes_no_digit_and_takes_less_memory(learnt: dict[str, Any]) -> None:
    plain, shard = learnt["plain"], learnt["shard"]
    assert shard["history"] == plain["history"]
    assert shard["weights"] == plain["weights"]
    assert shard["held"] < 0.95 * plain["held"]


@dataclass(frozen=True)
class Started:
    """The stage, once it has saved a state in this run, and its two processes in their order."""

    command: subprocess.Popen[str]
    launcher: psutil.Process
    workers: list[psutil.Process]


@pytest.fixture
def started(warm: Path, tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Starts the stage: as Python begins it, or forked together with its processes, which saves 13 s of imports."""
    processes: list[Any] = []
    note = tmp_path / "process"

    def start(*, forked: bool = True) -> Started:
        before = saved()
        words, more = (command(warm / "python"), forks(note)) if forked else (command(), {})
        stage = subprocess.Popen(
            words, env={**QUIET, **more}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        processes.append(stage)
        reached(lambda: saved() != before, stage)
        launcher = psutil.Process(int(note.read_text()) if forked else stage.pid)
        workers = launcher.children()
        processes.extend([launcher, *workers])
        assert len(workers) == 2
        return Started(stage, launcher, sorted(workers, key=lambda worker: (worker.create_time(), worker.pid)))

    yield start
    for process in processes:  # where the test failed; also those that it has stopped
        with suppress(psutil.NoSuchProcess):
            process.kill()


def reached(there: Callable[[], bool], stage: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 600
    while not there():
        assert stage.poll() is None, stage.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_killed_process_ends_the_stage_with_one_line_and_the_next_run_goes_on(
    place: Path, tmp_path: Path, warm: Path, monkeypatch: pytest.MonkeyPatch, learnt: dict[str, Any], started: Any
) -> None:
    monkeypatch.chdir(place)
    write_params(place, LONG)

    run = started()
    assert listening([run.launcher, *run.workers]) <= {"127.0.0.1", "::1"}, "nobody on the network reaches them"
    run.workers[1].kill()
    assert run.command.wait(300) == 1
    assert errors(run.command) == [
        "error: process 1 was ended by SIGKILL for want of memory, likely; "
        "what is finished is kept, the next run goes on from there"
    ]
    gone(run.workers)

    run = started()
    for worker in run.workers:
        worker.suspend()  # so that none obeys the first Ctrl-C before the second comes
    run.launcher.send_signal(signal.SIGINT)
    reached(Path(".timbre/stop").exists, run.command)
    run.launcher.send_signal(signal.SIGINT)
    for worker in run.workers:
        worker.resume()
    assert run.command.wait(300) == 130
    assert errors(run.command) == ["stopped; what is finished is kept, the next run goes on from there"]
    gone(run.workers)

    run = started(forked=False)
    run.launcher.kill()
    gone(run.workers)

    run = started()
    run.launcher.send_signal(signal.SIGINT)
    assert run.command.wait(300) == 0
    gone(run.workers)
    assert json.loads(Path("out/adapter/training.json").read_text())["ended_early"] is True
    assert not Path(".timbre/stop").exists()

    whole = {**QUIET, **forks(tmp_path / "whole")}
    done = subprocess.run(command(warm / "python"), env=whole, capture_output=True, text=True, check=True)
    assert done.stdout.count("train: goes on from step") == 1
    assert done.stdout.count("train: best at step") == 1
    weights = load_file("out/adapter/adapter_model.safetensors")
    assert {name: weight.tolist() for name, weight in weights.items()} == learnt["long"]["weights"]
    assert len(Path("out/history.csv").read_text().splitlines()) == 2 + 36
    assert not list(Path(".timbre/train").iterdir())


def test_another_number_than_is_wanted_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert not distributed.launch(2, "stages.train"), "somebody else started them"
    with pytest.raises(ParamsError, match=r"train\.processes: 2 is wanted, but 3 were started"), distributed.joined(2):
        pass
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setenv("PET_NNODES", "2")
    with pytest.raises(ParamsError, match=r"train\.processes: 3 is no multiple of the 2 machines"):
        distributed.launch(3, "stages.train")


def test_one_process_needs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not distributed.launch(1, "stages.train")
    with distributed.joined(1):
        assert distributed.first()
        assert distributed.told("ferry") == "ferry"
        distributed.agree("key")
    monkeypatch.setattr(distributed, "told", lambda key: "another")
    with pytest.raises(DataError, match="another version"):
        distributed.agree("key")


def test_processes_out_of_range_are_told() -> None:
    with pytest.raises(ValueError, match="processes: 0 is not 1 or more, nor auto"):
        dataclasses.replace(PARAMS, processes=0)
    assert dataclasses.replace(PARAMS, processes="auto").processes == "auto"


def command(python: Path = Path(sys.executable)) -> list[str]:
    return [str(python), "-m", "stages.train", *flags("out")]


def forks(note: Path) -> dict[str, str]:
    """What tests/support/warm_python.py is asked by: workers of its own, and which process the stage is."""
    return {"WARM_WORKERS": "1", "WARM_PROCESS": str(note)}


def saved() -> list[int]:
    return [path.stat().st_mtime_ns for path in Path(".timbre").glob("train/*/adapter/state.pt")]


def errors(stage: subprocess.Popen[str]) -> list[str]:
    """The lines on standard error beside the bar's."""
    assert stage.stderr
    return [line for line in stage.stderr.read().splitlines() if line and not line.startswith("train: ")]


def gone(workers: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(workers, timeout=120)
    assert not alive


def flat(nested: Any) -> list[float]:
    return [number for item in nested for number in flat(item)] if isinstance(nested, list) else [nested]


def listening(processes: list[psutil.Process]) -> set[str]:
    """The addresses on which others could reach them."""
    sockets = [socket for process in processes for socket in process.net_connections("inet")]
    return {socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}
