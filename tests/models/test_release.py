"""`timbre release`: a folder that plain transformers loads, with the papers; and nothing without consent."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

from tests.support.speech_server import ROOT, work_in_served
from timbre import families
from timbre.commands import cli
from timbre.core.errors import DataError, SourceError
from timbre.core.sections import VoiceParams


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return work_in_served(tmp_path_factory, tmp_path / "voice", monkeypatch)


def test_plain_transformers_says_the_same_from_a_release(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import AutoTokenizer, CsmForConditionalGeneration

    assert cli.execute(["release", "--out", "out"]) == 0
    assert "README.md" in capsys.readouterr().out
    base = YAML(typ="safe").load(place / "params.yaml")["voice"]["base"]
    tuned = families.load(VoiceParams("csm", base, None), place / "models/adapter", "bf16").model
    theirs = CsmForConditionalGeneration.from_pretrained("out/merged", dtype="auto").eval()
    assert theirs.dtype == torch.bfloat16
    ids = AutoTokenizer.from_pretrained("out/merged")("[0]the ferry", return_tensors="pt")["input_ids"]
    how = {"do_sample": False, "depth_decoder_do_sample": False, "max_new_tokens": 12}
    with torch.inference_mode():
        assert (theirs.generate(input_ids=ids, **how) == tuned.generate(input_ids=ids, **how)).all()
    manifest = json.loads(Path("out/release.json").read_text())
    assert {"README.md", "adapter/adapter_model.safetensors", "merged/model.safetensors"} <= set(manifest["sha256"])
    card = Path("out/README.md").read_text()
    assert manifest["version"] in card
    assert "ann: consent given by Ann on 2026-01-01, for tests, serve, publish" in card
    assert cli.execute(["release", "--out", "out"]) == 0, "a release is replaced"


def test_nothing_is_released_without_consent_or_over_other_files(place: Path) -> None:
    people = place / "data/speakers.yaml"
    allowed = people.read_text()
    people.write_text(allowed.replace("tests, serve, publish", "tests, serve"))
    with pytest.raises(SourceError, match="ann did not consent to `publish`"):
        cli.execute(["release", "--out", "out"])
    people.write_text(allowed)
    with pytest.raises(DataError, match="models: holds other files"):
        cli.execute(["release", "--out", "models"])
    with pytest.raises(DataError, match="base: is the base alone"):
        cli.execute(["release", "base", "--out", "out"])
    assert not Path("out").exists()


def test_the_container_starts_what_there_is() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY"):
            assert all((ROOT / name).exists() for name in shlex.split(line)[1:-1])
    start = json.loads(next(line for line in lines if line.startswith("ENTRYPOINT")).partition(" ")[2])
    more = json.loads(next(line for line in lines if line.startswith("CMD")).partition(" ")[2])
    args = cli.parser(["serve"]).parse_args([*start[1:], *more])
    assert (args.host, args.voice, args.port) == ("0.0.0.0", ["champion"], 8000)
    assert "USER timbre" in lines
    assert "/ready" in "\n".join(lines)
    service = YAML(typ="safe").load(ROOT / "compose.yaml")["services"]["timbre"]
    assert service["ports"] == ["127.0.0.1:8000:8000"]
    assert YAML(typ="safe").load(ROOT / "dvc.yaml")["artifacts"]["voice"]["path"] == "models/adapter"
