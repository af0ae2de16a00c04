"""A training may begin with the adapter of before, and says so; what is too far from it begins at the base."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages import train as stage
from tests.support.files import contents
from tests.support.training_root import PARAMS, arguments, training_root, write_params
from timbre.core.content import folder_key
from timbre.core.errors import ModelError
from timbre.core.records import ADAPTER_WEIGHTS, beginning
from timbre.training import courses, warm_start
from timbre.training.loop import Training

TABLE = Path("data/dataset/train.jsonl")
WARM = dataclasses.replace(PARAMS, warm_start="previous")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A voice was trained in `models`, with warm starts allowed."""
    root = training_root(tmp_path_factory.mktemp("root"))
    write_params(root, WARM)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        stage.main(**arguments("models"))
    return root


@pytest.fixture
def root(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    shutil.copytree(prepared, tmp_path / "root", symlinks=True)
    monkeypatch.chdir(tmp_path / "root")
    return tmp_path / "root"


def edit(clips: int = 1, **values: str) -> None:
    rows = [json.loads(row) for row in TABLE.read_text().splitlines()]
    for row in rows[:clips]:
        row.update(values or {"text": row["text"] + " indeed"})
    TABLE.write_text("".join(json.dumps(row) + "\n" for row in rows))


def training() -> dict[str, Any]:
    return dict(json.loads(Path("models/adapter/training.json").read_text()))


def first_loss() -> float:
    header, first = Path("models/history.csv").read_text().splitlines()[:2]
    return float(dict(zip(header.split(","), first.split(","), strict=True))["eval_loss"])


def test_an_edit_of_a_clip_begins_with_the_adapter_of_before_and_names_it(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, version, loss = training(), folder_key(Path("models/adapter")), first_loss()
    assert "begun_from" not in before
    edit()
    stage.main(**arguments("models"))
    after = training()
    assert after["begun_from"] == {"version": version, "key": before["key"], "clips_changed": 1, "in_a_row": 1}
    assert beginning(after) == f"it began with version {version[:8]}, from which 1 clip differs"
    assert beginning(after) in capsys.readouterr().out
    assert after["steps"] < before["steps"]
    assert first_loss() < loss - 0.01, "before the first step it knows what it learnt before"
    assert not list(Path(".timbre/train").iterdir())


def test_the_adapter_of_before_is_never_kept_as_it_was(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the edit would not be learnt where each step makes the evaluation worse."""
    before, evaluate = Path("models/adapter", ADAPTER_WEIGHTS).read_bytes(), Training.evaluate

    def worse_each_time(self: Training, *clips: Any) -> dict[str, float]:
        return {name: loss + 10 * self.state.step for name, loss in evaluate(self, *clips).items()}

    monkeypatch.setattr(Training, "evaluate", worse_each_time)
    edit()
    stage.main(**arguments("models"))
    assert training()["best_step"] > 0
    assert Path("models/adapter", ADAPTER_WEIGHTS).read_bytes() != before


def test_an_edit_that_is_taken_back_trains_nothing_and_gives_the_bytes_of_before(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cold, table = contents(Path("models")), TABLE.read_text()
    edit()
    stage.main(**arguments("models"))
    warm, edited = contents(Path("models")), TABLE.read_text()
    for content, expected in ((table, cold), (edited, warm), (edited, warm)):
        TABLE.write_text(content)
        capsys.readouterr()
        stage.main(**arguments("models"))
        assert contents(Path("models")) == expected
        assert "trained from the same before" in capsys.readouterr().out


def test_switching_it_on_or_off_trains_nothing_that_began_at_the_base(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cold = contents(Path("models"))
    write_params(root, PARAMS)
    stage.main(**arguments("models"))
    assert "kept" in capsys.readouterr().out
    assert contents(Path("models")) == cold

    stage.main(**arguments("anew"))  # never heard of warm starts
    weights = f"adapter/{ADAPTER_WEIGHTS}"
    assert Path("anew", weights).read_bytes() == Path("models", weights).read_bytes()
    write_params(root, WARM)
    stage.main(**arguments("anew"))
    assert "kept" in capsys.readouterr().out


def test_a_killed_one_goes_on_to_the_same_bytes_though_the_adapter_of_before_is_gone(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    edit()
    shutil.copytree("models", "kept")
    stage.main(**arguments("models"))
    whole = contents(Path("models"))
    shutil.rmtree("models")
    shutil.move("kept", "models")
    shutil.rmtree(".timbre")  # as on another machine

    step = Training.step
    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", lambda self, batches: step(self, batches) if self.state.step < 3 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            stage.main(**arguments("models"))
    shutil.rmtree("models/adapter")  # it was killed while it put the new one in place
    capsys.readouterr()
    stage.main(**arguments("models"))
    assert "goes on from step 2" in capsys.readouterr().out
    assert contents(Path("models")) == whole


@pytest.mark.parametrize("change", ["two clips", "a parameter", "a recording", "damage"])
def test_what_is_too_far_from_it_begins_at_the_base(root: Path, change: str) -> None:
    match change:
        case "two clips":  # of ten
            edit(2)
        case "a parameter":
            write_params(root, dataclasses.replace(WARM, learning_rate=0.01))
        case "a recording":  # of which consent may have been withdrawn
            edit(1, recording="another", text="They met.")
            stage.main(**arguments("models"))
            assert training()["speakers"] == {"ann": ["another", "talk"]}
            assert "begun_from" in training(), "one that came in is fine"
            edit(1, recording="talk", text="They met again.")
        case "damage":
            edit()
            weights = Path("models/adapter", ADAPTER_WEIGHTS)
            weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    stage.main(**arguments("models"))
    assert "begun_from" not in training()


def inputs(*clips: str) -> warm_start.Inputs:
    return warm_start.Inputs("cold", "settings", clips)


def test_after_three_in_a_row_one_begins_at_the_base() -> None:
    clips = [f"{number:08x}" for number in range(20)]
    record: dict[str, Any] = {"key": "0", **inputs(*clips).record()}
    for number in (1, 2, 3):
        before = warm_start.after(Path("models/adapter"), record, inputs(*clips[1:], f"{number:08x}f"))
        assert before, number
        assert before.in_a_row == number
        record |= before.record()
    assert warm_start.after(Path("models/adapter"), record, inputs(*clips)) is None


def test_the_clips_that_differ_are_counted_and_of_many_estimated() -> None:
    few = [f"{number * 7919 % 65536:08x}" for number in range(100)]
    assert changed(few, few) == 0
    assert changed(few, [*few[3:], "ffff0001"]) == 3
    assert changed(few, [*few, *(f"ffff{number:04x}" for number in range(9))]) == 9
    many = [warm_start.content_key(number)[:8] for number in range(20_000)]
    other = [warm_start.content_key("other", number)[:8] for number in range(1000)]
    assert changed(many, many) == 0
    assert 500 < changed(many, [*many[1000:], *other]) < 2000


def changed(before: list[str], now: list[str]) -> int:
    record = {"key": "0", **inputs(*before).record()}
    beginning_with = warm_start.after(Path("models/adapter"), record, inputs(*now))
    assert beginning_with
    return beginning_with.changed


def test_a_course_that_cannot_begin_so_says_what_to_do() -> None:
    class Course:
        name = "stage2"

        def saved(self, folder: Path) -> None:
            return None

    course: Any = Course()
    with pytest.raises(ModelError, match=r"train.warm_start: stage2 cannot begin .*; set it to none"):
        courses._saved(course, Path("models/adapter"))
