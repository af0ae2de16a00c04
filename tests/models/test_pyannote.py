"""The way of the data through pyannote.audio, with random weights. Skipped without the extra `diarise`."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from stages import transcribe
from tests.support import random_pyannote
from tests.support.paths import ROOT
from tests.support.segment_factory import TALK
from timbre import audio
from timbre.core.errors import ModelError
from timbre.core.sections import SpeakerParams, WhoParams
from timbre.evaluation import diarisation

RATE = 16_000
# torch's LSTM, Lightning and torchcodec warn of what they will drop one day
pytestmark = pytest.mark.filterwarnings("ignore")


class Harm:
    """Code in a pickle."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch harm",)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("pyannote.audio", reason="the extra `diarise` is not installed")
    return random_pyannote.write(tmp_path_factory.mktemp("hub") / "pipeline")


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("raw").mkdir()
    sounds = [audio.read(ROOT / f"models/tiny/voices/{name}/0.flac", RATE)[0] for name in ("mira", "rasmus")]
    soundfile.write("raw/talk.flac", np.concatenate(sounds), RATE, subtype="PCM_16")
    return Path("raw/talk.flac")


def test_a_pipeline_in_a_folder_gives_turns_and_they_are_an_entry_that_knows_the_weights(
    pipeline: Path, talk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    who = WhoParams("pyannote", 0.5, str(pipeline), None)
    for _ in range(2):
        transcribe.find_turns([TALK], Path("raw"), Path("turns"), who, SpeakerParams("unused", None))
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("who: ")] == [
        "who: 1 computed, 0 kept, 0 removed",
        "who: 0 computed, 1 kept, 0 removed",
    ]
    rows = json.loads(Path("turns/talk.json").read_bytes())["turns"]
    seconds = soundfile.info(talk).duration
    assert rows == sorted(rows)
    assert rows
    assert all(0 <= start < end <= seconds + 0.01 and voice >= 1 for start, end, voice in rows)
    assert rows == [[turn.start, turn.end, turn.voice] for turn in diarisation.find(talk, who)], "the same each time"
    assert os.environ["PYANNOTE_METRICS_ENABLED"] == "0"
    before = diarisation.fingerprint(who)
    content = (pipeline / "plda/plda.npz").read_bytes()
    try:
        (pipeline / "plda/plda.npz").write_bytes(content + b"\0")
        assert diarisation.fingerprint(who) != before
    finally:
        (pipeline / "plda/plda.npz").write_bytes(content)


def test_weights_that_are_damaged_or_hold_code_are_refused(pipeline: Path, talk: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for path in pipeline.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(pipeline)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(pipeline)).write_bytes(path.read_bytes())
    saved = io.BytesIO()
    torch.save({"state_dict": Harm()}, saved)
    for content in (b"", b"cos\nsystem\n(S'touch harm'\ntR.", saved.getvalue()):
        (copy / "segmentation/pytorch_model.bin").write_bytes(content)
        with pytest.raises(ModelError, match=r"who.model: .*copy cannot be loaded: "):
            diarisation.find(talk, WhoParams("pyannote", 0.5, str(copy), None))
    assert not Path("harm").exists()


def test_a_hub_that_cannot_be_reached_is_one_line(pipeline: Path, talk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"cannot get a/b@c from the hub .*copy it to a folder here and name that$"):
        diarisation.find(talk, WhoParams("pyannote", 0.5, "a/b", "c"))
