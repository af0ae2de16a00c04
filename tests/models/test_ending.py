"""A person ends a training early: the best so far is kept and said to be so, and going on leads to the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stages import train as stage
from tests.support.files import contents
from tests.support.training_root import arguments, training_root
from timbre.mapping import inputs
from timbre.training import ending
from timbre.training.loop import Training

GOES_ON = "`dvc repro -f train` goes on from there"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_root(tmp_path_factory.mktemp("root"))


@pytest.fixture(autouse=True)
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test began there, and did not end, is no other test's."""
    monkeypatch.chdir(place)
    yield
    shutil.rmtree(".timbre", ignore_errors=True)


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> dict[int, Callable[[], object]]:
    """What a person does while that step is taken."""
    acts: dict[int, Callable[[], object]] = {}
    step = Training.step

    def acted(self: Training, batches: Any) -> None:
        acts.get(self.state.step, bool)()
        step(self, batches)

    monkeypatch.setattr(Training, "step", acted)
    return acts


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def told(out: str) -> dict[str, Any]:
    return dict(json.loads(Path(out, "adapter/training.json").read_text()))


def test_the_best_so_far_is_kept_and_going_on_gives_the_bytes_of_a_training_that_nobody_ended(
    at_step: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.main(**arguments("whole"))
    assert not {"ended_early", "planned_steps"} & told("whole").keys()
    at_step[3] = ending.STOP.touch
    stage.main(**arguments("ended"))
    early = told("ended")
    assert (early["ended_early"], early["steps"], early["planned_steps"]) == (True, 4, 9)
    assert early["key"] == told("whole")["key"]
    assert not ending.STOP.exists(), "it is removed once it was obeyed"
    whole, ended = (Path(out, "history.csv").read_text().splitlines() for out in ("whole", "ended"))
    assert ended == whole[: len(ended)], "up to there nothing differs"
    assert "ended early" in capsys.readouterr().out

    kept = contents(Path("ended"))
    monkeypatch.setenv("DVC_STAGE", "train")
    monkeypatch.setattr(inputs, "as_recorded", lambda name: False)  # somebody edited a comment in the library
    stage.main(**arguments("ended"))
    assert contents(Path("ended")) == kept
    assert f"a person ended it early, at step 4 of 9; {GOES_ON}" in capsys.readouterr().out

    monkeypatch.setattr(inputs, "as_recorded", lambda name: True)  # `dvc repro -f train`
    stage.main(**arguments("ended"))
    assert "goes on from step 4" in capsys.readouterr().out
    assert contents(Path("ended")) == contents(Path("whole"))
    assert not list(Path(".timbre/train").iterdir())
    stage.main(**arguments("ended"))
    assert "kept" in capsys.readouterr().out, "it went to its end, so there is nothing to go on with"


def test_it_begins_anew_where_the_state_is_gone(at_step: Any, capsys: pytest.CaptureFixture[str]) -> None:
    at_step[1] = ending.STOP.touch
    stage.main(**arguments("two"))
    assert told("two")["steps"] == 2
    shutil.rmtree(".timbre/train")
    at_step.clear()
    stage.main(**arguments("two"))
    assert "goes on from step" not in capsys.readouterr().out
    assert told("two")["steps"] == 9
    assert "ended_early" not in told("two")


def test_a_stop_of_before_the_training_or_of_its_last_step_ends_nothing_and_is_removed(
    at_step: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ending.STOP.parent.mkdir(exist_ok=True)
    ending.STOP.touch()
    at_step[9] = ending.STOP.touch
    stage.main(**arguments("stale"))
    assert "ended_early" not in told("stale")
    assert ".timbre/stop was there before the training began; removed" in capsys.readouterr().err
    assert not ending.STOP.exists()


def test_ctrl_c_once_ends_it_early_and_twice_stops_at_once(at_step: Any, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    at_step[3] = ctrl_c
    stage.main(**arguments("once"))
    assert told("once")["steps"] == 4
    message = "train: ends at the next evaluation and keeps the best so far; Ctrl-C again stops now"
    assert message in capfd.readouterr().err
    at_step[5] = lambda: (ctrl_c(), ctrl_c())
    with pytest.raises(KeyboardInterrupt):
        stage.main(**arguments("once"))
    assert signal.getsignal(signal.SIGINT) is before
    assert told("once")["steps"] == 4, "what was recorded stays"
