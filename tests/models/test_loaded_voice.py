"""A voice in a real MLflow store speaks: by `mlflow.pyfunc.load_model`, and by its alias from `timbre.speech`."""

from __future__ import annotations

import base64
import io
import json
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import mlflow
import numpy as np
import pytest
import soundfile
from ruamel.yaml import YAML

from stages import track
from tests.support.mlflow_store import ARGUMENTS, enter
from tests.support.report_outs import write_owned
from tests.support.review_client import running
from tests.support.speech_server import frames_held, served_once, speaking_server
from tests.support.tiny_models import SAMPLE_RATE
from tests.support.waiting import until
from timbre import speech, tracking
from timbre.audio.watermark import detect
from timbre.commands import cli
from timbre.core import params
from timbre.core.errors import DataError, ModelError, SourceError
from timbre.exchange import served_voices
from timbre.tracking import mlmodel, registry
from timbre.tracking import version as tracked_version
from timbre.web.server import ListeningServer

SAID = "the ferry to Oslo"
MODEL = "models:/timbre@champion"


def record(root: Path, adapter: Path) -> str:
    """As `track` does at the end of the pipeline; the key of the version."""
    facts = (root / "models/adapter/training.json").read_text()
    shutil.rmtree(root / "models/adapter")
    shutil.copytree(adapter, root / "models/adapter")
    (root / "models/adapter/training.json").write_text(facts)
    key = mlmodel.adapter_key(root / "models/adapter")
    track.main(**ARGUMENTS)
    return key


@pytest.fixture(scope="module")
def recorded(recordable: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, tuple[str, str]]]:
    """A repository whose store has two versions, both of one base; and their keys."""
    served, root = served_once(tmp_path_factory), tmp_path_factory.mktemp("loaded") / "voice"
    shutil.copytree(recordable, root)
    with pytest.MonkeyPatch.context() as patch:
        enter(root, patch)
        document = params.load(root / "params.yaml")
        document["voice"]["base"] = str(served / "base")
        document["generate"] |= {"cap_seconds": 0.6, "cap_seconds_per_character": 0.0}
        with (root / "params.yaml").open("w") as stream:
            YAML().dump(document, stream)
        keys = record(root, served / "models/adapter"), record(root, served / "models/second")
        yield root, keys


