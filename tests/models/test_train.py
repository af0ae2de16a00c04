"""Training on a random model: what is learnt, what is kept, and that a kill costs nothing."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from stages import train as stage
from tests.support.batch_orders import course, told
from tests.support.consent import withdraw_consent, without_a_recording, write_consent
from tests.support.files import contents
from tests.support.tiny_models import CODEBOOKS, CSM
from tests.support.training_root import PARAMS, arguments, base_of, flags, trained, training_root
from timbre import families
from timbre.core.errors import DataError, ModelError, SourceError
from timbre.core.records import Example, write_jsonl
from timbre.families import Turn
from timbre.families.codes import to_bytes
from timbre.families.csm.model import CsmCourse
from timbre.training import checkpoint, timing
from timbre.training.batches import BatchOrder, Utterance, check_lengths, exam_clips, utterances
from timbre.training.checkpoint import Checkpoints, TrainingState
from timbre.training.courses import learn
from timbre.training.loop import Training
from timbre.training.prefetch import ahead
from timbre.training.schedule import evaluation_steps, is_patient


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_root(tmp_path_factory.mktemp("root"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (withdraw_consent, r"^data/speakers\.yaml:2: ann took the consent back"),
        (without_a_recording, r"^ann: was taken out"),
    ],
    ids=["withdrawn", "taken out"],
)
def test_no_voice_is_learnt_whose_consent_was_withdrawn_or_that_was_taken_out(
    change: Callable[[Path], None], message: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(families, "load", lambda *_, **__: pytest.fail("no model is loaded before"))
    change(place)
    try:
        with pytest.raises(SourceError, match=message):
            stage.main(**arguments("refused"))
    finally:
        write_consent(place)
    assert not Path("refused").exists()


def test_a_run_that_was_killed_goes_on_and_gives_the_same_bytes(
    place: Path, tmp_path: Path, warm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    stage.main(**arguments("whole"))
    expected = contents(place / "whole")
    assert set(expected) == {
        "adapter/adapter_config.json", "adapter/adapter_model.safetensors", "adapter/training.json", "history.csv",
        *(f"points/00000{step}/adapter_{name}" for step in (2, 6) for name in ("config.json", "model.safetensors")),
    }  # fmt: skip
    speed = timing.read(Path("speed-whole.json"), Path("whole/adapter"))
    assert [row["step"] for row in speed] == list(range(1, 10))
    assert all(row["seconds"] > 0 and 0 <= row["waiting_percent"] <= 100 for row in speed)
    assert not list(Path(".timbre/train").iterdir()), "a finished run leaves no state"

    killed = subprocess.Popen(
        [warm / "python", "-m", "stages.train", *flags("resumed")], text=True, stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "", "WARM_PROCESS": str(tmp_path / "process")},
    )  # fmt: skip
    end = time.monotonic() + 240
    while not list(Path(".timbre/train").glob("*/adapter/state.pt")):
        assert killed.poll() is None, killed.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.005)
    os.kill(int((tmp_path / "process").read_text()), signal.SIGKILL)
    killed.wait()
    assert not Path("resumed").exists()
    stage.main(**arguments("resumed"))
    assert "goes on from step" in capsys.readouterr().out
    assert contents(place / "resumed") == expected
    again = timing.read(Path("speed-resumed.json"), Path("resumed/adapter"))
    assert [row["step"] for row in again] == list(range(1, 10)), "with those of before the kill"


def test_a_loss_that_is_no_number_is_told_with_its_step_before_anything_is_saved(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, seen = Training.learn, []

    def broken(self: Training, objective: Any, lesson: Any) -> dict[str, Any]:
        seen.append(learn(self, objective, lesson))
        return seen[-1] | ({"loss": seen[-1]["loss"] * math.nan} if len(seen) == 3 else {})

    monkeypatch.setattr(Training, "learn", broken)
    with pytest.raises(ModelError, match=r"train: the loss is nan at step 3; lower train.learning_rate"):
        trained(place, tmp_path, dataclasses.replace(PARAMS, eval_every=5))
    assert len(seen) == 5, "nobody looks at losses between evaluations"
    assert not list((tmp_path / "scratch").rglob("*.pt"))


def test_an_error_in_the_thread_that_makes_lessons_is_the_runs_error(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise DataError("0123456789abcdef: no such clip")

    monkeypatch.setattr(BatchOrder, "dialogues", broken)
    with pytest.raises(DataError, match="0123456789abcdef: no such clip"):
        trained(place, tmp_path)


def test_things_made_ahead_come_in_order_and_not_all_at_once() -> None:
    asked: list[int] = []

    def make(number: int) -> int:
        asked.append(number)
        return number * number

    made = ahead(make, range(100), count=3)
    assert [next(made) for _ in range(5)] == [0, 1, 4, 9, 16]
    made.close()
    assert asked == list(range(len(asked)))
    assert len(asked) <= 5 + 3
    assert list(ahead(make, range(2))) == [0, 1]


def test_the_loss_falls_and_the_best_adapter_is_what_the_voice_wears(place: Path, tmp_path: Path) -> None:
    voice, run = trained(place, tmp_path, dataclasses.replace(PARAMS, epochs=8))
    main = "eval_loss"
    evaluated = {int(row["step"]): row[main] for row in run.state.history if main in row}
    assert run.chosen_by == main, "the backbone's loss alone is lowest before the voice is learnt: docs/training.md"
    assert run.state.best_loss == evaluated[run.state.best_step] == min(evaluated.values()) < evaluated[0] - 0.1
    held, _ = utterances(place / "data/dataset/eval.jsonl", place / "data/codes")
    voice.model.eval()
    losses = voice.losses(voice.batch([[clip.turn] for clip in held], 1.0, 0))
    assert losses.total.item() == pytest.approx(run.state.best_loss, abs=1e-4)
    learnt = [weight for name, weight in voice.model.named_parameters() if weight.requires_grad]
    assert len(learnt) == 2 * 7 * 4, "every projection of both decoders has learnt"
    assert all(weight.abs().max() > 0 for weight in learnt)


def test_the_step_is_chosen_by_the_part_that_the_course_names(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CsmCourse, "main", "backbone")
    _, run = trained(place, tmp_path, dataclasses.replace(PARAMS, max_steps=4))
    evaluated = {int(row["step"]): row[run.chosen_by] for row in run.state.history if run.chosen_by in row}
    assert run.chosen_by == "eval_loss/backbone"
    assert run.state.best_loss == evaluated[run.state.best_step] == min(evaluated[2], evaluated[4])
    assert run.facts()["best_eval_loss"] == round(run.state.best_loss, 4)
    assert run.facts()["chosen_by"] == run.chosen_by


def test_two_batches_to_a_step_weigh_as_one_of_twice_the_size(place: Path, tmp_path: Path) -> None:
    _, run = trained(place, tmp_path, dataclasses.replace(PARAMS, accumulation=2))
    assert [row["step"] for row in run.state.history] == [0, 1, 2, 3, 4, 5]
    assert run.state.history[-1]["epoch"] == pytest.approx(10 / 3)


def test_evaluations_take_a_fixed_part_of_the_clips_and_a_share_of_the_work(place: Path, tmp_path: Path) -> None:
    held, _ = utterances(place / "data/dataset/eval.jsonl", place / "data/codes")
    many = [clip._replace(id=f"{clip.id}-{number}") for number in range(30) for clip in held]
    few = exam_clips(many, 5)
    assert len(few) == 5
    names = {clip.id for clip in few}
    assert len(names & {clip.id for clip in exam_clips(many[1:], 5)}) >= 4, "a clip that goes exchanges one at most"
    assert sorted(clip.id for clip in exam_clips(held, 50)) == sorted(clip.id for clip in held)
    assert evaluation_steps(5, exam=50.0, step=10.0, share=0.1) == 50
    assert evaluation_steps(5, exam=50.0, step=10.0, share=1.0) == 5
    clips, _ = utterances(place / "data/dataset/train.jsonl", place / "data/codes")
    voice: Any = families.load(base_of(place))
    rarely = dataclasses.replace(PARAMS, eval_clips=1, eval_cost=0.06, max_steps=9)
    (run,) = learn(voice, clips, held, rarely, CSM, tmp_path / "scratch")
    evaluated = [int(row["step"]) for row in run.state.history if "eval_loss" in row]
    assert evaluated[0] == 0
    assert 2 < evaluated[1] < 9 == evaluated[-1]
    assert run.whole
    voice.model.eval()
    losses = voice.losses(voice.batch([[clip.turn] for clip in held], 1.0, 0))
    assert run.whole["eval_loss/backbone"] == pytest.approx(losses.parts["backbone"].item(), abs=2e-4)
    assert run.facts()["all_held_out"] == run.whole


@pytest.mark.parametrize(
    ("epochs", "evaluations", "goes_on"),
    [(0.25, 6, True), (2.9, 30, True), (3.0, 2, True), (3.0, 3, False), (9.0, 9, False)],
)
def test_patience_counts_epochs_however_often_is_evaluated(epochs: float, evaluations: int, goes_on: bool) -> None:
    assert is_patient(dataclasses.replace(PARAMS, patience=3), epochs, evaluations) == goes_on
    assert is_patient(dataclasses.replace(PARAMS, patience=0), epochs, evaluations)


def test_states_are_written_by_seconds_points_always_and_the_last_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    weight = torch.nn.Parameter(torch.ones(2))
    optimiser = torch.optim.AdamW([weight])
    kept, state = Checkpoints(tmp_path, 2, 10, 1), TrainingState()

    def saved(step: int, **flags: bool) -> int:
        state.step = step
        weight.grad = torch.ones(2)
        optimiser.step()
        kept.save(state, lambda: {"w": weight.detach().clone()}, [optimiser], **flags)
        weight.grad = torch.ones(2)
        optimiser.step()  # the thread writes what was, whatever the training does meanwhile
        kept.wait()
        content = kept.read()
        assert content
        assert content["optimisers"][0]["state"][0]["step"] == 2 * content["state"]["step"] - 1
        return int(content["state"]["step"])

    assert [saved(1), saved(2), saved(3)] == [1, 1, 1]
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    assert saved(4) == 4
    monkeypatch.setattr(checkpoint, "SECONDS", 1000.0)
    assert [saved(5), saved(6, at_once=True)] == [4, 6]
    assert sorted(int(path.stem[6:]) for path in tmp_path.glob("point-*.pt")) == [2, 4, 6]
    monkeypatch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
    kept.save(state, dict, [optimiser], at_once=True)
    with pytest.raises(OSError, match="the disk is full"):
        kept.wait()


def test_patience_stops_a_run_that_gets_no_better(place: Path, tmp_path: Path) -> None:
    worse = dataclasses.replace(PARAMS, learning_rate=1e-9, patience=2, epochs=20)
    _, run = trained(place, tmp_path, worse)
    assert run.state.step < 60


def test_checkpointing_gives_the_same_losses(place: Path, tmp_path: Path) -> None:
    short = dataclasses.replace(PARAMS, max_steps=2, dropout=0.0)
    _, plain = trained(place, tmp_path / "a", short)
    _, saving = trained(place, tmp_path / "b", dataclasses.replace(short, gradient_checkpointing=True))
    for one, other in zip(plain.state.history, saving.state.history, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_half_precision_runs_on_this_device(place: Path, tmp_path: Path) -> None:
    _, run = trained(place, tmp_path, dataclasses.replace(PARAMS, max_steps=2, precision="bf16"))
    assert all(math.isfinite(row["eval_loss"]) for row in run.state.history if "eval_loss" in row)


def test_an_adapter_that_changes_nothing_is_an_error(place: Path, tmp_path: Path) -> None:
    _, run = trained(place, tmp_path, dataclasses.replace(PARAMS, max_steps=1))
    clips, _ = utterances(place / "data/dataset/train.jsonl", place / "data/codes")
    stage.check_effect(run.course, clips[0])
    run.course.set_weights({name: weight * 0 for name, weight in run.course.weights().items()})
    with pytest.raises(ModelError, match="the adapter changes nothing"):
        stage.check_effect(run.course, clips[0])


def test_of_a_long_clip_the_sentences_that_fit_are_heard_before_another(place: Path, tmp_path: Path) -> None:
    (tmp_path / "codes").mkdir()
    rows = []
    for number, ends in enumerate(([[5, 14.0]], [[5, 3.0], [12, 9.0], [20, 13.0]], [])):
        text = f"a{number}ne. b tree. c four. five"
        rows.append(Example("x", text, "ann", f"c{number}", "talk", 0, 20, 20, "en", ends))
        codes = to_bytes({"codes": np.arange(250 * CODEBOOKS, dtype=np.int16).reshape(250, -1)})
        (tmp_path / f"codes/c{number}.safetensors").write_bytes(codes)
        (tmp_path / f"codes/c{number}.json").write_text('{"key": "k"}')
    write_jsonl(tmp_path / "train.jsonl", rows)
    clips, _ = utterances(tmp_path / "train.jsonl", tmp_path / "codes", 12.0)
    assert [clip.opening and clip.opening.text for clip in clips] == [None, "a1ne. b tree", None]
    assert len(cast(Any, clips[1].opening).codes["codes"]) == 112, "nine of twenty seconds"
    talks = {talk[-1]: talk[:-1] for batch in told(course(clips, share=1.0)) for talk in batch}
    assert talks == {rows[0].text: ["a1ne. b tree"], rows[1].text: [], rows[2].text: ["a1ne. b tree"]}


def test_a_clip_that_is_too_long_for_the_model_is_named(place: Path) -> None:
    voice: Any = families.load(base_of(place))
    long = Utterance("0123456789abcdef", "ann", 82.0, Turn("ferry", {"codes": np.ones((2050, CODEBOOKS), np.int16)}))
    with pytest.raises(DataError, match=r"0123456789abcdef: its 82.0 s take \d+ of the model's 2048 positions"):
        check_lengths(voice, [long])


def test_a_clip_without_codes_is_named_and_an_empty_table_too(place: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"[0-9a-f]{16}: no codes of this clip in .*dvc repro encode"):
        utterances(place / "data/dataset/train.jsonl", tmp_path)
    (tmp_path / "eval.jsonl").write_text("")
    with pytest.raises(DataError, match=r"eval.jsonl: no clips"):
        utterances(tmp_path / "eval.jsonl", place / "data/codes")


def test_eight_bit_adamw_says_what_it_needs(place: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ModelError, match="adamw_8bit needs"):
        trained(place, tmp_path, dataclasses.replace(PARAMS, optimiser="adamw_8bit"))


def test_params_out_of_range_are_told_all_at_once() -> None:
    with pytest.raises(ValueError, match=r"(?s)rank: 0.*learning_rate: 0.*dropout: 2"):
        dataclasses.replace(PARAMS, rank=0, learning_rate=0.0, dropout=2.0)
