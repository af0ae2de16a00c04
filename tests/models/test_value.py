"""`timbre value` on a random model: a clip with a planted opposite is worth least, and nothing is computed twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import value as benchmark
from stages import train
from tests.support.tiny_models import CSM
from tests.support.training_root import PARAMS, ROOT, arguments, base_of, training_root
from timbre import families
from timbre.commands import cli
from timbre.core import params
from timbre.core.records import Label
from timbre.families import Lora, Turn
from timbre.training.batches import Utterance, utterances
from timbre.training.influence import Influence, influences, read_moments


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


def test_the_benchmark_counts_what_is_named_and_what_mending_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [*benchmark.KINDS, *[""] * 36]
    true = [Utterance(f"clip{place}", "ann", 1.0, Turn("The ferry waits.")) for place in range(40)]
    clips = [
        clip._replace(turn=Turn("A spoilt clip.")) if kind else clip for clip, kind in zip(true, kinds, strict=True)
    ]
    labels = {
        clip.id: Label(clip.id, "noon", 0.0, 1.0, clip.turn.text, "", 0.2 * (kind in benchmark.KINDS[:3]), None)
        for clip, kind in zip(clips, kinds, strict=True)
    }
    draw = benchmark.PlantedDraw(true, clips, kinds, labels)
    found = [
        Influence(
            clip.id,
            [4.0, 3.0],
            [0.1, 0.1],
            [0.1 + 0.01 * (place % 5)] * 2,
            [9.0 if place == 3 else 1 + 0.1 * (place % 3)] * 2,
        )
        for place, clip in enumerate(clips)
    ]
    scores = benchmark.signs(draw, found)
    both, check, *_, lot = benchmark.found([draw], [scores]).rows
    assert (both.name, both.extra["precision and recall at k"]) == ("label check and gradients", "1.00")
    assert (check.extra["precision and recall at k"], check.extra["noise, at 2 k"]) == ("0.75", "0.00")
    assert lot.extra["precision and recall at k"] == "0.10"

    def taught(settings: Any, clips: Any) -> benchmark.TaughtVoice:
        spoilt = sum(clip.turn.text == "A spoilt clip." for clip in clips)
        return benchmark.TaughtVoice(4.0 + 0.1 * spoilt, 1.0, [])

    monkeypatch.setattr(benchmark, "taught", taught)
    rows = benchmark.mended(params.read(ROOT / "params.yaml"), [draw], [scores], [taught(None, clips)]).rows
    changes = {row.name: str(row.extra["held-out loss"]).partition(" ")[0] for row in rows}
    assert changes["named mended"] == changes["named dropped"] == changes["all errors mended"] == "−0.4000"
    assert changes["another seed"] == "+0.0000"
    assert float(changes["named by the check dropped"].replace("−", "-")) == pytest.approx(-0.3, abs=0.11)
