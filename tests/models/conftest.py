"""A random CSM, for the tests that need no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_models import random_csm
from timbre import families
from timbre.core.sections import VoiceParams


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_csm(tmp_path_factory.mktemp("models") / "csm")


@pytest.fixture
def voice(folder: Path) -> Any:
    return families.load(VoiceParams("csm", str(folder), None))
