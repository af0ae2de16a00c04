"""Adapters whose answer is known, through training, `generate`, `evaluate`, gates and headline, on the tiny stack.

A short training of the demo's voice is the adapter that must be found. Nothing that only looks like one may pass: zeros
(which change nothing), noise of the same spread, its weights in another order, and a training on each other's texts.
`python -m benchmarks.known_answers` asks the same of the whole demo.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from ruamel.yaml import YAML
from safetensors.numpy import load_file, save_file

from stages import encode, evaluate, generate, train
from tests.support.shared import built_once
from timbre import audio
from timbre.core import params
from timbre.core.records import ADAPTER_WEIGHTS, Example, write_jsonl
from timbre.evaluation import metrics
from timbre.evaluation.metrics import Evidence
from timbre.project.transcripts import read as read_transcript
from timbre.report.verdict import verdict

ROOT = Path(__file__).parents[2]
LEARNT, HELD, PROMPTS = 40, 5, 8  # sentences
FEW = {
    "train": {"max_steps": 30, "eval_every": 30, "warmup": 3, "learning_rate": 0.0005, "points": 1, "epochs": 99},
    "generate": {"true_prompts": 0},
}
Array = np.ndarray


class JudgedAdapter(NamedTuple):
    root: Path
    evidence: Evidence

    @property
    def headline(self) -> str:
        return verdict(self.evidence).headline


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> JudgedAdapter:
    root = built_once(tmp_path_factory, "known-answers", build)
    return JudgedAdapter(root, metrics.read(root / "reports/details.json"))


def build(root: Path) -> None:
    write_project(root)
    with contextlib.chdir(root):
        encode.main(Path("data/clips"), Path("data/codes/csm"))
    learn(root)
    judge(root)


def write_project(root: Path) -> None:
    (root / "models").mkdir(parents=True)
    (root / "models/tiny").symlink_to(ROOT / "models/tiny")
    for name in ("clips", "dataset", "opinions"):
        (root / "data" / name).mkdir(parents=True)
    for name in ("speakers.yaml", "sources.yaml", "pronunciations.tsv"):
        shutil.copyfile(ROOT / "data" / name, root / "data" / name)
    document = params.load(ROOT / "params.yaml")
    for section, values in FEW.items():
        document[section] |= values
    with (root / "params.yaml").open("w") as stream:
        YAML().dump(document, stream)
    rows = sentences(root)
    write_jsonl(root / "data/dataset/eval.jsonl", rows[:HELD])
    write_jsonl(root / "data/dataset/train.jsonl", rows[HELD:])
    texts = [line for line in (ROOT / "benchmarks/development.txt").read_text().splitlines() if line[0] != "#"]
    prompts = (f"p{number}\tdomain\t{text}\n" for number, text in enumerate(texts[:PROMPTS]))
    (root / "data/prompts.tsv").write_text("id\tkind\ttext\n" + "".join(prompts))


def sentences(root: Path) -> list[Example]:
    """Cut as the transcript says."""
    name = "harbour-noon"
    lines = read_transcript(ROOT / f"data/transcripts/{name}.tsv").lines
    rows = []
    for number, line in enumerate([line for line in lines if len(line.text.split()) > 5][: HELD + LEARNT]):
        clip = f"{number:016x}"
        sound, rate = audio.read(ROOT / f"data/recordings/{name}.flac", None, line.start - 0.1, line.end + 0.1)
        (root / f"data/clips/{clip}.flac").write_bytes(audio.flac_bytes(sound, rate))
        path, seconds = f"data/clips/{clip}.flac", len(sound) / rate
        rows.append(Example(path, line.text, "marina", clip, name, line.start, line.end, seconds, "en"))
    return rows


def learn(root: Path) -> None:
    data, models = Path("data"), Path("models")
    with contextlib.chdir(root):
        train.main(
            data / "dataset", data / "codes/csm", models / "adapter", models / "points", models / "history.csv",
            models / "speed.json",
        )  # fmt: skip


def judge(root: Path) -> JudgedAdapter:
    """What lies in the root already, such as the samples of the base, is not made again."""
    data, reports = Path("data"), Path("reports")
    dataset, clips, codes = data / "dataset", data / "clips", data / "codes/csm"
    with contextlib.chdir(root):
        generate.main(
            data / "prompts.tsv", dataset, clips, codes, Path("models/adapter"), reports / "samples",
            reports / "speed.json",
        )  # fmt: skip
        evaluate.main(
            reports / "samples", dataset, clips, codes, data / "opinions", reports / "heard", reports / "embeddings",
            reports / "scores.csv", reports / "wer.csv", reports / "details.json", reports / "metrics.json",
            reports / "mos.json",
        )  # fmt: skip
    return JudgedAdapter(root, metrics.read(root / "reports/details.json"))


def with_weights(own: JudgedAdapter, root: Path, change: Callable[[Array], Array]) -> JudgedAdapter:
    shutil.copytree(own.root, root, symlinks=True)
    path = root / "models/adapter" / ADAPTER_WEIGHTS
    weights = load_file(path)
    path.unlink()  # may be linked to the entry of the training
    save_file({name: change(weights[name]) for name in sorted(weights)}, path, {"format": "pt"})
    return judge(root)


def passed(judged: JudgedAdapter) -> dict[str, bool]:
    return {name: gate.passed for name, gate in judged.evidence.gates.items()}


def test_print(own: JudgedAdapter, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    made = {
        "own": own,
        "zeros": with_weights(own, tmp_path / "zeros", np.zeros_like),
        "noise": with_weights(own, tmp_path / "noise", lambda w: random.normal(0, w.std(), w.shape).astype(w.dtype)),
        "permuted": with_weights(own, tmp_path / "permuted", lambda w: random.permutation(w.ravel()).reshape(w.shape)),
    }
    root = tmp_path / "shuffled"
    shutil.copytree(own.root, root, symlinks=True)
    from timbre.core.records import read_jsonl
    from dataclasses import replace
    rows = read_jsonl(root / "data/dataset/train.jsonl", Example)
    write_jsonl(root / "data/dataset/train.jsonl", [replace(r, text=o.text) for r, o in zip(rows, [*rows[1:], rows[0]])])
    learn(root)
    made["shuffled"] = judge(root)
    for name, one in made.items():
        print(name, one.headline)
        for gate, result in one.evidence.gates.items():
            print("    ", gate, result)
        print({n: (m.wer, m.similarity, m.named) for n, m in one.evidence.conditions.items()}, one.evidence.speaker)
    assert 0
