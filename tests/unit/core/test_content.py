"""Keys of a model's files: of what is in them now, and read once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from timbre.core import content


def test_a_models_files_are_hashed_once_and_again_when_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"first")
    os.utime(weights, (time.time() - 60,) * 2)
    (tmp_path / "README.md").write_text("a card, which is no part of the model")
    hashed: list[Path] = []
    whole = content.file_sha256
    monkeypatch.setattr(content, "file_sha256", lambda path: hashed.append(path) or whole(path))
    first = content.model_files(tmp_path)
    assert content.model_files(tmp_path) == first == [("model.safetensors", whole(weights))]
    assert hashed == [weights]
    weights.write_bytes(b"other")
    assert content.model_files(tmp_path) == [("model.safetensors", whole(weights))] != first


def test_a_file_that_was_just_written_is_read_each_time(tmp_path: Path) -> None:
    """Some file systems give what is written within one tick the same time."""
    weights = tmp_path / "model.safetensors"
    now = time.time()
    seen = []
    for bytes_ in (b"first", b"other"):
        weights.write_bytes(bytes_)
        os.utime(weights, (now, now))
        seen.append(content.model_files(tmp_path))
    assert seen[0] != seen[1]
