"""Releases of tuned XTTS and GPT-SoVITS voices: files that their own tools load, and licences that are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.consent import write_consent
from tests.support.tiny_sovits import random_sovits
from tests.support.tiny_xtts import random_xtts
from timbre import audio, families
from timbre.core.content import write_atomic
from timbre.core.errors import DataError
from timbre.core.sections import SovitsParams, VoiceParams, XttsParams
from timbre.exchange import releasing
from timbre.exchange.voice_versions import VoiceVersion
from timbre.families import Lora, Turn
from timbre.families.sovits import load as sovits_files
from timbre.families.xtts.load import released_weights

OWN = {"xtts": XttsParams(False, 0.01), "sovits": SovitsParams(False, 1e-4, 1, 0.4, 45, 1.0)}


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data/transcripts").mkdir(parents=True)
    write_consent(tmp_path)
    monkeypatch.chdir(tmp_path)


def tuned(family: str, make: Callable[[Path], Path]) -> VoiceVersion:
    base = VoiceParams(family, str(make(Path("base"))), None)
    voice: Any = families.load(base)
    clip = Path("clip.flac")
    noise = np.random.default_rng(1).normal(0, 0.1, int(3.2 * voice.hearing_rate)).astype(np.float32)
    write_atomic(clip, audio.flac_bytes(noise, voice.hearing_rate))
    turn = Turn("the ferry waits", voice.encode([noise])[0], "en", clip=clip)
    course = voice.courses(Lora(2, 4, True, 0.0), OWN[family])[0]
    course.meet([turn])
    course.begin()
    torch.manual_seed(1)
    course.set_weights({name: 0.2 * torch.randn(weight.shape) for name, weight in course.weights().items()})
    voice.save_adapter(Path("adapter"))
    return VoiceVersion("v1", "0" * 32, base, Path("adapter"), {"ann": ["talk"]})


def test_an_xtts_is_released_as_a_folder_like_the_published_one_and_its_licence_is_asked_for() -> None:
    version = tuned("xtts", random_xtts)
    with pytest.raises(DataError, match=r"coqui-public-model-license; .* non-commercial .* add --licence-understood"):
        releasing.release(version, Path("out"))
    assert not Path("out").exists()
    releasing.release(version, Path("out"), understood=True)
    merged = torch.load("out/merged/model.pth", weights_only=True)["model"]
    assert merged.keys() == released_weights(Path("base/model.pth")).keys()
    speakers = torch.load("out/merged/speakers_xtts.pth", weights_only=True)
    assert list(speakers) == ["Claribel Dervla", "Daisy Studious", "tuned"]
    again: Any = families.load(VoiceParams("xtts", "out/merged", None))
    ours: Any = families.load(version.voice, version.adapter)
    turn = [Turn("the ferry waits", heard(ours), "en")]
    with torch.no_grad():
        assert float((again.logits(turn) - ours.logits(turn)).abs().max()) < 0.05  # half precision
    card = Path("out/README.md").read_text()
    assert "license: other\n" in card
    assert "under coqui-public-model-license; Coqui allows non-commercial use only" in card
    assert "Xtts.load_checkpoint" in card


def heard(voice: Any) -> Any:
    noise = np.random.default_rng(2).normal(0, 0.1, 2 * voice.hearing_rate).astype(np.float32)
    return voice.encode([noise])[0]


def test_a_gpt_sovits_is_released_as_the_two_files_of_its_own_tools() -> None:
    version = tuned("sovits", random_sovits)
    files = {str(path.relative_to("out")) for path in releasing.release(version, Path("out"))}
    assert {"merged/voice.ckpt", "merged/voice.pth", "adapter/voice.safetensors", "README.md"} <= files
    assert sovits_files.stage2_of(sovits_files.read_file(Path("out/merged/voice.pth"))).enc_q is None
    sovits_files.stage1_of(sovits_files.read_file(Path("out/merged/voice.ckpt")))
    card = Path("out/README.md").read_text()
    assert "GPT_weights_v2" in card
    assert "non-commercial" not in card
    assert json.loads(Path("out/release.json").read_text())["version"] == version.key
