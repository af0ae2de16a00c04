"""Unit tests load no torch, neither here nor in a process that they start: it takes longer than a hundred of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
REASON = "this module, or one before it, loads torch: see docs/contributing.md"
STAND_IN = """\
import sys
from pathlib import Path
with Path(__file__).with_name("asked").open("a") as asked:
    print(*sys.argv, file=asked)
raise ImportError("a process of a unit test loads torch")
"""


@pytest.fixture(scope="session")
def alone(request: pytest.FixtureRequest) -> bool:
    """Whether this process runs unit tests and no others, as `make test-fast` does."""
    return all(item.path.is_relative_to(HERE) for item in request.session.items)


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose `torch` fails, and writes into the file `asked` which process has imported it."""
    folder = tmp_path_factory.mktemp("stand-in")
    (folder / "torch.py").write_text(STAND_IN)
    return folder


@pytest.fixture(autouse=True, scope="module")
def _without_torch(alone: bool, stand_in: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", first(stand_in, os.environ.get("PYTHONPATH")))
        begin = subprocess.Popen.__init__

        def guarded(process: Any, *arguments: Any, env: Any = None, **more: Any) -> None:
            if env is not None:
                env = {**env, "PYTHONPATH": first(stand_in, env.get("PYTHONPATH"))}
            begin(process, *arguments, env=env, **more)

        patch.setattr(subprocess.Popen, "__init__", guarded)
        yield
    asked = stand_in / "asked"
    assert not asked.exists(), f"{REASON}; in a process of its own: {asked.read_text()}"
    assert not alone or "torch" not in sys.modules, REASON


def first(folder: Path, path: str | None) -> str:
    parts = [part for part in (path or "").split(os.pathsep) if part and part != str(folder)]
    return os.pathsep.join([str(folder), *parts])
