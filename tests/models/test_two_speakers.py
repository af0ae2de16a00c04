"""Two speakers on the tiny stack, learnt, spoken and judged by the stages themselves: each has a voice of its own."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ruamel.yaml import YAML

from stages import encode, evaluate, generate, listen, report, track, train
from tests.support.paths import ROOT
from tests.support.shared import built_once
from timbre import audio
from timbre.core import params
from timbre.core.records import Example, Sample, from_json, write_jsonl
from timbre.evaluation import metrics
from timbre.evaluation.speaker_encoder import centre, unit
from timbre.report import sound_pictures, tables
from timbre.tracking.version import TrackedFiles
from timbre.versions.sample_sounds import version_voice
from timbre.versions.snapshot import WorkTree

SPEAKERS = ("pia", "rasmus")  # voices of models/tiny/voices, with two sentences each: one to learn, one held out
SAID = ("The ferry returns from Penzance after twenty with passengers.",
        "The night captain returns to the lighthouse with music.")  # fmt: skip
CONSENT = "{by: nobody, when: 2026-01-01, for: tests, evidence: null}"
FEW = {
    "train": {
        "max_steps": 8,
        "eval_every": 4,
        "batch": 2,
        "warmup": 1,
        "learning_rate": 0.001,
        "points": 2,
        "epochs": 99,
    },
    "generate": {"true_prompts": 0},
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project in which the stages from `encode` to `evaluate` have run, to be read and not to be written to."""
    root = built_once(tmp_path_factory, "two-speakers", build)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


def build(root: Path) -> None:
    write_project(root)
    data, reports = Path("data"), Path("reports")
    dataset, clips, codes = data / "dataset", data / "clips", data / "codes/csm"
    adapter, samples, history = Path("models/adapter"), reports / "samples", Path("models/history.csv")
    with contextlib.chdir(root):
        encode.main(clips, codes)
        train.main(dataset, codes, adapter, Path("models/points"), history, Path("models/speed.json"))
        generate.main(data / "prompts.tsv", dataset, clips, codes, adapter, samples, reports / "speed.json")
        listen.main(data / "prompts.tsv", samples, dataset, codes, Path("models/points"), reports / "points")
        evaluate.main(
            samples, dataset, clips, codes, data / "opinions", reports / "heard", reports / "embeddings",
            reports / "scores.csv", reports / "wer.csv", reports / "details.json", reports / "metrics.json",
            reports / "mos.json",
        )  # fmt: skip


def write_project(root: Path) -> None:
    (root / "models").mkdir(parents=True)
    for name in ("timbre", "stages", "models/tiny", "dvc.yaml"):
        (root / name).symlink_to(ROOT / name)
    document = params.load(ROOT / "params.yaml")
    for section, values in FEW.items():
        document[section] |= values
    with (root / "params.yaml").open("w") as stream:
        YAML().dump(document, stream)
    (root / "data/clips").mkdir(parents=True)
    (root / "data/opinions").mkdir()
    (root / "data/dataset").mkdir()
    (root / "data/dataset/rejected.jsonl").touch()
    rows = [[example(root, name, number, place) for number, name in enumerate(SPEAKERS)] for place in (0, 1)]
    for table, some in zip(("train", "eval"), rows, strict=True):
        write_jsonl(root / f"data/dataset/{table}.jsonl", some)
    (root / "data/prompts.tsv").write_text(
        "id\tkind\ttext\none\tdomain\tThe night ferry from Dublin arrives after five.\n"
    )
    (root / "data/pronunciations.tsv").write_text("language\tword\tspelling\n")
    people = (f"  {name}: {{name: {name}, number: {n}, consent: {CONSENT}}}\n" for n, name in enumerate(SPEAKERS))
    (root / "data/speakers.yaml").write_text("speakers:\n" + "".join(people))
    entry = "- {{id: {0}-talk, url: 'https://a.b/{0}', speaker: {0}, language: en, licence: CC0-1.0, consent: none}}\n"
    (root / "data/sources.yaml").write_text("".join(map(entry.format, SPEAKERS)))


def example(root: Path, speaker: str, number: int, place: int) -> Example:
    name, path = f"{speaker}{place}", ROOT / f"models/tiny/voices/{speaker}/{place}.flac"
    shutil.copyfile(path, root / f"data/clips/{name}.flac")
    samples, rate = audio.read(path)
    seconds, start = len(samples) / rate, 10.0 * place
    return Example(
        f"data/clips/{name}.flac", SAID[place], speaker, name, f"{speaker}-talk", start, start + seconds, seconds, "en",
        number=number,
    )  # fmt: skip


def embedding(name: str) -> np.ndarray:
    return unit(np.asarray(json.loads(Path(f"reports/embeddings/{name}.json").read_bytes())["embedding"]))


def test_tuned_samples_of_two_speakers_are_told_apart_by_the_encoder(judged: Path) -> None:
    voices = {name: centre([embedding(f"true-{name}1")]) for name in SPEAKERS}
    for name, other in (SPEAKERS, SPEAKERS[::-1]):
        spoken = embedding(f"tuned_clone-{name}-one-0")
        assert spoken @ voices[name] > spoken @ voices[other] + 0.2


