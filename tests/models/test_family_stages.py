"""XTTS, GPT-SoVITS and Orpheus from clips to the report, and the first two spoken with by `say` and `serve`.

The fourth family, CSM, goes through the whole pipeline in tests/pipeline, with the tiny model of the demo.
"""

from __future__ import annotations

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest
import soundfile

from stages import encode, evaluate, generate, listen, report, train
from tests.support.family_root import family_root, write_papers
from tests.support.report_page import ARGUMENTS
from tests.support.speech_server import speaking_server
from tests.support.tiny_orpheus import random_orpheus
from tests.support.tiny_sovits import random_sovits
from tests.support.tiny_xtts import random_xtts
from timbre import audio, families
from timbre.commands import cli
from timbre.core.errors import ModelError
from timbre.core.params import read
from timbre.core.records import Example, read_jsonl
from timbre.families import Request, Speaking, codes
from timbre.families.slots import Drawing, open_slots
from timbre.synthesis.engine import Ask, Engine, OneSentence, spoken

FAMILIES: dict[str, tuple[Any, float, dict[str, Any], list[str]]] = {
    "xtts": (random_xtts, 2.0, {}, ["text", "codes"]),
    "sovits": (random_sovits, 3.1, {"stage2_epochs": 1}, ["mel", "divergence", "features", "adversarial"]),
}


@pytest.fixture(params=sorted(FAMILIES))
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make, seconds, changes, _ = FAMILIES[request.param]
    make(tmp_path / "models/base")
    family_root(tmp_path, request.param, seconds, changes)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_family_goes_through_the_stages(root: Path) -> None:
    family = read().voice.family
    folder, dataset, clips = Path(f"data/codes/{family}"), Path("data/dataset"), Path("data/clips")
    encode.main(clips, folder)
    assert len(list(folder.glob("*.safetensors"))) == 5
    encoded = {path.name: path.read_bytes() for path in folder.iterdir()}
    encode.main(clips, folder)
    assert encoded == {path.name: path.read_bytes() for path in folder.iterdir()}

    outs = Path("models/adapter"), Path("models/points"), Path("models/history.csv")
    train.main(dataset, folder, *outs, Path("speed.json"))
    facts = json.loads((outs[0] / "training.json").read_text())
    rows = list(csv.DictReader(outs[2].open()))
    *_, parts = FAMILIES[family]
    assert {f"train_loss/{part}" for part in parts} <= rows[0].keys()
    if family == "sovits":
        assert list(facts["courses"]) == ["stage1", "stage2"]
        assert {row["course"] for row in rows} == {"1", "2"}
        assert any(row["train_loss/judges"] for row in rows)
    learnt = {path.name: path.read_bytes() for path in outs[0].iterdir()}

    assert cli.execute(["value"]) == 0
    worth = json.loads(Path("reports/value.json").read_text())
    assert worth["steps"][0] == 0
    assert len(worth["rows"]) == 4
    assert all(any(row["gains"]) for row in worth["rows"]), "the course's own losses have gradients"
    train.main(dataset, folder, *outs, Path("speed.json"))
    assert learnt == {path.name: path.read_bytes() for path in outs[0].iterdir()}, "it was trained before"

    samples = Path("reports/samples")
    generate.main(Path("data/prompts.tsv"), dataset, clips, folder, outs[0], samples, Path("said.json"))
    records = {path.stem: json.loads(path.read_text()) for path in samples.glob("*.json")}
    assert len(records) == 4, "base and tuned, each with and without a reference"
    sounds = {name: audio.read(samples / f"{name}.flac")[0] for name in records}
    assert all(len(sound) for sound in sounds.values())
    assert len({sound.tobytes() for sound in sounds.values()}) == 4
    assert ("base_licence" in facts) == (family == "xtts")
    is_judged_and_reported(family, folder)
    is_spoken_with()
    is_served(family)


def test_orpheus_goes_through_the_same_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_orpheus(tmp_path / "models/base")
    family_root(tmp_path, "orpheus", 2.0, {})
    monkeypatch.chdir(tmp_path)
    folder, dataset, clips = Path("data/codes/orpheus"), Path("data/dataset"), Path("data/clips")
    encode.main(clips, folder)
    outs = Path("models/adapter"), Path("models/points"), Path("models/history.csv")
    train.main(dataset, folder, *outs, Path("speed.json"))
    samples = Path("reports/samples")
    generate.main(Path("data/prompts.tsv"), dataset, clips, folder, outs[0], samples, Path("said.json"))
    assert len(list(samples.glob("*.flac"))) == 4
    is_judged_and_reported("orpheus", folder)


