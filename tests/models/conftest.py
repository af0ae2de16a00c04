"""A random CSM, for the tests that need no other, and a repository for the speech server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.speech_server import copy_served, served_once
from tests.support.tiny_models import random_csm
from timbre import families
from timbre.core.sections import VoiceParams


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_csm(tmp_path_factory.mktemp("models") / "csm")


@pytest.fixture
def voice(folder: Path) -> Any:
    return families.load(VoiceParams("csm", str(folder), None))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the speech server serves, to be copied."""
    return served_once(tmp_path_factory)


@pytest.fixture
def served(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may change, and works in."""
    root = copy_served(template, tmp_path / "voice")
    monkeypatch.chdir(root)
    return root
