"""A repository after its first `dvc repro`. It takes a minute to make, so only the tests of this folder use it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Repository
from tests.support.paths import ROOT
from tests.support.shared import built_once


@pytest.fixture(scope="session")
def made(warm: Path, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The repository after its first `dvc repro`; tests work on copies of it."""
    return Repository(built_once(tmp_path_factory, "pipeline", partial(_run_pipeline, warm=warm)), warm)


def _run_pipeline(root: Path, warm: Path) -> None:
    from tests.support.build import build_repository

    repository = Repository(root, warm)
    build_repository(root, ROOT)
    repository.begin()
    repository.repro()
    repository.commit("First voice")


@pytest.fixture
def repository(made: Repository, tmp_path: Path) -> Repository:
    return made.copy(tmp_path / "voice")
