"""`timbre value` on a random model: a clip with a planted opposite is worth least, and nothing is computed twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from stages import train
from tests.support.tiny_models import CSM
from tests.support.training_root import PARAMS, arguments, base_of, training_root
from timbre import families
from timbre.commands import cli
from timbre.families import Lora
from timbre.training.batches import utterances
from timbre.training.influence import influences, read_moments


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained voice."""
    root = training_root(tmp_path_factory.mktemp("root"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        train.main(**arguments("models"))
        (root / "data/codes/csm").symlink_to(root / "data/codes")
    return root


def test_value_lists_each_clip_once_and_keeps_what_it_computed(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    assert cli.execute(["value", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    clips, _ = utterances(Path("data/dataset/train.jsonl"), Path("data/codes"))
    assert sorted(row["clip"] for row in first["rows"]) == sorted(clip.id for clip in clips)
    assert first["steps"] == sorted(first["steps"])
    assert first["steps"][0] == 0
    assert all(len(row[name]) == len(first["steps"]) for row in first["rows"] for name in ("losses", "alignments"))
    assert len({tuple(row["gains"]) for row in first["rows"]}) == len(clips)

    monkeypatch.setattr(families, "load", lambda *_, **__: pytest.fail("the model was loaded again"))
    assert cli.execute(["value", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert cli.execute(["value"]) == 0
    assert f"of {len(clips)}; the most harmful come first" in capsys.readouterr().out


def test_a_clip_of_the_held_out_sentences_themselves_agrees_with_them_most(place: Path) -> None:
    clips, _ = utterances(place / "data/dataset/train.jsonl", place / "data/codes")
    held, _ = utterances(place / "data/dataset/eval.jsonl", place / "data/codes")
    voice: Any = families.load(base_of(place))
    course = voice.courses(Lora(PARAMS.rank, PARAMS.alpha, PARAMS.rslora, PARAMS.dropout), CSM)[0]
    torch.manual_seed(PARAMS.seed)
    course.meet([clip.turn for clip in clips])
    course.begin()
    moments = read_moments(place / "models/adapter", place / "models/points")
    found = influences(course, moments, [*clips, held[0]], held[:1])
    assert found[-1].alignments == pytest.approx([1.0] * len(moments))
    assert all(one < 0.999 for row in found[:-1] for one in row.alignments)
    again = influences(course, moments, clips[:1], held[:1])
    assert again == found[:1], "the moments are set anew each time, and nothing is drawn by lot"
