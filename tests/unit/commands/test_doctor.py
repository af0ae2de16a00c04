"""What `timbre doctor` finds, on machines that lack one thing or another."""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.dvc_cache import keep
from tests.support.paths import ROOT
from tests.support.segment_factory import stored
from timbre.commands import doctor, model_checks
from timbre.core import params
from timbre.project import sources


@pytest.fixture
def healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The parts of a repository that the doctor looks at, all in order."""
    for name in ("params.yaml", "data/sources.yaml", "data/speakers.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "data/transcripts", tmp_path / "data/transcripts")
    for name in ("stages", "timbre", "data/recordings"):
        (tmp_path / name).symlink_to(ROOT / name)
    section = params.load(ROOT / "params.yaml")
    (tmp_path / section["voice"]["base"]).mkdir(parents=True)
    (tmp_path / section["speaker"]["model"]).mkdir()
    (tmp_path / section["whisper"]["model"]).touch()
    (tmp_path / "models/tiny/README.md").touch()  # the evidence that data/speakers.yaml names
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    remote = box\n['remote \"box\"']\n    url = /somewhere/else\n")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def examine(capsys: pytest.CaptureFixture[str], verify: bool = False) -> tuple[int, str]:
    code = doctor.command(argparse.Namespace(verify=verify, json=False))
    return code, capsys.readouterr().out


def edit(path: str, old: str, new: str) -> None:
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new, 1))


def test_a_machine_in_order_has_nothing_to_fail(healthy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = examine(capsys)
    assert code == 0, text
    assert "FAIL" not in text
    for what in ("Python", "torch", "device", "cores", "free here", "every key known", "/somewhere/else", "mlflow.db"):
        assert what in text


def test_words_that_the_demos_models_do_not_know_are_a_warning(
    healthy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "models/tiny/corpus.json", "models/tiny/corpus.json")
    code, text = examine(capsys)
    assert code == 0
    assert (
        "ok    words        models/tiny/whisper.pt knows only the 45 words of the demo, and those of your "
        "transcripts and prompts are among them" in text
    )
    edit("data/transcripts/harbour-noon.tsv", "please.", "please, said the fishmonger.")
    code, text = examine(capsys)
    assert code == 0
    for model in ("whisper.pt", "csm"):
        assert (
            f"warn  words        models/tiny/{model} knows only the 45 words of the demo; yours have 2 others, such as "
            "fishmonger, said\n      → `cp presets/csm-1b.yaml params.yaml`"
        ) in text


def test_a_draft_of_other_speech_is_in_known_words_and_is_told_by_its_doubt(
    healthy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "models/tiny/corpus.json", "models/tiny/corpus.json")
    words = [{"word": "pier", "start": 0, "end": 1, "probability": 0.31}]
    draft = {"audio_sha256": "a", "segments": [{"start": 0, "end": 1, "text": "pier", "words": words}]}
    Path("data/drafts").mkdir(exist_ok=True)
    Path("data/drafts/harbour-noon.json").write_text(json.dumps(draft))
    code, text = examine(capsys)
    assert code == 0
    assert "warn  words        harbour-noon: models/tiny/whisper.pt knows only the 45 words" in text
    assert "is 31% sure of what it wrote here" in text
    assert "are among them" not in text


def _no_dvc() -> None:
    shutil.rmtree(".dvc")


def _no_whisper() -> None:
    Path(params.load()["whisper"]["model"]).unlink()


def _no_folder_of_whisper() -> None:
    edit("params.yaml", "model: models/tiny/whisper.pt", "model: /nowhere/whisper")


def _no_encoder() -> None:
    Path(params.load()["speaker"]["model"]).rmdir()


def _no_voice() -> None:
    Path(params.load()["voice"]["base"]).rmdir()


@pytest.mark.parametrize(
    ("harm", "said", "todo"),
    [
        (_no_dvc, "FAIL  DVC          this is no DVC repository", "dvc init"),
        (
            _no_whisper,
            "FAIL  Whisper      models/tiny/whisper.pt is not here",
            "git checkout -- models/tiny/whisper.pt",
        ),
        (
            _no_folder_of_whisper,
            "FAIL  Whisper      /nowhere/whisper is not here\n",
            "→ name another in params.yaml",
        ),
        (_no_voice, "is not here", "name another in params.yaml"),
        (_no_encoder, "FAIL  who speaks   models/tiny/speaker is not here", "name another in params.yaml"),
        (lambda: edit("params.yaml", "  workers:", "  wrokers:"), "did you mean `compute.workers`", "mend the key"),
        (lambda: edit("params.yaml", "whisper:", "whisper: ["), "FAIL  params.yaml  params.yaml:", "mend the key"),
        (lambda: edit("data/sources.yaml", "id: harbour-noon", "id: ../noon"), "cannot be an id", "mend the entry"),
        (lambda: edit("data/speakers.yaml", "revoked: null", "revoked: 2026-05-01"), "took the consent back", "remove"),
        (lambda: edit("data/speakers.yaml", "  marina:", "  nele:"), "no entry for marina", "write down there"),
        (
            lambda: edit("data/transcripts/harbour-noon.tsv", "\tmarina\tok\t", "\tmarian\tok\t"),
            "FAIL  speakers     data/speakers.yaml: no entry for marian, whose voice is in harbour-noon",
            "`segment` stops",
        ),
        (
            lambda: edit("data/transcripts/harbour-noon.tsv", "\tok\t", "\tOK\t"),
            "FAIL  transcripts  data/transcripts/harbour-noon.tsv:",
            "mend the line",
        ),
    ],
)
def test_what_would_stop_a_stage_fails_and_says_what_to_do(
    healthy: Path, capsys: pytest.CaptureFixture[str], harm: Callable[[], None], said: str, todo: str
) -> None:
    harm()
    code, text = examine(capsys)
    assert code == 1
    assert said in text
    assert todo in text


def test_a_missing_remote_is_a_warning(healthy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (healthy / ".dvc/config").write_text("[core]\n    analytics = false\n")
    code, text = examine(capsys)
    assert code == 0
    assert "warn  DVC          no remote" in text
    assert "dvc remote add -d" in text


def test_a_training_that_a_person_ended_early_is_a_warning(healthy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path := healthy / "models/adapter/training.json").parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"steps": 40}')
    assert "ended it early" not in examine(capsys)[1]
    path.write_text('{"steps": 40, "ended_early": true, "planned_steps": 120}')
    code, text = examine(capsys)
    assert code == 0
    assert "warn  training     a person ended it early, at step 40 of 120" in text
    assert "→ `dvc repro -f train` goes on from there" in text


def test_a_licence_that_forbids_something_is_a_warning(healthy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "non-commercial" not in examine(capsys)[1]
    edit("params.yaml", "family: csm", "family: xtts")
    code, text = examine(capsys)
    assert code == 0
    assert "warn  licence      coqui-public-model-license; Coqui allows non-commercial use only" in text


def test_a_hub_model_out_of_reach_fails_after_one_question_of_a_few_seconds(
    healthy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(healthy / "cache"))
    monkeypatch.setattr(
        model_checks, "known_params", lambda: {"voice": {"base": "someone/voice", "revision": "0" * 40}}
    )
    patience, ask = [], huggingface_hub.get_hf_file_metadata
    asked = lambda url, timeout: (patience.append(timeout), ask(url, timeout=timeout))  # noqa: E731
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", asked)
    (finding,) = model_checks.voice()
    assert (finding.level, finding.what) == ("FAIL", "voice model")
    assert "someone/voice is neither here nor reachable" in finding.text
    assert patience == [model_checks.PATIENCE]
    assert model_checks.PATIENCE < 10


def test_a_store_that_is_down_fails(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    (finding,) = doctor.store()
    assert finding.level == "FAIL"
    assert f"127.0.0.1:{port} cannot be reached" in finding.text


def test_a_whisper_by_name_is_looked_for_in_its_cache(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_checks, "known_params", lambda: {"whisper": {"model": "turbo"}})
    monkeypatch.setenv("XDG_CACHE_HOME", str(healthy))
    assert [finding.level for finding in model_checks.listener()] == ["warn"]
    (healthy / "whisper").mkdir()
    (healthy / "whisper/large-v3-turbo.pt").touch()
    assert [finding.level for finding in model_checks.listener()] == ["ok"]


def test_the_doctor_loads_no_model_library(healthy: Path) -> None:
    code = (
        "import argparse, sys; from timbre.commands import doctor\n"
        "doctor.command(argparse.Namespace(verify=False, json=False))\n"
        "assert not {'torch', 'transformers', 'mlflow', 'whisper', 'dvc'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=healthy, check=True, capture_output=True)


def test_verify_names_a_flipped_byte_in_the_cache_and_in_an_output(
    healthy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sounds = {"a.flac": b"one sound", "b.flac": b"another"}
    rows = [{"md5": keep(content), "relpath": name} for name, content in sounds.items()]
    outs = [{"path": "data/clips", "md5": keep(json.dumps(rows).encode(), ".dir")}]
    stages = {"chunk": {"cmd": "x", "outs": outs}}
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}) + "\n")  # as DVC ends it
    Path("data/clips").mkdir()
    for name, content in sounds.items():
        Path("data/clips", name).write_bytes(content)
    code, text = examine(capsys, verify=True)
    assert code == 0, text
    assert "cache        3 files are what their hashes say" in text
    assert "outputs      2 files are what their hashes say" in text
    rotten = Path(".dvc/cache/files/md5", rows[0]["md5"][:2], rows[0]["md5"][2:])
    rotten.write_bytes(b"one sounD")
    Path("data/clips/b.flac").write_bytes(b"anotheR")
    code, text = examine(capsys, verify=True)
    assert code == 1
    assert [line.split()[:3] for line in text.splitlines() if line.startswith("FAIL")] == [
        ["FAIL", "cache", str(rotten)],
        ["FAIL", "outputs", "data/clips/b.flac"],
    ]
    assert f"→ `rm -f {rotten}`, then `dvc pull`" in text
    assert "→ `rm -f data/clips/b.flac`, then `dvc checkout data/clips`" in text
    assert "hashes say" not in examine(capsys)[1], "which is read only where it is asked for"


def test_the_softest_the_loudest_and_the_most_varied_recording_are_told(
    healthy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "LUFS" not in examine(capsys)[1], "nothing is measured yet"
    names = [source.id for source in sources.read(Path("data/sources.yaml"))]
    Path("data/speech").mkdir()
    for name, loudness in zip(names, ([-30.2, 3.0, -5.0], [-18.4, 16.1, -1.0], [None, None, -60.0]), strict=True):
        Path(f"data/speech/{name}.json").write_text(json.dumps({"key": "k", "bandwidth": 8000, "loudness": loudness}))
    soft, loud, _ = names
    told = f"the softest is {soft} with -30 LUFS, the loudest {loud} with -18 LUFS; {loud} varies most, by 16 LU"
    assert told in examine(capsys)[1]
    for name, noise in zip(names, (-50, -30, -60), strict=True):
        moments = np.array([[stored(-20)] * 100 + [stored(noise)] * 100, [1] * 100 + [0] * 100], np.uint8)
        np.save(f"data/speech/{name}.npy", moments)
    assert f"{loud} is the noisiest, its speech 10 dB above the rest" in examine(capsys)[1]


def test_a_whisper_may_be_a_folder(healthy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base/model.bin").write_bytes(b"weights")
    edit("params.yaml", "model: models/tiny/whisper.pt", f"model: {tmp_path / 'base'}")
    assert f"ok    Whisper      {tmp_path / 'base'}\n" in examine(capsys)[1]