@pytest.fixture
def place(recorded: tuple[Path, tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> Path:
    root, _ = recorded
    enter(root, monkeypatch)
    write_owned(root)
    people = root / "data/speakers.yaml"
    people.write_text(people.read_text().replace("for: a demo", 'for: "serve, a demo"'))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.store_uri())
    return root


def promote(number: int) -> None:
    """The version that was recorded as this one."""
    client = tracking.connect()
    runs = sorted(tracking.finished(client), key=lambda run: run.info.start_time)
    registry.point(client, registry.CHAMPION, runs[number].info.run_id)


def heard(row: dict[str, Any]) -> Any:
    found, rate = soundfile.read(io.BytesIO(base64.b64decode(row["audio"])), dtype="int16")
    assert rate == SAMPLE_RATE
    return found


def test_mlflow_loads_the_champion_and_it_speaks(recorded: tuple[Path, tuple[str, str]], place: Path) -> None:
    _, keys = recorded
    promote(0)
    first = mlflow.pyfunc.load_model(MODEL)
    rows = first.predict([{"text": SAID, "seed": 1}, {"text": SAID, "seed": 2}, {"text": SAID, "seed": 1}])
    assert {row["version"] for row in rows} == {keys[0]}
    assert rows[0]["seconds"] == 0.6
    assert (heard(rows[0]) == heard(rows[2])).all(), "the same seed is the same take"
    assert (heard(rows[0]) != heard(rows[1])).any()
    about = soundfile.SoundFile(io.BytesIO(base64.b64decode(rows[0]["audio"])))
    assert json.loads(about.comment)["voice"] == keys[0]
    promote(1)
    (second,) = mlflow.pyfunc.load_model(MODEL).predict([{"text": SAID, "seed": 1}])
    assert second["version"] == keys[1]
    assert (heard(second) != heard(rows[0])).any()
    assert {item["door"] for item in map(json.loads, Path(".timbre/spoken.jsonl").read_text().splitlines())} == {
        "mlflow"
    }


def test_a_program_loads_by_alias_what_mlflow_loads(recorded: tuple[Path, tuple[str, str]], place: Path) -> None:
    _, keys = recorded
    promote(1)
    voice = speech.load("champion")
    assert voice.version.key == keys[1], "MLflow's own file beside the adapter is no part of the version"
    (row,) = mlflow.pyfunc.load_model(MODEL).predict([{"text": SAID, "seed": 1}])
    assert voice.wav(SAID, seed=1) == base64.b64decode(row["audio"])
    long = voice.say(f"{SAID}. {SAID}. {SAID}.", seed=1)
    assert len(long) == round((0.6 * 3 + 0.2 * 2) * SAMPLE_RATE)
    assert detect(long, SAMPLE_RATE) is not None
    assert np.isfinite(long).all()


def test_mlflows_own_server_answers_with_the_sound(recorded: tuple[Path, tuple[str, str]], place: Path) -> None:
    """The application that `mlflow models serve -m models:/timbre@champion --env-manager local` runs."""
    from mlflow.pyfunc import scoring_server

    _, keys = recorded
    promote(0)
    app = scoring_server.init(mlflow.pyfunc.load_model(MODEL))
    with running(ListeningServer(app, socket.create_server(("127.0.0.1", 0)), 1)) as server:

        def ask(*rows: dict[str, Any]) -> httpx.Response:
            url = f"http://127.0.0.1:{server.port}/invocations"
            return httpx.post(url, json={"dataframe_records": rows}, timeout=60)

        answer, wrong = ask({"text": SAID, "seed": 1}, {"text": SAID, "seed": 2}), ask({"words": SAID})
    rows = answer.json()["predictions"]
    assert [row["version"] for row in rows] == [keys[0]] * 2
    assert len(heard(rows[0])) == 0.6 * SAMPLE_RATE
    assert wrong.status_code == 400


def test_a_store_holds_no_code_and_no_pickle_and_says_what_it_takes(place: Path) -> None:
    from mlflow.models import Model

    promote(0)
    folder = Path(mlflow.artifacts.download_artifacts(MODEL))
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle", ".pt", ".py", ".bin")]
    model = Model.load(folder)
    assert model.flavors["python_function"]["loader_module"] == "timbre.speech"
    assert model.signature.inputs.input_names() == ["text", "seed"]
    with pytest.raises(mlflow.exceptions.MlflowException, match="text"):
        mlflow.pyfunc.load_model(str(folder)).predict([{"words": SAID}])
    with pytest.raises(DataError, match="each row needs a text"):
        mlflow.pyfunc.load_model(str(folder)).predict([{"text": " "}])
    (folder / "MLmodel").write_text((folder / "MLmodel").read_text().replace("timbre.voice", "voice"))
    with pytest.raises(ModelError, match="names no base model; `dvc repro -f track` records it anew"):
        mlflow.pyfunc.load_model(str(folder))


def test_a_voice_in_mlflow_needs_the_use_serve_each_time(place: Path) -> None:
    promote(0)
    people = place / "data/speakers.yaml"
    allowed = people.read_text()
    loaded = mlflow.pyfunc.load_model(MODEL)
    people.write_text(allowed.replace("serve, a demo", "a demo"))
    for ask in (lambda: loaded.predict([{"text": SAID}]), lambda: mlflow.pyfunc.load_model(MODEL)):
        with pytest.raises(SourceError, match="marina did not consent to `serve`"):
            ask()
    assert len(speech.load("champion").say(SAID)), "to hear it oneself needs the consent alone"
    people.write_text(allowed.replace("revoked: null", "revoked: 2026-02-01"))
    with pytest.raises(SourceError, match="marina took the consent back"):
        speech.load("champion")


def test_a_promotion_reaches_a_server_that_speaks_and_changes_no_answer_that_has_begun(
    recorded: tuple[Path, tuple[str, str]], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, keys = recorded
    monkeypatch.setattr(served_voices, "FOLLOW", 0.05)
    promote(0)
    second = sorted(tracking.finished(tracking.connect()), key=lambda run: run.info.start_time)[1]
    with speaking_server(["champion"]) as server, ThreadPoolExecutor(1) as pool:

        def ask(text: str) -> httpx.Response:
            sent = {"input": text, "voice": "champion", "seed": 1, "response_format": "pcm"}
            return httpx.post(f"{server.url}/v1/audio/speech", json=sent, timeout=120)

        def version() -> str:
            return server.service.voices.default.key

        alone, short = ask(f"{SAID}. " * 5), ask(SAID)
        assert short.headers["x-timbre-version"] == keys[0]
        engine = server.service.voices.engine
        with frames_held(engine, after=3):
            begun = pool.submit(ask, f"{SAID}. " * 5)
            until(lambda: bool(engine.speaking))
            assert cli.execute(["promote", second.info.run_id, "--force", "a test"]) == 0
            until(lambda: version() == keys[1])
        assert ask(SAID).headers["x-timbre-version"] == keys[1]
        assert ask(SAID).content != short.content
        assert begun.result().content == alone.content, "what had begun ends with the version that it began with"
        promote(0)  # and back again
        until(lambda: version() == keys[0])
        assert ask(SAID).content == short.content


def test_a_run_of_before_gets_its_mlmodel_by_the_next_repro(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client = tracking.connect()
    newest = max(tracking.finished(client), key=lambda run: run.info.start_time)
    kept = place / "mlruns" / newest.info.run_id / "artifacts/adapter/MLmodel"
    kept.unlink()
    client.delete_tag(newest.info.run_id, tracked_version.MODEL_TAG)
    track.main(**ARGUMENTS)
    assert kept.is_file()
    track.main(**ARGUMENTS)
    assert "has its run already" in capsys.readouterr().out.splitlines()[-1]
    assert cli.execute(["runs"]) == 0