def test_the_adapter_says_whom_it_learnt_by_which_number(judged: Path) -> None:
    training = json.loads(Path("models/adapter/training.json").read_bytes())
    assert training["speakers"] == {"pia": ["pia-talk"], "rasmus": ["rasmus-talk"]}
    assert training["numbers"] == {"pia": 0, "rasmus": 1}


def test_each_speaker_is_spoken_in_every_condition_after_a_clip_of_their_own(judged: Path) -> None:
    records = [
        from_json(path.read_text(), Sample, str(path)) for path in sorted(Path("reports/samples").glob("*.json"))
    ]
    assert sorted(sample.id for sample in records) == sorted(
        f"{condition}-{name}-one-0" for condition in metrics.CONDITIONS for name in SPEAKERS
    )
    assert {(s.speaker, s.reference) for s in records if s.reference} == {(name, f"{name}0") for name in SPEAKERS}


def test_each_speaker_is_heard_to_learn(judged: Path) -> None:
    steps = {path.name for path in Path("models/points").iterdir()}
    assert {path.stem for path in Path("reports/points").glob("*.flac")} == {
        f"{s}-{n}" for s in steps for n in SPEAKERS
    }
    training = json.loads(Path("models/adapter/training.json").read_bytes())
    way = sound_pictures.way(Path("reports/points"), Path("reports/samples"), training)
    assert {name for name, _, _ in way} == set(SPEAKERS)
    assert all(name in sound.name for name, _, sound in way)
    assert all(sound.is_file() for _, _, sound in way)


def test_scores_rates_and_gates_are_of_each_speaker_and_of_all(judged: Path) -> None:
    with Path("reports/scores.csv").open(newline="") as lines:
        assert {row["sample"]: row["speaker"] for row in csv.DictReader(lines)} == {
            f"{condition}-{name}-one-0": name for condition in metrics.CONDITIONS for name in SPEAKERS
        }
    evidence = metrics.read(Path("reports/details.json"))
    assert list(evidence.speakers) == list(SPEAKERS)
    for condition, together in evidence.conditions.items():
        each = [one.conditions[condition] for one in evidence.speakers.values()]
        assert together.samples == sum(one.samples or 0 for one in each) == 2
        assert together.similarity == pytest.approx(sum(one.similarity or 0 for one in each) / 2, abs=1e-3)
    for name, gate in evidence.gates.items():
        assert gate.passed == all(one.gates[name].passed for one in evidence.speakers.values())
    floors = [one.speaker.floor for one in evidence.speakers.values() if one.speaker]
    assert evidence.speaker
    assert evidence.speaker.floor == pytest.approx(np.mean([floor for floor in floors if floor is not None]), abs=1e-3)
    head, *rows = tables.by_speaker(evidence)
    assert head[:2] == ("speaker", "condition")
    assert [row[:2] for row in rows][::4] == [("pia", "Base"), ("rasmus", "Base")]
    assert set(json.loads(Path("reports/metrics.json").read_bytes())) <= {
        "wer", "wer_added", "similarity", "similarity_added", "named", "gates_failed",
    }  # fmt: skip


def test_mlflow_gets_the_figures_of_each_speaker(judged: Path) -> None:
    names = {name for name, _, _ in track.finals(TrackedFiles().metrics)}
    assert {"wer/tuned_clone", "wer/tuned_clone.pia", "wer/tuned_clone.rasmus", "speaker/floor.pia"} <= names


def test_the_page_shows_each_speakers_clip_rates_and_samples(judged: Path, tmp_path: Path) -> None:
    data, reports = Path("data"), Path("reports")
    recordings = {f"{name}-talk": {"origin": "transcript"} for name in SPEAKERS}
    review = {"reviewed_share": 0.0, "reviewed_seconds": 0, "seconds": 0, "recordings": recordings}
    (tmp_path / "review.json").write_text(json.dumps(review))
    report.main(
        reports / "samples", reports / "scores.csv", reports / "details.json", Path("models/adapter/training.json"),
        Path("models/history.csv"), reports / "points", data / "dataset", data / "clips", data / "raw",
        data / "speech", tmp_path / "review.json", data / "sources.yaml", data / "speakers.yaml", data / "transcripts",
        tmp_path / "index.html", tmp_path / "report.md",
    )  # fmt: skip
    page = (tmp_path / "index.html").read_text()
    assert page.count("A true clip of") == 2
    assert page.count('<th scope="row"><bdi>rasmus</bdi></th>') == 4
    assert page.count("<bdi>rasmus</bdi> · <bdi>one</bdi>") == 1
    assert [page.count(f"Hear it learn: {name}") for name in SPEAKERS] == [1, 1]
    assert "| rasmus | Tuned + cloning |" in (tmp_path / "report.md").read_text()


def test_listening_tests_and_diffs_tell_the_speakers_samples_apart(judged: Path) -> None:
    snapshot = WorkTree(Path())
    version = SimpleNamespace(name="work tree", snapshot=snapshot)
    spoken = version_voice(version, "tuned_clone")  # type: ignore[arg-type]
    assert list(spoken.samples) == ["pia-one", "rasmus-one"]
    assert {sample.reference for sample in spoken.samples.values()} == {"pia0", "rasmus0"}
