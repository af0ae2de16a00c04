"""The recipe of the tiny models is a DVC project of its own, which the pipeline of a voice never walks."""

from __future__ import annotations

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")


def test_dvc_finds_the_stages_of_the_voice_alone_and_none_that_it_warns_of() -> None:
    from dvc.repo import Repo

    with Repo(str(ROOT)) as repo:
        stages = list(repo.index.stages)
    assert {stage.path for stage in stages} == {str(ROOT / "dvc.yaml")}
    assert not any(stage.frozen for stage in stages)


def test_the_lock_of_the_recipe_names_the_weights_that_are_here_and_the_code_that_made_them() -> None:
    from dvc.repo import Repo

    with Repo(str(ROOT / "models/tiny/recipe")) as repo:
        assert len(list(repo.index.stages)) == 11
        assert repo.status() == {}