def is_judged_and_reported(family: str, codes: Path) -> None:
    write_papers(Path())
    dataset, clips, samples = Path("data/dataset"), Path("data/clips"), Path("reports/samples")
    listen.main(Path("data/prompts.tsv"), samples, dataset, codes, Path("models/points"), Path("reports/points"))
    judged = {name: Path(f"reports/{name}") for name in ("opinions", "heard", "embeddings")}
    tables = {
        name: Path(f"reports/{name}") for name in ("scores.csv", "wer.csv", "details.json", "metrics.json", "mos.json")
    }
    files = {name.partition(".")[0]: path for name, path in tables.items()}
    evaluate.main(samples=samples, dataset=dataset, clips=clips, codes=codes, **judged, **files)
    report.main(**{name: Path(path) for name, path in ARGUMENTS.items()})
    page, short = Path("reports/index.html").read_text(), Path("reports/report.md").read_text()
    for text in (page, short):
        assert ("non-commercial use only" in text) == (family == "xtts")


def is_spoken_with() -> None:
    """By `timbre say`, and by the engine of `timbre serve`: two callers at once."""
    assert cli.execute(["say", "--clone", "The ferry waits. Again and again.", "--out", "said.flac"]) == 0
    assert len(audio.read(Path("said.flac"))[0])
    settings = read()
    voice = families.load(settings.voice, Path("models/adapter"))
    engine = Engine(lambda: open_slots(voice, 2, {"ann": Path("models/adapter")}))
    try:
        engine.wait_until_ready()
        how = Drawing(1.0, 15, 1.0, 1.35)
        asks = [Ask(Request("The ferry waits.", (), seed, 0.5, "en"), how, "ann") for seed in (1, 2)]
        with ThreadPoolExecutor() as pool:
            together = list(pool.map(lambda ask: np.concatenate(list(spoken(engine, OneSentence(ask)))), asks))
        for ask, sound in zip(asks, together, strict=True):
            [alone] = voice.speak([ask.request], Speaking(1.0, 15, 1, 1.0, 1.35))
            assert sound.shape == alone.sound.shape
            assert np.abs(sound - alone.sound).max() < 1e-5
    finally:
        engine.close()


def heard(answer: httpx.Response) -> Any:
    return soundfile.read(io.BytesIO(answer.content))[0]


def is_served(family: str) -> None:
    """Over HTTP, with and without a reference, two callers at once; with one voice, in languages that it can read."""
    (clip, *_) = read_jsonl(Path("data/dataset/train.jsonl"), Example)
    with speaking_server(["models/adapter"], slots=2, reference=clip.id) as server, ThreadPoolExecutor() as pool:

        def ask(**more: Any) -> httpx.Response:
            body = {"input": "The ferry waits. Again.", "seed": 1, "response_format": "wav", **more}
            return httpx.post(f"{server.url}/v1/audio/speech", json=body, timeout=120)

        wanted = [{}, {"seed": 2}, {"reference": "none"}]
        alone = [ask(**one) for one in wanted]
        together = list(pool.map(lambda one: ask(**one), wanted))
        assert [answer.status_code for answer in alone + together] == [200] * 6
        for one, other in zip(alone, together, strict=True):
            assert len(one.content) == len(other.content)
            assert np.abs(heard(one) - heard(other)).max() < 1e-4, "who shares the work hears the same"
        assert len({answer.content for answer in alone}) == 3
        refused = ask(language="de")
        assert refused.status_code == 400
        assert "language" in refused.json()["error"]["message"]
        assert ask().status_code == 200
    with (
        pytest.raises(ModelError, match=f"a server speaks with one voice of the family {family}; start another"),
        speaking_server(["models/adapter", "base"]),
    ):
        pass


def test_a_killed_training_goes_on_to_the_same_bytes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = read().voice.family
    folder = Path(f"data/codes/{family}")
    encode.main(Path("data/clips"), folder)

    def trained(name: str) -> dict[str, bytes]:
        outs = Path(f"{name}/adapter"), Path(f"{name}/points"), Path(f"{name}/history.csv")
        train.main(Path("data/dataset"), folder, *outs, Path("speed.json"))
        files = [*outs[0].iterdir(), outs[2]]
        return {path.name: path.read_bytes() for path in files}

    whole = trained("whole")
    from timbre.training.loop import Training

    save, saved = Training.save, []

    def stopping(self: Training) -> None:
        save(self)
        saved.append(self.course.name)
        if len(saved) == (3 if family == "sovits" else 1):  # of two steps of each course
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Training, "save", stopping)
        with pytest.raises(KeyboardInterrupt):
            trained("killed")
    assert trained("killed") == whole


def test_codes_are_kept_whole(root: Path) -> None:
    voice = families.load(read().voice)
    [path] = sorted(Path("data/clips").iterdir())[:1]
    made = voice.encode([audio.read(path, voice.hearing_rate)[0]])[0]
    Path("one.safetensors").write_bytes(codes.to_bytes(made))
    again = codes.read(Path(), "one")
    assert made.keys() == again.keys()
    assert all(np.array_equal(made[name], again[name]) for name in made)
