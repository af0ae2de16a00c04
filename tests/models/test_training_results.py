"""What a training on a random model leaves: its history, its facts, the points on the way, and its speed."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any, cast

import pytest

from stages import train as stage
from tests.support.tiny_models import adapted
from tests.support.training_root import PARAMS, base_of, trained, training_root
from timbre import families
from timbre.training import timing
from timbre.training.batches import utterances
from timbre.training.results import COLUMNS, facts, to_csv
from timbre.training.schedule import point_steps


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_root(tmp_path_factory.mktemp("root"))


def test_history_has_a_row_per_step_and_an_empty_cell_where_nothing_was_measured(place: Path, tmp_path: Path) -> None:
    _, run = trained(place, tmp_path)
    rows = list(csv.DictReader(to_csv([run]).splitlines()))
    parts = ("backbone", "depth_decoder", "codebook/1", "codebook/2-4")
    assert tuple(rows[0]) == (*COLUMNS, *(f"{kind}_loss/{part}" for kind in ("eval", "train") for part in parts))
    assert [int(row["step"]) for row in rows] == list(range(10))  # 8 clips in batches of 3, three times
    assert [bool(row["eval_loss"]) for row in rows] == [n % 2 == 0 or n == 9 for n in range(10)]
    assert not rows[0]["train_loss"]
    for row in rows[1:]:
        first, depth = (float(row[f"train_loss/{name}"]) for name in ("backbone", "depth_decoder"))
        assert float(row["train_loss"]) == pytest.approx(first + depth, abs=1e-4)
        assert float(row["train_loss/codebook/2-4"]) == pytest.approx(depth, abs=1e-4), "all four codebooks"
        assert float(row["grad_norm"]) > 0
    assert float(rows[2]["learning_rate"]) == PARAMS.learning_rate


def test_training_json_says_what_was_learnt_from(place: Path, tmp_path: Path) -> None:
    voice, run = trained(place, tmp_path, dataclasses.replace(PARAMS, max_steps=2))
    clips, _ = utterances(place / "data/dataset/train.jsonl", place / "data/codes")
    held = [clip._replace(speaker="eve", recording="dusk") for clip in clips[:1]]
    task = stage.Task(clips, held, None, "0123456789abcdef", None)
    made = stage.finished(voice, [run], task, tmp_path / "finished")
    adapter = {"adapter_config.json", "adapter_model.safetensors"}
    assert set(made) == {f"{at}/{file}" for at in ("adapter", "points/000002") for file in adapter} | {
        "history.csv",
        ".json",
    }
    found = json.loads(cast(bytes, made[".json"]))
    assert found["key"] == "0123456789abcdef"
    assert (found["steps"], found["clips"], found["seconds"]) == (2, 8, pytest.approx(sum(c.seconds for c in clips)))
    assert 0 < found["trainable_share"] < 0.2
    learnt = {clip.speaker: sorted({other.recording for other in clips}) for clip in clips}
    assert found["speakers"] == {"eve": ["dusk"], **learnt}, "whose consent is asked for wherever the adapter goes"
    assert all(learnt.values())
    assert found["points"] == [found["best_step"]] == [2], "the only evaluation"


def test_over_fitting_is_the_distance_of_the_last_evaluation_from_the_best(place: Path, tmp_path: Path) -> None:
    voice, run = trained(place, tmp_path, dataclasses.replace(PARAMS, max_steps=2))
    clips, _ = utterances(place / "data/dataset/train.jsonl", place / "data/codes")
    better = run._replace(state=dataclasses.replace(run.state, best_loss=run.state.best_loss - 0.25))
    found = facts(voice, [better], clips)
    assert found["overfit"] == 0.25
    assert found["last_eval_loss"] == pytest.approx(run.state.best_loss, abs=1e-4)
    assert facts(voice, [run], clips)["overfit"] == 0


def test_points_are_the_adapters_that_the_voice_wore_on_the_way(place: Path, tmp_path: Path) -> None:
    _, run = trained(place, tmp_path)
    until = {int(row["step"]): row["eval_loss"] for row in run.state.history if "eval_loss" in row}
    voice: Any = families.load(base_of(place))
    course = adapted(voice, families.Lora(PARAMS.rank, PARAMS.alpha, PARAMS.rslora, PARAMS.dropout))
    voice.model.eval()
    held, _ = utterances(place / "data/dataset/eval.jsonl", place / "data/codes")
    assert list(run.state.points) == [2, 6]
    for step, weights in run.state.points.items():
        course.set_weights(weights)
        losses = voice.losses(voice.batch([[clip.turn] for clip in held], 1.0, 0))
        assert losses.total.item() == pytest.approx(until[step], abs=1e-4)


@pytest.mark.parametrize("changes", [{"points": 1}, {"max_steps": 1, "eval_every": 5}], ids=["asked for none", "short"])
def test_without_points_on_the_way_the_adapter_is_the_only_one(
    changes: dict[str, int], place: Path, tmp_path: Path
) -> None:
    voice, run = trained(place, tmp_path, dataclasses.replace(PARAMS, **changes))  # type: ignore[arg-type]
    clips, _ = utterances(place / "data/dataset/train.jsonl", place / "data/codes")
    folder = tmp_path / "scratch/finished"
    made = stage.finished(voice, [run], stage.Task(clips, [], None, "0123456789abcdef", None), folder)
    (step,) = json.loads(cast(bytes, made[".json"]))["points"]
    (point,) = (folder / "points").iterdir()
    assert point.name == f"{step:06}"
    assert {file.name: file.read_bytes() for file in point.iterdir()} == {
        file.name: file.read_bytes() for file in (folder / "adapter").iterdir()
    }
    assert {f"points/{point.name}/{file.name}" for file in point.iterdir()} < set(made)


@pytest.mark.parametrize(
    ("kept", "best", "points", "expected"),
    [
        ([10, 20, 30, 40, 50, 60], 60, 3, [20, 40]),
        ([10, 20, 30, 40, 50, 60], 30, 3, [10, 20]),
        ([10, 20, 30, 40, 50, 60], 45, 2, [20]),
        ([10, 20, 30], 30, 1, []),
        ([10, 20], 10, 3, []),
        ([], 5, 4, []),
        ([10, 20], 20, 5, [10]),
    ],
)
def test_points_part_the_way_to_the_best_step(kept: list[int], best: int, points: int, expected: list[int]) -> None:
    assert point_steps(kept, best, points) == expected


def test_speed_of_another_adapter_or_of_nowhere_is_none(tmp_path: Path) -> None:
    speed, one, other = (tmp_path / name for name in ("speed.json", "one", "other"))
    for adapter in (one, other):
        adapter.mkdir()
        (adapter / timing.WEIGHTS).write_bytes(adapter.name.encode())
    timing.write(speed, one, [{"step": 1, "seconds": 0.5}])
    assert timing.read(speed, one) == [{"step": 1, "seconds": 0.5}]
    assert timing.read(speed, other) == timing.read(tmp_path / "none.json", one) == []
    speed.write_text("[")
    assert timing.read(speed, one) == []
