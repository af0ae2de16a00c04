"""Curves of a training while it runs: in MLflow, in the terminal, and never in the way of the training."""

from __future__ import annotations

import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stages import train as stage
from tests.support.files import contents
from tests.support.servers import free_port
from tests.support.training_root import arguments, training_root
from timbre import tracking
from timbre.core.errors import TrackingError
from timbre.tracking import offline, watching
from timbre.tracking.run import LiveTraining
from timbre.training.live_curves import LiveCurves

ROWS = [{"step": step, "train_loss": 4 - step / 10, "grad_norm": 1.0} for step in range(1, 11)]
EVALUATED = {"step": 0, "eval_loss": 5.0}
PATIENT = 120.0  # seconds: a machine may be busy


@pytest.fixture(autouse=True)
def live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMBRE_LIVE", "1")


@pytest.fixture
def forked(warm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that writes the curves need not load MLflow first."""
    monkeypatch.setattr(sys, "executable", str(warm / "python"))


def told(key: str = "0123456789abcdef", begin: int = 0, rows: Any = (EVALUATED, *ROWS), **tags: str) -> LiveTraining:
    """What the store has once the training is over."""
    with LiveCurves(key, "csm", {"rank": 8}, patience=PATIENT, soon=0) as curves:
        curves.begin(begin, 20)
        curves.rows(rows)
        curves.tags |= tags
    found = offline.live(tracking.store_uri())
    assert found
    return found


@pytest.mark.usefixtures("forked")
def test_rows_are_in_an_experiment_of_their_own_and_a_training_that_goes_on_continues_its_run(root: Path) -> None:
    first = told(**{"ended early": "a person ended it early, at step 10 of 20"})
    assert (first.name, first.running) == ("csm 01234567", False)
    assert first.losses["eval_loss"] == {0: 5.0}
    assert first.losses["train_loss"] == {row["step"]: pytest.approx(row["train_loss"]) for row in ROWS}
    assert first.tags["ended early"].startswith("a person")
    client = tracking.connect()
    assert tracking.experiment_of(client, create=False) is None, "versions have the other experiment"

    later = told(begin=10, rows=[{"step": 12, "eval_loss": 4.0}])
    assert (later.id, later.losses["eval_loss"]) == (first.id, {0: 5.0, 12: 4.0})
    assert "ended early" not in later.tags
    assert told(begin=0).id != first.id, "it began anew"


@pytest.mark.usefixtures("forked")
def test_a_training_that_is_soon_over_starts_nothing_and_a_longer_one_tells_all_from_its_beginning(root: Path) -> None:
    with LiveCurves("0123456789abcdef", "csm", {}, patience=PATIENT) as curves:
        curves.begin(0, 20)
        curves.rows(ROWS)
        assert not curves.process
    assert offline.live(tracking.store_uri()) is None

    with LiveCurves("0123456789abcdef", "csm", {}, patience=PATIENT) as curves:
        curves.begin(0, 20)
        curves.rows(ROWS[:1])
        curves.soon = 0  # a minute is over
        curves.rows(ROWS[1:])
        assert curves.process
    found = offline.live(tracking.store_uri())
    assert found
    assert found.losses["train_loss"] == {row["step"]: pytest.approx(row["train_loss"]) for row in ROWS}


@pytest.mark.usefixtures("forked")
def test_a_training_that_was_killed_is_not_left_as_running(root: Path) -> None:
    curves = LiveCurves("0123456789abcdef", "csm", {}, patience=PATIENT, soon=0)
    curves.begin(0, 20)
    process = curves.process
    assert process
    process.communicate(timeout=PATIENT)  # its end of the pipe is closed without a word
    with closing(sqlite3.connect(root / "mlflow.db")) as database:
        assert database.execute("SELECT status FROM runs").fetchall() == [("KILLED",)]


@pytest.mark.usefixtures("forked")
def test_a_dead_server_costs_nothing_and_changes_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(training_root(tmp_path))
    monkeypatch.setenv("TIMBRE_LIVE", "0")
    stage.main(**arguments("without"))
    assert not Path("mlflow.db").exists()
    monkeypatch.setenv("TIMBRE_LIVE", "1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(stage, "LiveCurves", lambda *about: LiveCurves(*about, patience=PATIENT, soon=0))
    stage.main(**arguments("with"))
    assert contents(Path("with")) == contents(Path("without"))
    assert "train: no live curves: the MLflow store http://127.0.0.1:" in capsys.readouterr().err


def test_a_server_that_never_answers_is_not_waited_for(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENT)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        with LiveCurves("0123456789abcdef", "csm", {}, patience=0.1, soon=0) as curves:
            curves.begin(0, 20)
            connection, _ = server.accept()  # it has asked, and is never answered
            for _ in range(2000):  # more than a pipe holds
                curves.rows(ROWS)
        connection.close()
        assert curves.process
        assert curves.process.poll() is not None, "nothing is left behind"
    assert "train: no live curves: the MLflow store did not answer in time" in capsys.readouterr().err


def training(running: bool, losses: dict[int, float], **tags: str) -> LiveTraining:
    learnt = {step: loss - 1 for step, loss in losses.items() if step}
    best = {5: 1.25, 10: 1.25}  # of the loss that chooses the step, which is another one
    where = dict.fromkeys(best, 5.0)
    curves = {"eval_loss": losses, "train_loss": learnt, "best_eval_loss": best, "best_step": where}
    return LiveTraining("1", "csm 01234567", running, {"timbre.steps": "20", **tags}, curves)


def test_watching_waits_for_a_training_tells_each_evaluation_and_ends_with_it() -> None:
    early = {"ended early": "a person ended it early, at step 10 of 20"}
    answers = [
        training(False, {0: 9.0}),  # of yesterday
        None,
        training(True, {0: 5.0}),
        training(True, {0: 5.0, 5: 4.25}),
        training(True, {0: 5.0, 5: 4.25}),
        training(False, {0: 5.0, 5: 4.25, 10: 4.5}, **early),
    ]
    waited: list[float] = []
    assert list(watching.lines(iter(answers).__next__, waited.append)) == [
        "no training runs now; waiting for one (Ctrl-C ends)",
        "training csm 01234567",
        "step     0 of 20                  evaluation 5.000",
        "step     5 of 20  training 3.250  evaluation 4.250  best 1.250 at step 5",
        "step    10 of 20  training 3.500  evaluation 4.500  best 1.250 at step 5",
        "ended: a person ended it early, at step 10 of 20",
    ]
    assert len(waited) == 5


def test_watching_gives_up_where_the_store_gives_no_answer() -> None:
    def down() -> None:
        raise TrackingError("down")

    waited: list[float] = []
    with pytest.raises(TrackingError, match="down"):
        list(watching.lines(down, waited.append))
    assert len(waited) == watching.PATIENCE - 1
