"""What a published model's folder cannot make Timbre do: load code of the hub, or unpickle an adapter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from timbre.core.errors import ModelError
from timbre.families import lora
from timbre.families.csm.load import read_config


def test_a_kernel_of_the_hub_is_no_attention(project: Path) -> None:
    content = json.loads((ROOT / "models/tiny/csm/config.json").read_text())
    evil = {"attn_implementation": "evil/kernel", "_attn_implementation": "evil/kernel"}
    content |= evil | {"depth_decoder_config": {**content["depth_decoder_config"], **evil}}
    (project / "config.json").write_text(json.dumps(content))
    config = read_config(str(project), {})
    assert "evil" not in json.dumps(config.to_dict(), default=str)
    assert (config._attn_implementation, config.depth_decoder_config._attn_implementation) == (None, None)


def test_an_adapter_that_is_a_pickle_is_not_loaded(project: Path) -> None:
    (project / "adapter_config.json").write_text(json.dumps({"target_modules": ["q_proj"]}))
    (project / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors: is missing"):
        lora.check_config(project)
