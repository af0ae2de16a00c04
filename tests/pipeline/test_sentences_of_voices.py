"""`timbre voices` in a finished repository: what MLflow calls the version, and a sentence of it."""

from __future__ import annotations

import json
from pathlib import Path

import soundfile

from tests.conftest import Repository


def test_a_sentence_of_each_voice_is_written(made: Repository, tmp_path: Path) -> None:
    done = made.run("timbre", "voices", "--samples", str(tmp_path / "bank"), "--json")
    (row,) = json.loads(done.stdout)
    assert (row["speaker"], row["aliases"]) == ("ann", ["candidate"])
    assert Path(row["sample"]).parent == tmp_path / "bank"
    assert soundfile.info(row["sample"]).frames > 0
