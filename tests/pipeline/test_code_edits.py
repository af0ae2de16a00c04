"""An edit of the code that changes no result starts stages, which find that there is nothing to compute."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from tests.conftest import MAPS, Repository
from tests.support.paths import ROOT
from timbre.versions import dvc_lock
from timbre.versions.snapshot import WorkTree

STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


def comment(file: Path) -> None:
    file.write_text(f"{file.read_text(encoding='utf-8')}# a comment\n", encoding="utf-8")


def test_a_comment_in_the_errors_and_in_another_family_computes_no_entry_and_takes_no_step(
    repository: Repository,
) -> None:
    families = repository.root / "timbre/families"
    other = next(path for path in sorted(families.glob("*/__init__.py")) if path.parent.name != "csm")
    before = dvc_lock.read(WorkTree(repository.root)).outs
    comment(repository.root / "timbre/core/errors.py")
    comment(other)
    done = repository.repro()
    assert set(STAGES) - set(done.ran) <= {"track"}, "each depends on timbre/core"
    assert done.trained is False
    assert [stage for stage in MAPS if done.computed(stage) or done.restored(stage)] == []
    assert dvc_lock.read(WorkTree(repository.root)).outs == before
