from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import Literal

import pytest

from tests.support.paths import ROOT
from timbre.core import params
from timbre.core.errors import ParamsError
from timbre.core.sections import Settings, section


@section
class Limits:
    strict: bool


@section
class Learning:
    rate: float
    steps: int
    kind: Literal["a", "b"]
    names: list[str]
    limit: int | None
    gates: Limits

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError("steps: must be at least 1")


@section
class Document:
    train: Learning


GOOD = {"rate": 1e-4, "steps": 3, "kind": "a", "names": ["x"], "limit": None, "gates": {"strict": True}}


def test_a_good_section_has_no_problems_and_becomes_its_dataclass() -> None:
    assert params.problems({"train": GOOD}, Document) == []
    assert Learning(**{**GOOD, "gates": Limits(True)}) == Learning(1e-4, 3, "a", ["x"], None, Limits(True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": "1e-4"}, "train.rate: '1e-4' is not a number"),
        ({"rate": True}, "train.rate: True is not a number"),
        ({"steps": 1.5}, "train.steps: 1.5 is not a whole number"),
        ({"steps": 0}, "train.steps: must be at least 1"),
        ({"kind": "c"}, "train.kind: 'c' is not one of a, b"),
        ({"names": "x"}, "train.names: 'x' is not a list of texts"),
        ({"limit": "many"}, "train.limit: 'many' is not a whole number or null"),
        ({"gates": {}}, "train.gates.strict: missing, expected true or false"),
        ({"gates": 3}, "train.gates: 3 is not a section"),
        ({"step": 3}, "train.step: unknown key; did you mean `train.steps`?"),
    ],
)
def test_a_wrong_value_is_told_with_its_key_and_what_was_expected(change: dict[str, object], message: str) -> None:
    assert params.problems({"train": {**GOOD, **change}}, Document) == [message]


def test_all_mistakes_are_told_at_once() -> None:
    found = params.problems({"tran": {}, "train": {"rate": "x", "stepz": 1}}, Document)
    assert len(found) == 8  # section, unknown key, one bad value, five missing


@pytest.mark.parametrize(
    ("base", "refused"), [("sesame/csm-1b", True), ("models/tiny/csm", False), ("mine/csm", False)]
)
def test_an_encoder_that_knows_the_tiny_voices_is_refused_beside_a_model_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str, refused: bool
) -> None:
    document = params.load(ROOT / "params.yaml")
    (tmp_path / "mine/csm").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    document["voice"]["base"] = base
    found = params.problems(document)
    assert [line.partition(":")[0] for line in found] == (["speaker.model"] if refused else [])


def test_a_whole_number_stays_whole_where_a_key_holds_it() -> None:
    """-23 and -23.0 are two content keys."""
    text = Path("params.yaml").read_text()
    assert re.search(r"loudness: -23 ", text)
    assert repr(params.read().chunk.loudness) == "-23"
    assert repr(params.read().chunk.gap) == "3.0"


def test_the_file_has_the_sections_and_keys_in_the_order_of_their_classes() -> None:
    document = params.load()
    fields = typing.get_type_hints(Settings)
    assert list(document) == list(fields)
    for name, hint in fields.items():
        assert list(document[name]) == list(typing.get_type_hints(hint)), name


def test_yaml_is_read_as_dvc_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("a: {rate: 1e-4, flag: no, code: 0123}\n")
    assert params.load(path) == {"a": {"rate": 1e-4, "flag": "no", "code": 123}}


def test_a_file_that_is_not_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("a: 1\nb: [1,\n")
    with pytest.raises(ParamsError, match=r"params\.yaml:\d: not YAML"):
        params.load(path)


def test_reading_one_section_checks_the_whole_file() -> None:
    """Nobody should wait for a transcription to learn of a typing error in `train`."""
    text = Path("params.yaml").read_text()
    assert "learning_rate:" in text
    broken = Path("broken.yaml")
    try:
        broken.write_text(text.replace("learning_rate:", "learningrate:"))
        with pytest.raises(ParamsError, match=r"learningrate: unknown key; did you mean `train.learning_rate`"):
            params.read(broken)
    finally:
        broken.unlink(missing_ok=True)


def test_a_file_that_is_read_twice_gives_two_documents(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("a:\n  b: [1]\n" + "c: " + "[" * 290 + "]" * 290 + "\n")
    params.load(path)["a"]["b"].append(2)
    assert params.load(path)["a"] == {"b": [1]}
