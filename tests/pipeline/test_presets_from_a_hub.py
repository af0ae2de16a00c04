"""The presets from `timbre add` to MLflow, with models in the public layouts on a hub of this machine.

The widths are small and the weights random; names, files, shards, pickles, tokenizers and pinned commits are those that
people publish. What the presets say holds, but for what makes a run of seconds, and for the 8-bit optimiser of a GPU.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from transformers import WavLMConfig, WavLMForXVector

from tests.conftest import Repository
from tests.support.build import SMALL, build_repository
from tests.support.loopback_hub import Hub
from tests.support.mlflow_store import runs
from tests.support.paths import ROOT
from tests.support.tiny_models import random_csm, random_whisper
from tests.support.tiny_orpheus import random_orpheus

pytestmark = pytest.mark.pipeline

CSM, ENCODER = "sesame/csm-1b", "microsoft/wavlm-base-plus-sv"
ORPHEUS, SNAC = "canopylabs/orpheus-3b-0.1-ft", "hubertsiuzdak/snac_24khz"
HERE: dict[str, dict[str, Any]] = {
    "whisper": {"model": "models/turbo.pt"},  # as openai-whisper saves what it downloads
    "dataset": {"language": None, "repeats": None},  # its Whisper knows no language, and its sound is a buzz
    "train": {"optimiser": "adamw", "max_steps": 2, "eval_every": 1, "points": 1},
}


def published_csm(folder: Path) -> Path:
    """In the public layout: weights in shards beside an index under names of their own, as `model.safetensors` is
    another program's."""
    whole = random_csm(folder / "whole")
    from transformers import CsmForConditionalGeneration

    CsmForConditionalGeneration.from_pretrained(whole).save_pretrained(folder / "csm", max_shard_size="400KB")
    for path in whole.iterdir():
        if path.suffix != ".safetensors" and not (folder / "csm" / path.name).exists():
            shutil.copy(path, folder / "csm")
    for path in (folder / "csm").glob("model*.safetensors*"):
        path.rename(path.with_name(path.name.replace("model", "transformers")))
    index, config = (folder / "csm" / name for name in ("transformers.safetensors.index.json", "config.json"))
    index.write_text(index.read_text().replace('"model-', '"transformers-'))
    config.write_text(json.dumps({**json.loads(config.read_text()), "transformers_weights": index.name}))
    (folder / "csm/model.safetensors").write_bytes(b"of another program")
    return folder / "csm"


def published_encoder(folder: Path) -> Path:
    """In the public layout: a pickle of weights, a configuration, and how to prepare the sound."""
    folder.mkdir()
    tiny = ROOT / "models/tiny/speaker"
    model = WavLMForXVector(WavLMConfig.from_pretrained(tiny))
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(tiny / name, folder)
    return folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder, made = tmp_path_factory.mktemp("published"), Hub()
    made.publish(CSM, published_csm(folder))
    made.publish(ENCODER, published_encoder(folder / "encoder"))
    orpheus = random_orpheus(folder / "orpheus", positions=8192)
    shutil.move(orpheus / "snac", folder / "snac")
    made.publish(ORPHEUS, orpheus)
    made.publish(SNAC, folder / "snac")
    yield made
    made.server.shutdown()


@pytest.fixture(scope="module")
def voice(warm: Path, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository with two recordings, whose owner has downloaded a Whisper."""
    root = tmp_path_factory.mktemp("presets") / "voice"
    build_repository(root, ROOT)
    random_whisper(root / "models/turbo.pt", multilingual=True)
    repository = Repository(root, warm)
    repository.begin()
    return repository


@pytest.fixture(scope="module")
def online(hub: Hub, voice: Repository) -> dict[str, str]:
    """The variables of a process that knows this hub alone."""
    home = str(voice.root / "hf")
    return {"HF_HOME": home, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}


def use(preset: str, root: Path) -> None:
    yaml = YAML()
    document = yaml.load(ROOT / "presets" / preset)
    for sections in (SMALL, HERE):
        for section, values in sections.items():
            document[section].update(values)
    document["evaluate"]["others"] = "models/tiny/voices"
    yaml.dump(document, root / "params.yaml")


def test_csm_1b_is_fetched_at_its_commit_and_trained(voice: Repository, hub: Hub, online: dict[str, str]) -> None:
    use("csm-1b.yaml", voice.root)
    refused = voice.repro("encode", check=False, HF_TOKEN="hf_nobody", **online)
    assert refused.code != 0
    assert "Traceback" not in refused.output
    assert f"voice.base: {CSM}" in refused.output
    done = voice.repro(HF_TOKEN=hub.token, **online)
    assert done.trained
    fetched = set(hub.fetched)
    assert f"{CSM}/transformers.safetensors.index.json" in fetched
    assert f"{ENCODER}/pytorch_model.bin" in fetched
    headline = json.loads((voice.root / "reports/metrics.json").read_text())
    assert 0 <= headline["wer"] <= 1
    assert len(runs(f"sqlite:///{voice.root}/mlflow.db")) == 1


def test_orpheus_is_downloaded_as_its_preset_says_and_trained(
    voice: Repository, hub: Hub, online: dict[str, str]
) -> None:
    use("orpheus-3b.yaml", voice.root)
    for model, folder in ((ORPHEUS, "models/orpheus-3b"), (SNAC, "models/orpheus-3b/snac")):
        voice.run("hf", "download", model, "--local-dir", folder, HF_TOKEN=hub.token, **online)
    done = voice.repro(HF_TOKEN=hub.token, **online)
    assert done.trained
    families = {run.data.params["voice.family"] for run in runs(f"sqlite:///{voice.root}/mlflow.db")}
    assert "orpheus" in families
