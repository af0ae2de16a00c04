"""reports/metrics.json is read as it was written, and as versions before this one wrote it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from timbre.core.errors import DataError
from timbre.evaluation import measures, metrics
from timbre.evaluation.metrics import Difference, Evidence, Gate, Metric, Speaker

OLD = {"cer": 0.089, "ended": 1.0, "errors": 19, "samples": 24, "seconds": 76.76, "silent": 0, "wer": 0.1022}
MADE = Evidence(
    conditions={"base": Metric(wer=0.123456, samples=24), "tuned": Metric(wer=0.1, similarity=0.8, named=1.0)},
    differences={"tuned-base": Difference(wer=-0.0235, wins=5, ties=2, losses=1)},
    speaker=Speaker(ceiling=0.95, floor=0.3),
    gates={"ends": Gate(True, 1.0, 0.5), "words": Gate(False, 0.12, 0.1)},
)


def test_what_is_written_is_read_again_rounded_and_sorted(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    metrics.write(path, MADE)
    held = json.loads(path.read_text())
    assert held["base"] == {"samples": 24, "wer": 0.1235}, "what was not measured is not in the file"
    assert list(held) == sorted(held)
    found = metrics.read(path)
    assert found.conditions["tuned"] == MADE.conditions["tuned"]
    assert (found.differences, found.speaker, found.gates) == (MADE.differences, MADE.speaker, MADE.gates)
    first = path.read_bytes()
    metrics.write(path, found)
    assert path.read_bytes() == first


def test_gates_are_told_in_their_order_with_those_that_failed() -> None:
    held = {"gates": {name: {"passed": name != "ends"} for name in sorted(measures.GATES)}}
    found = metrics.from_dict(held)
    assert list(found.gates) == list(measures.GATES)
    assert (found.failed, found.passed) == (["ends"], False)


def test_a_file_of_before_is_read_and_lacks_what_it_did_not_measure() -> None:
    found = metrics.from_dict(dict.fromkeys(metrics.CONDITIONS, OLD))
    assert found.conditions["tuned_clone"].errors == 19
    assert found.conditions["tuned_clone"].similarity is None
    assert (found.differences, found.speaker, found.gates, found.passed) == ({}, None, {}, False)


def test_what_a_later_version_may_add_is_left_out() -> None:
    found = metrics.from_dict({"base": OLD | {"mos": 4.1}, "weather": {"wind": 3}})
    assert found.conditions == {"base": Metric(**OLD)}  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["[]", "{", '{"base": 3}', '{"gates": {"words": {}}}'])
def test_another_file_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"metrics\.json: does not hold what"):
        metrics.read(path)
    with pytest.raises(DataError, match=r"cannot be read .* `dvc repro` makes it"):
        metrics.read(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("key", "value"), [("wer", "0.1"), ("wer", True), ("words", 1.5), ("words", [1]), ("samples", {})]
)
def test_a_value_of_another_type_is_refused_by_its_place(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^base\.{key}: .* is no (float|int)$"):
        metrics.from_dict({"base": OLD | {key: value}})


def test_values_get_the_types_that_they_are_declared_with() -> None:
    judge = {"name": "another ear", "base": 1, "tuned": None, "opposed": ["tuned-base"]}
    found = metrics.from_dict({"second": {"wer": judge}, "gates": {"words": {"passed": True, "value": 1}}})
    assert found.second["wer"] == metrics.SecondJudge("another ear", base=1.0, opposed=["tuned-base"])
    assert isinstance(found.gates["words"].value, float)
    for opposed in ("tuned", [1]):
        with pytest.raises(ValueError, match=r"second\.wer\.opposed"):
            metrics.from_dict({"second": {"wer": judge | {"opposed": opposed}}})
    with pytest.raises(ValueError, match=r"words\.passed: 1 is no bool"):
        metrics.from_dict({"gates": {"words": {"passed": 1}}})


def test_reading_needs_neither_numpy_nor_torch() -> None:
    code = "import sys, timbre.evaluation.metrics; print({'numpy', 'torch', 'pydantic'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_each_measure_is_a_row_of_the_table_and_a_field_of_what_is_written() -> None:
    ends = [f"{measure.name}_{end}" for measure in measures.COMPARED for end in ("low", "high")]
    names = {measure.name for measure in measures.MEASURES} | set(ends)
    assert names == {field.name for field in dataclasses.fields(Metric)}
    told = {field.name for field in dataclasses.fields(Difference)} - {"wins", "ties", "losses"}
    assert told == {measure.name for measure in measures.COMPARED} | set(ends)
    for measure in measures.MEASURES:
        assert measure.explained or measure.name in measures.AMOUNTS, "whoever reads the number can read what it is"
        assert measure.under in ("", *measures.BY_NAME)
        assert bool(measure.better) or measure.name in (*measures.AMOUNTS, "pauses")


@pytest.mark.parametrize(
    ("measure", "value", "text"),
    [("wer", 0.0537, "5.4%"), ("named", 0.7, "70%"), ("similarity", 0.8147, "0.815"), ("pace", 1.0017, "×1.00"),
     ("silent", 3, "3"), ("seconds", 105.68, "1:46"), ("cer", None, "–")],
)  # fmt: skip
def test_a_value_is_written_by_its_unit(measure: str, value: float | None, text: str) -> None:
    assert measures.BY_NAME[measure].text(value) == text


def test_a_rate_is_a_sum_over_a_sum_and_a_mean_leaves_out_who_has_no_value() -> None:
    rows = [
        SimpleNamespace(errors=3, words=8, pace=1.2, speech=2.0),
        SimpleNamespace(errors=0, words=4, pace=None, speech=0.0),
    ]
    assert measures.BY_NAME["wer"].total.of(rows) == 0.25
    assert measures.BY_NAME["pace"].total.of(rows) == pytest.approx(1.2)
    assert measures.BY_NAME["pace"].total.of(rows[1:]) is None
    assert measures.BY_NAME["samples"].total.of(rows) == 2


def test_the_headline_is_flat_and_fits_a_terminal(tmp_path: Path) -> None:
    evidence = Evidence(
        {"tuned_clone": Metric(wer=0.0246, similarity=0.93, named=0.92)},
        {"tuned_clone-base_clone": Difference(wer=-0.0041, similarity=0.2443)},
        gates={"words": Gate(True), "ends": Gate(False)},
    )
    metrics.write_headline(tmp_path / "metrics.json", evidence)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written == {
        "wer": 0.0246, "wer_added": -0.0041, "similarity": 0.93, "similarity_added": 0.2443, "named": 0.92,
        "gates_failed": 1,
    }  # fmt: skip
    assert len("  ".join(written)) < 70, "beside a run's name and parameters, `dvc exp show` stays within 100 columns"
    assert metrics.headline(Evidence()) == {}
