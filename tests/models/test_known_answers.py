"""An adapter that learnt nothing, through `generate`, `evaluate`, gates and headline: it may not be called better.

Its weights are noise of the spread that the demo's have, so every sample is another one than the base's. Zeros, which
would leave every sample as it is, are refused before anything is spoken. Adapters that need a training (its weights in
another order, texts of other clips) are asked by `python -m benchmarks.known_answers`.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML
from safetensors.numpy import load_file, save_file

from stages import encode, evaluate, generate
from tests.support.paths import ROOT
from tests.support.shared import built_once
from timbre import audio, families
from timbre.core import params
from timbre.core.errors import ModelError
from timbre.core.records import ADAPTER_WEIGHTS, Example, write_jsonl
from timbre.core.sections import Settings
from timbre.evaluation import metrics
from timbre.evaluation.metrics import Evidence
from timbre.project.transcripts import read as read_transcript
from timbre.report.verdict import verdict

HELD, PROMPTS = 4, 6  # sentences
SPREAD = {"lora_A": 0.043, "lora_B": 0.0026}  # medians of the demo's adapter
DATA, REPORTS, ADAPTER = Path("data"), Path("reports"), Path("models/adapter")
Array = np.ndarray


def build(root: Path) -> None:
    """A project with noise for an adapter, spoken and judged."""
    write_project(root)
    with contextlib.chdir(root):
        encode.main(DATA / "clips", DATA / "codes/csm")
        random = np.random.default_rng(0)
        write_adapter(params.read(), lambda name, weight: random.normal(0, spread(name), weight.shape))
        speak()
        evaluate.main(
            REPORTS / "samples", DATA / "dataset", DATA / "clips", DATA / "codes/csm", DATA / "opinions",
            REPORTS / "heard", REPORTS / "embeddings", REPORTS / "scores.csv", REPORTS / "wer.csv",
            REPORTS / "details.json", REPORTS / "metrics.json", REPORTS / "mos.json",
        )  # fmt: skip


def write_project(root: Path) -> None:
    (root / "models").mkdir(parents=True)
    for name in ("timbre", "stages", "models/tiny"):
        (root / name).symlink_to(ROOT / name)
    for name in ("clips", "dataset", "opinions"):
        (root / "data" / name).mkdir(parents=True)
    for name in ("speakers.yaml", "sources.yaml", "pronunciations.tsv"):
        shutil.copyfile(ROOT / "data" / name, root / "data" / name)
    document = params.load(ROOT / "params.yaml")
    document["generate"]["true_prompts"] = 0
    with (root / "params.yaml").open("w") as stream:
        YAML().dump(document, stream)
    rows = sentences(root, HELD + 1)
    write_jsonl(root / "data/dataset/eval.jsonl", rows[:HELD])
    write_jsonl(root / "data/dataset/train.jsonl", rows[HELD:])
    texts = [line for line in (ROOT / "benchmarks/development.txt").read_text().splitlines() if line[0] != "#"]
    prompts = (f"p{number}\tdomain\t{text}\n" for number, text in enumerate(texts[:PROMPTS]))
    (root / "data/prompts.tsv").write_text("id\tkind\ttext\n" + "".join(prompts))


def sentences(root: Path, count: int) -> list[Example]:
    """Of the demo's speaker, cut as the transcript says."""
    name, rows = "harbour-noon", []
    lines = read_transcript(ROOT / f"data/transcripts/{name}.tsv").lines
    for number, line in enumerate([line for line in lines if len(line.text.split()) > 5][:count]):
        clip = f"{number:016x}"
        sound, rate = audio.read(ROOT / f"data/recordings/{name}.flac", None, line.start - 0.1, line.end + 0.1)
        (root / f"data/clips/{clip}.flac").write_bytes(audio.flac_bytes(sound, rate))
        path, seconds = f"data/clips/{clip}.flac", len(sound) / rate
        rows.append(Example(path, line.text, "marina", clip, name, line.start, line.end, seconds, "en"))
    return rows


def write_adapter(settings: Settings, change: Callable[[str, Array], Array]) -> None:
    voice, train = families.load(settings.voice), settings.train
    lora = families.Lora(train.rank, train.alpha, train.rslora, train.dropout)
    voice.courses(lora, settings.csm)[0].begin()
    voice.save_adapter(ADAPTER)
    path = ADAPTER / ADAPTER_WEIGHTS
    weights = load_file(path)
    path.unlink()
    changed = {name: change(name, weights[name]).astype(weights[name].dtype) for name in sorted(weights)}
    save_file(changed, path, {"format": "pt"})
    (ADAPTER / "training.json").write_text('{"best_step": 1}\n')


def spread(name: str) -> float:
    return next(value for part, value in SPREAD.items() if part in name)


def speak() -> None:
    generate.main(
        DATA / "prompts.tsv", DATA / "dataset", DATA / "clips", DATA / "codes/csm", ADAPTER, REPORTS / "samples",
        REPORTS / "speed.json",
    )  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_once(tmp_path_factory, "known-answers", build)


@pytest.fixture(scope="module")
def noise(root: Path) -> Evidence:
    return metrics.read(root / "reports/details.json")


def test_an_adapter_of_noise_is_another_voice_and_not_called_better(root: Path, noise: Evidence) -> None:
    base, tuned = (
        {path.name.split("-", 1)[1]: path.read_bytes() for path in (root / "reports/samples").glob(f"{name}-*.flac")}
        for name in ("base_clone", "tuned_clone")
    )
    assert len(base) == PROMPTS
    assert all(base[name] != tuned[name] for name in base), "noise changes every sample, which once passed a gate"
    assert not noise.passed
    assert "better" not in verdict(noise).headline
    assert not noise.gates["similarity"].passed


def test_an_adapter_of_zeros_is_refused_before_it_speaks(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "zeros", symlinks=True)
    with contextlib.chdir(tmp_path / "zeros"):
        write_adapter(params.read(), lambda name, weight: np.zeros_like(weight))
        with pytest.raises(ModelError, match="models/adapter changes nothing in the base model"):
            speak()
