"""Which version of the voice a name means."""

from __future__ import annotations

from pathlib import Path

import pytest

from timbre.core.errors import ModelError
from timbre.exchange import voice_versions


def test_before_the_first_run_a_command_without_a_name_says_what_makes_the_voice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"there is no tuned voice here; no run has made it yet, `dvc repro` does"):
        voice_versions.find("models/adapter")
    Path("dvc.lock").write_text("stages: {train: {outs: [{path: models/adapter, md5: ab.dir}]}}")
    with pytest.raises(ModelError, match=r"`dvc pull` brings it, `dvc repro` makes it; `base` is the base model"):
        voice_versions.find("models/adapter")
