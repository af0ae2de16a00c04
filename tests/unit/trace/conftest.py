"""The voice that is traced: one for all, and a copy for a test that changes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.git_history import Voice
from tests.support.traced_voice import at, harbour_voice


@pytest.fixture(scope="session")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    return harbour_voice(tmp_path_factory.mktemp("trace") / "voice")


@pytest.fixture
def voice(harbour: Voice, monkeypatch: pytest.MonkeyPatch) -> Voice:
    monkeypatch.chdir(harbour.root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return harbour


@pytest.fixture
def scratch(voice: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Voice:
    """A copy to change."""
    shutil.copytree(voice.root, tmp_path / "voice")
    monkeypatch.chdir(tmp_path / "voice")
    return at(tmp_path / "voice")
