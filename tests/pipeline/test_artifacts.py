"""Another repository brings the voice in, by what our dvc.yaml declares: by a version's tag, or by its path."""

from __future__ import annotations

import json
from pathlib import Path

from ruamel.yaml import YAML

from tests.support.dvc_repo import begin
from tests.support.paths import ROOT

TRAIN = """\
stages:
  train:
    cmd: mkdir -p models/adapter && cp weights models/adapter/adapter_model.safetensors
    deps: [weights]
    outs: [models/adapter]
artifacts: ARTIFACTS
"""


def test_another_repository_gets_the_voice_by_its_tag_and_by_its_path(tmp_path: Path, warm: Path) -> None:
    declared = YAML(typ="safe").load(ROOT / "dvc.yaml")["artifacts"]
    voice = begin(tmp_path / "voice", warm)
    voice.write("dvc.yaml", TRAIN.replace("ARTIFACTS", json.dumps(declared)))
    for version in ("v1.0.0", "v2.0.0"):
        voice.write("weights", version)
        voice.publish(version)
        voice.run("git", "tag", "-a", f"voice@{version}", "-m", version)
    for how, folder in (
        (("artifacts", "get", str(voice.root), "voice"), "latest"),
        (("artifacts", "get", str(voice.root), "voice", "--rev", "v1.0.0"), "first"),
        (("get", str(voice.root), "models/adapter"), "by_path"),
    ):
        voice.run("dvc", *how, "-o", str(tmp_path / folder))
    got = {name: (tmp_path / name / "adapter_model.safetensors").read_text() for name in ("latest", "first", "by_path")}
    assert got == {"latest": "v2.0.0", "first": "v1.0.0", "by_path": "v2.0.0"}
