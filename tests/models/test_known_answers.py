"""Adapters and data whose answer is known, through `generate`, `evaluate`, gates and headline: nonsense may not pass.

Beside an adapter that learnt the voice stand noise of its spread, its own weights in another order, one that learnt the
texts of other clips, another speaker's reference, and training data in which what is judged was learnt. Zeros, which
would leave every sample as it is, are refused before anything is spoken. `tests/golden/adapters` holds what training
gives at rank 4; `python -m benchmarks.known_answers --small tests/golden/adapters` trains it anew, after another base
model. The same without `--small` asks the demo's own adapter, over all prompts.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import replace
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
from timbre.core.records import ADAPTER_WEIGHTS, Example, read_jsonl, write_jsonl
from timbre.core.sections import Settings
from timbre.evaluation import metrics, score_rows
from timbre.evaluation.metrics import Evidence
from timbre.evaluation.score_rows import ScoreRow
from timbre.project.prompts import read_prompts
from timbre.project.transcripts import read as read_transcript
from timbre.report.verdict import VOID, verdict

HELD = 4  # sentences
PROMPTS = slice(9, 13)  # of the development sentences: where so small an adapter clearly has the voice
RANK = 4  # of the adapters in LEARNT
LEARNT = ROOT / "tests/golden/adapters"
DATA, REPORTS = Path("data"), Path("reports")
Array = np.ndarray


def build(root: Path) -> None:
    """A project whose adapters are spoken and judged one after the other; the base's samples stay."""
    write_project(root)
    with contextlib.chdir(root):
        encode.main(DATA / "clips", DATA / "codes/csm")
        learnt, shuffled = (load_file(LEARNT / f"{name}.safetensors") for name in ("true", "shuffled"))
        random = np.random.default_rng(0)
        adapters: dict[str, Callable[[str, Array], Array]] = {
            "shuffled": lambda name, weight: shuffled[name],
            "permuted": lambda name, weight: random.permutation(learnt[name].ravel()).reshape(weight.shape),
            "noise": lambda name, weight: random.normal(0, learnt[name].astype(float).std(), weight.shape),
            "true": lambda name, weight: learnt[name],
        }
        for name, change in adapters.items():
            write_adapter(Path(name), params.read(), change)
            judge(name, Path(name))
        shutil.copytree(DATA / "dataset", "own")
        for name, rows in changed_data(root).items():
            write_jsonl(DATA / "dataset/train.jsonl", rows)
            judge(name, Path("true"))


def changed_data(root: Path) -> dict[str, list[Example]]:
    """Training data with which the same adapter may not pass: it holds what is judged, or another speaker's clip."""
    held, learnt = (read_jsonl(root / f"own/{name}.jsonl", Example) for name in ("eval", "train"))
    prompt = read_prompts(root / "data/prompts.tsv")[0].text
    reference, other = learnt
    longer = replace(other, text=f"{other.text} {prompt} Thank you.")
    twice = [replace(row, recording="the-same-recording") for row in held]
    stranger = write_clip(root, audio.read(ROOT / "models/tiny/voices/edda/0.flac"), 99)
    return {
        "leaked clip": [*learnt, held[0]],
        "leaked sentence": [reference, longer],
        "recording twice": [*learnt, *twice],
        "another's reference": [replace(reference, id=stranger, audio=f"data/clips/{stranger}.flac"), other],
    }


def judge(name: str, adapter: Path) -> None:
    """Speak what is new, judge all, and keep what was said of it."""
    encode.main(DATA / "clips", DATA / "codes/csm")
    generate.main(
        DATA / "prompts.tsv", DATA / "dataset", DATA / "clips", DATA / "codes/csm", adapter, REPORTS / "samples",
        REPORTS / "speed.json",
    )  # fmt: skip
    evaluate.main(
        REPORTS / "samples", DATA / "dataset", DATA / "clips", DATA / "codes/csm", DATA / "opinions",
        REPORTS / "heard", REPORTS / "embeddings", REPORTS / "scores.csv", REPORTS / "wer.csv",
        REPORTS / "details.json", REPORTS / "metrics.json", REPORTS / "mos.json",
    )  # fmt: skip
    shutil.copyfile(REPORTS / "details.json", f"{name}.json")
    shutil.copyfile(REPORTS / "scores.csv", f"{name}.csv")


def write_project(root: Path) -> None:
    (root / "models").mkdir(parents=True)
    for name in ("timbre", "stages", "models/tiny"):
        (root / name).symlink_to(ROOT / name)
    for name in ("clips", "dataset", "opinions"):
        (root / "data" / name).mkdir(parents=True)
    for name in ("speakers.yaml", "sources.yaml", "pronunciations.tsv"):
        shutil.copyfile(ROOT / "data" / name, root / "data" / name)
    document = params.load(ROOT / "params.yaml")
    document["generate"] |= {"true_prompts": 0, "cap_seconds": 1.0, "cap_seconds_per_character": 0.08}
    document["train"]["rank"] = RANK
    with (root / "params.yaml").open("w") as stream:
        YAML().dump(document, stream)
    rows = sorted(sentences(root, HELD + 2), key=lambda row: -row.seconds)  # the longest is cloned
    write_jsonl(root / "data/dataset/train.jsonl", rows[:2])
    write_jsonl(root / "data/dataset/eval.jsonl", rows[2:])
    texts = [line for line in (ROOT / "benchmarks/development.txt").read_text().splitlines() if line[0] != "#"]
    prompts = (f"p{number}\tdomain\t{text}\n" for number, text in list(enumerate(texts))[PROMPTS])
    (root / "data/prompts.tsv").write_text("id\tkind\ttext\n" + "".join(prompts))


