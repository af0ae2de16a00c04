"""`dvc exp run -S voice.family=… -S voice.base=…`: two families encode the same clips, by DVC itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import Repository
from tests.support.family_root import family_root
from tests.support.paths import ROOT
from tests.support.tiny_sovits import random_sovits
from tests.support.tiny_xtts import random_xtts

pytestmark = pytest.mark.pipeline

CODE = ("stages/", "timbre/", "models/tiny/")  # dependencies that lie elsewhere here


@pytest.fixture
def repository(tmp_path: Path, warm: Path) -> Repository:
    """The stage `encode` as it is declared, on clips that both families can learn."""
    random_xtts(tmp_path / "models/xtts")
    random_sovits(tmp_path / "models/sovits")
    family_root(tmp_path, "xtts", 3.1, {})
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    encode = stages["encode"] | {"deps": [path for path in stages["encode"]["deps"] if not path.startswith(CODE)]}
    with (tmp_path / "dvc.yaml").open("w") as stream:
        YAML().dump({"stages": {"encode": encode}}, stream)
    ignored = ("/data/codes", "/models", "/scratch", "__pycache__")
    (tmp_path / ".gitignore").write_text("\n".join(ignored) + "\n")
    repository = Repository(tmp_path, warm)
    repository.begin()
    repository.commit("A voice")
    return repository


def test_two_families_are_experiments_on_the_same_clips(repository: Repository) -> None:
    root = repository.root
    for family in ("sovits", "xtts"):
        wanted = ("-S", f"voice.family={family}", "-S", f"voice.base=models/{family}")
        repository.run("dvc", "exp", "run", "--name", f"by-{family}", *wanted, PYTHONPATH=str(ROOT))
        assert len(list((root / f"data/codes/{family}").glob("*.safetensors"))) == 5
    wanted = ("-S", "voice.family=sovits", "-S", "voice.base=models/sovits")
    back = repository.run("dvc", "exp", "run", "--name", "back", *wanted, PYTHONPATH=str(ROOT))
    assert "encode: 0 computed, 5 restored" in f"{back.stdout}{back.stderr}", "each family keeps its codes"
    listed = set(repository.run("dvc", "exp", "list", "--name-only").stdout.split())
    assert {"by-sovits", "by-xtts"} <= listed
