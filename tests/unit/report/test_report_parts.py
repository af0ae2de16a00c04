"""What the report's page is put together from: the verdict, charts, tables, players."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.fake_outputs import voice, write_outs
from tests.support.report_outs import made_up
from timbre.audio.watermark import detect
from timbre.core.records import Sample
from timbre.evaluation import metrics
from timbre.evaluation.metrics import (
    Difference,
    Evidence,
    Gate,
    HeardCondition,
    ListenerRecord,
    Metric,
    Preference,
)
from timbre.report import charts, people, sample_rows, sound, tables, training
from timbre.report.rates import rates
from timbre.report.verdict import verdict


def test_a_training_that_a_person_ended_is_told(tmp_path: Path) -> None:
    (facts := tmp_path / "training.json").write_text('{"steps": 40, "ended_early": true, "planned_steps": 120}')
    (history := tmp_path / "history.csv").write_text("step,train_loss,eval_loss\n40,2.5,2.6\n")
    (tmp_path / "points").mkdir()
    shown = training.read(facts, history, tmp_path / "points", [], tmp_path, None)
    assert shown.ended == "A person ended it early, at step 40 of 120."
    facts.write_text('{"steps": 120}')
    assert training.read(facts, history, tmp_path / "points", [], tmp_path, None).ended == ""


def test_an_adapter_that_is_its_only_point_is_heard_once(tmp_path: Path) -> None:
    write_outs(tmp_path)
    samples, facts = tmp_path / "reports/samples", tmp_path / "models/adapter/training.json"
    scores = sample_rows.read_scores(tmp_path / "reports/scores.csv", samples)
    rest = tmp_path / "models/history.csv", tmp_path / "reports/points", scores, samples, None
    titles = [[point.title for point in heard.points] for heard in training.read(facts, *rest).heard]
    assert titles == [["Base", "Step 36", "Step 72", "The adapter"]]
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"best_step": 72}))
    titles = [[point.title for point in heard.points] for heard in training.read(facts, *rest).heard]
    assert titles == [["Base", "Step 36", "The adapter"]]


@pytest.mark.parametrize(
    ("wer", "similarity", "headline"),
    [
        ((-0.1, -0.02), (0.1, 0.2), "better than cloning alone: more like the speaker, and easier to understand"),
        ((-0.1, 0.02), (0.1, 0.2), "better than cloning alone: more like the speaker, and about as easy to understand"),
        ((-0.1, 0.3), (0.1, 0.2), "more like the speaker than cloning alone, but it may be harder to understand"),
        ((0.01, 0.2), (0.1, 0.2), "more like the speaker than cloning alone, but harder to understand"),
        ((-0.1, 0.02), (-0.1, 0.2), "adds nothing clear to cloning alone"),
        ((0.01, 0.02), (-0.1, 0.2), "worse than cloning alone: harder to understand, and not clearly more like the"),
        ((-0.1, -0.02), (-0.2, -0.1), "easier to understand than cloning alone, but less like the speaker"),
        ((-0.1, -0.02), None, "This voice is easier to understand than cloning alone"),
        (None, None, "was not measured"),
    ],
)
def test_the_verdict_claims_only_what_the_intervals_show(
    wer: tuple[float, float] | None, similarity: tuple[float, float] | None, headline: str
) -> None:
    similarity = dict(zip(("similarity_low", "similarity_high"), similarity or (), strict=False))
    words = dict(zip(("wer_low", "wer_high"), wer or (), strict=False))
    gates = {"words": Gate(passed=wer is not None and wer[1] <= 0.1)}
    found = Evidence(differences={"tuned_clone-base_clone": Difference(**words, **similarity)}, gates=gates)
    assert headline in verdict(found).headline


@pytest.mark.parametrize(
    ("gate", "headline"),
    [("leakage", "Nothing can be said"), ("reference", "Nothing can be said"), ("named", "This voice is not the sp")],
)
def test_no_voice_is_called_better_where_the_measurement_is_void(gate: str, headline: str) -> None:
    good = made_up()
    void = dataclasses.replace(good, gates=good.gates | {gate: Gate(passed=False, value=0.0)})
    assert verdict(void).headline.startswith(headline)


def test_nothing_is_said_of_similarity_by_an_encoder_that_cannot_tell_the_speaker_from_others() -> None:
    good = made_up()
    assert verdict(good).headline.startswith("This voice is")
    blind = dataclasses.replace(good, speaker=dataclasses.replace(good.speaker, ceiling=0.61, floor=0.62))
    assert verdict(blind).headline.startswith("Nothing can be said of this voice’s similarity")


def test_intervals_are_drawn_to_scale() -> None:
    shown = rates(made_up())
    tuned = shown.conditions[3]
    assert [label for _, label in shown.axes["wer"].ticks] == ["0%", "10%", "20%", "30%"]
    wer = tuned.figures["wer"]
    assert (wer.at, wer.left, wer.width) == (36.0, pytest.approx(22.67), pytest.approx(31.66))
    assert [name for _, name in shown.axes["similarity"].marks] == ["other voices", "the speaker"]
    assert [gate.id for gate in shown.gates if not gate.passed] == ["ends"]


def test_a_value_without_an_interval_is_a_dot() -> None:
    metric = Metric(wer=0.2)
    shown = rates(Evidence(conditions={"base": metric, "tuned": dataclasses.replace(metric, wer=0.4)}))
    assert shown.conditions[0].figures["wer"] == charts.Interval(50.0, 50.0, 0.0)
    assert "similarity" not in shown.axes
    assert shown.versus == []


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (1.3, 4.9, [1, 2, 3, 4, 5]),
        (0, 3e-4, [0, 1e-4, 2e-4, 3e-4]),
        (2, 2, [2, 2.5]),
        (0, 0, [0, 1]),
    ],
)
def test_ticks_are_round_and_hold_the_data(low: float, high: float, expected: list[float]) -> None:
    assert charts.ticks(low, high, 5 if high > 10 else 4) == expected


def test_a_curve_that_was_never_measured_is_left_out() -> None:
    assert charts.draw("Loss", "step", [charts.ChartLine("evaluation", [], "eval")]) is None
    history = [{"step": "1", "train_loss": "3.0", "eval_loss": ""}]
    assert [chart.title for chart in training.curves(history)] == ["Loss"]
    assert training.sentences(history) == ("", "")


@pytest.mark.parametrize(("last", "told"), [("2.01", False), ("2.3", True)])
def test_over_fitting_is_pointed_out_where_the_last_step_is_clearly_worse(last: str, told: bool) -> None:
    losses = ["3.0", "2.0", last]
    best, overfit = training.sentences([{"step": str(5 * i), "eval_loss": loss} for i, loss in enumerate(losses)])
    assert "step 5, where the evaluation loss was lowest, 2.000" in best
    assert bool(overfit) == told
    if told:
        assert "by step 10 the evaluation loss had risen by 0.300 (15%) to 2.300" in overfit


def test_the_step_is_told_and_marked_by_the_loss_that_chose_it() -> None:
    rows = [("1", "9.0", "3.0", "1.0"), ("2", "5.0", "2.0", "1.2"), ("2", "4.0", "1.5", "1.4")]
    names = ("course", "eval_loss", "eval_loss/text", "eval_loss/main_part")
    history = [
        {"step": str(step), **dict(zip(names, values, strict=True))}
        for step, values in zip((5, 10, 15), rows, strict=True)
    ]
    best, overfit = training.sentences(history, "eval_loss/main_part")
    assert best == "The adapter is the one of step 10, where the main part’s evaluation loss was lowest, 1.200."
    assert "by step 15 the main part’s evaluation loss had risen by 0.200 (17%) to 1.400" in overfit
    charts = {chart.title: "best, step 10" in str(chart) for chart in training.curves(history, "eval_loss/main_part")}
    assert charts == {"Loss": True, "Text loss": False, "Main part loss": True}


def test_the_parts_of_the_loss_are_drawn_as_the_family_names_them() -> None:
    names = ("eval_loss", "eval_loss/text", "eval_loss/codebook/1", "eval_loss/codebook/2-4", "train_loss/text")
    history = [{"step": str(step), **dict.fromkeys(names, "2.5")} for step in (1, 2)]
    assert training.parts(history) == {"text": [], "codebook": ["1", "2-4"]}
    assert [chart.title for chart in training.curves(history)] == ["Loss", "Text loss", "Evaluation loss by codebook"]


def test_a_comparison_is_read_word_by_word_and_loses_none() -> None:
    pieces = sample_rows.words("train [-5-] {+55+} to [pier] {+the+} [-{sea}-]")
    assert [(piece.kind, piece.text) for piece in pieces] == [
        ("right", "train"), ("missed", "5"), ("added", "55"), ("right", "to [pier]"), ("added", "the"),
        ("missed", "{sea}"),
    ]  # fmt: skip


def test_a_table_in_the_terminal_is_aligned_and_leaves_out_what_nobody_measured() -> None:
    lines = list(tables.terminal(made_up()))
    assert len({len(line) for line in lines[:5]}) == 1
    assert "similarity of the speaker’s own clips 0.900, of other voices 0.310" in lines[-1]
    old = metrics.from_dict({"base": {"wer": 0.5, "ended": 1.0}})
    assert list(tables.terminal(old)) == ["      wrong words  ended", "Base        50.0%   100%"]


def test_a_player_holds_the_whole_sound_in_less_than_half_of_the_bytes(tmp_path: Path) -> None:
    samples = voice(4.0, seed=3) + np.random.default_rng(0).normal(0, 0.01, 64_000).astype(np.float32)  # breath
    for rate, kept in ((16_000, 16_000), (48_000, 24_000)):
        path = tmp_path / f"{rate}.flac"
        soundfile.write(path, samples, rate, subtype="PCM_16")
        held = base64.b64decode(sound.sound(path).mp3)
        heard, rate_heard = soundfile.read(io.BytesIO(held))
        assert rate_heard == kept
        assert len(heard) == pytest.approx(len(samples) * kept / rate, abs=2)
        assert len(held) < path.stat().st_size / 2
    part = sound.sound(tmp_path / "16000.flac", 1.0, 2.5)
    assert part.seconds == 1.5
    assert base64.b64decode(part.picture).startswith(b"\x89PNG")


def test_a_player_of_a_spoken_sample_says_that_it_is_synthetic_and_one_of_a_recording_does_not(tmp_path: Path) -> None:
    key = "d3979b06" * 4
    path = tmp_path / "tuned-ferry-0.flac"
    level = 0.06 + 0.03 * np.sin(np.arange(64_000) / 16_000 * 2 * np.pi * 3)
    soundfile.write(path, level * np.random.default_rng(0).normal(0, 1, 64_000), 16_000, subtype="PCM_16")
    spoken = Sample("tuned-ferry-0", "tuned", "ferry", "domain", "The ferry.", None, 0, None, "a", "b", 4.0, True, "k")
    with soundfile.SoundFile(io.BytesIO(base64.b64decode(sound.spoken(path, spoken, key).mp3))) as file:
        assert json.loads(file.comment) == {"synthetic": True, "generator": "timbre", "voice": key}
        found = detect(file.read(dtype="float32"), file.samplerate)
    assert found is not None
    assert found.payload == key[:8]
    assert sound.spoken(path, spoken, key).picture == sound.sound(path).picture, "of what was measured"
    with soundfile.SoundFile(io.BytesIO(base64.b64decode(sound.sound(path).mp3))) as file:
        assert file.comment == ""
        assert detect(file.read(dtype="float32"), file.samplerate) is None


def test_what_people_prefer_is_told_beside_the_machines_numbers() -> None:
    evidence = Evidence(
        preferences={
            "tuned_clone-base_clone": Preference(0.78, 0.66, 0.87, 48, 2, 0.9, 0.8, 0.95, -0.1, 0.62),
        },
        heard={"tuned_clone": HeardCondition(81.4, 76.0, 86.0, 6)},
        listeners={
            "ann": ListenerRecord(26, 6, 6, True),
            "bob": ListenerRecord(26, 6, 5, True),
            "rob": ListenerRecord(26, 6, 1, False, "answered 1 of 6 catch trials as expected"),
        },
    )
    assert list(people.sentences(evidence)) == [
        "Tuned + cloning over base + cloning: 78% (66–87) of 48 answers prefer it; "
        "told apart in 90% (80–95) of ABX trials",
        "Tuned + cloning: rated 81 (76–86) of 100 against the true recording",
        "not counted: rob answered 1 of 6 catch trials as expected",
    ]
    shown = people.people(evidence)
    assert shown is not None
    assert (shown.listeners, shown.rows[0].with_words, shown.rows[0].with_similarity) == (
        "2 listeners",
        "−0.10",
        "+0.62",
    )
    assert people.people(Evidence()) is None, "where nobody listened, nothing is told of people"