def sentences(root: Path, count: int) -> list[Example]:
    """Of the demo's speaker, cut as the transcript says."""
    name, rows = "harbour-noon", []
    lines = read_transcript(ROOT / f"data/transcripts/{name}.tsv").lines
    for number, line in enumerate([line for line in lines if len(line.text.split()) > 5][:count]):
        sound, rate = audio.read(ROOT / f"data/recordings/{name}.flac", None, line.start - 0.1, line.end + 0.1)
        clip, seconds = write_clip(root, (sound, rate), number), len(sound) / rate
        path = f"data/clips/{clip}.flac"
        rows.append(Example(path, line.text, "marina", clip, name, line.start, line.end, seconds, "en"))
    return rows


def write_clip(root: Path, sound: tuple[Array, int], number: int) -> str:
    clip = f"{number:016x}"
    (root / f"data/clips/{clip}.flac").write_bytes(audio.flac_bytes(*sound))
    return clip


def write_adapter(folder: Path, settings: Settings, change: Callable[[str, Array], Array]) -> None:
    voice, train = families.load(settings.voice), settings.train
    lora = families.Lora(train.rank, train.alpha, train.rslora, train.dropout)
    voice.courses(lora, settings.csm)[0].begin()
    voice.save_adapter(folder)
    path = folder / ADAPTER_WEIGHTS
    weights = load_file(path)
    path.unlink()
    changed = {name: change(name, weights[name]).astype(weights[name].dtype) for name in sorted(weights)}
    save_file(changed, path, {"format": "pt"})
    (folder / "training.json").write_text('{"best_step": 1}\n')


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_once(tmp_path_factory, "known-answers", build)


def judged(root: Path, name: str) -> tuple[Evidence, str]:
    evidence = metrics.read(root / f"{name}.json")
    return evidence, verdict(evidence).headline


def test_what_learnt_the_voice_passes_every_gate(root: Path) -> None:
    evidence, headline = judged(root, "true")
    assert evidence.failed == [], "or nothing is shown by what fails"
    assert evidence.gates["named"].value == 1, "and not by a hair"
    assert headline.startswith("This voice is better than cloning alone")


@pytest.mark.parametrize("name", ["noise", "permuted", "shuffled"])
def test_an_adapter_that_learnt_nothing_of_the_voice_is_not_called_better(root: Path, name: str) -> None:
    evidence, headline = judged(root, name)
    assert {"similarity", "named"} <= set(evidence.failed)
    assert evidence.gates["named"].value == 0, "and not by a hair"
    assert headline == VOID["named"]
    assert evidence.gates["reference"].passed
    assert evidence.gates["leakage"].passed


def test_noise_changes_every_sample_and_proves_nothing_by_it(root: Path) -> None:
    sounds = [dict(rows(root / f"{name}.csv")) for name in ("true", "noise")]
    assert sounds[0].keys() == sounds[1].keys()
    tuned = [name for name in sounds[0] if name.startswith("tuned")]
    assert all(sounds[0][name] != sounds[1][name] for name in tuned)
    assert all(sounds[0][name] == sounds[1][name] for name in sounds[0].keys() - set(tuned)), "the base is as it was"


def rows(table: Path) -> list[tuple[str, ScoreRow]]:
    return [(row.sample, row) for row in score_rows.read(table.read_bytes())]


@pytest.mark.parametrize(("name", "leaks"), [("leaked clip", 1), ("leaked sentence", 1), ("recording twice", HELD)])
def test_what_was_learnt_and_is_judged_voids_a_voice_that_passed(root: Path, name: str, leaks: int) -> None:
    evidence, headline = judged(root, name)
    assert evidence.failed == ["leakage"]
    assert evidence.gates["leakage"].value == leaks
    assert headline == VOID["leakage"]


def test_a_clip_of_another_speaker_voids_a_voice_that_passed(root: Path) -> None:
    evidence, headline = judged(root, "another's reference")
    assert "reference" in evidence.failed
    assert evidence.gates["reference"].value == 0
    assert headline == VOID["reference"]


def test_an_adapter_of_zeros_is_refused_before_it_speaks(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "zeros", symlinks=True)
    with contextlib.chdir(tmp_path / "zeros"):
        write_adapter(Path("nothing"), params.read(), lambda name, weight: np.zeros_like(weight))
        with pytest.raises(ModelError, match="nothing changes nothing in the base model"):
            judge("zeros", Path("nothing"))
