"""What a stage took is remembered for whoever asks what a change will cost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from timbre.core import running

STAGE = "from timbre.core import running\nif __name__ == '__main__':\n    running.run(lambda: {code})\n"


def run(root: Path, module: str, code: int | str) -> None:
    path = root / f"{module.replace('.', '/')}.py"
    path.parent.mkdir(exist_ok=True)
    (path.parent / "__init__.py").touch()  # this package, not the repository's of the same name
    path.write_text(STAGE.format(code=code))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", module], cwd=root, env=env, check=code != 1)


def test_a_stage_that_ended_well_leaves_its_seconds(tmp_path: Path) -> None:
    for stage in ("hear", "speak"):
        run(tmp_path, f"stages.{stage}", 0)
    run(tmp_path, "stages.fail", 1)
    run(tmp_path, "other.command", 0)
    found = running.times(tmp_path / running.TIMES)
    assert sorted(found) == ["hear", "speak"]
    assert all(seconds >= 0 for seconds in found.values())


def test_a_stage_that_found_all_again_leaves_the_seconds_of_the_run_that_computed(tmp_path: Path) -> None:
    found = "running.COMPUTED.extend([0, 0])"
    (tmp_path / running.TIMES).parent.mkdir()
    running.write_times({"kept": 99.0, "part": 99.0}, tmp_path / running.TIMES)
    run(tmp_path, "stages.kept", found)
    run(tmp_path, "stages.fresh_clone", found)
    run(tmp_path, "stages.part", "running.COMPUTED.extend([0, 3])")
    seconds = running.times(tmp_path / running.TIMES)
    assert seconds["kept"] == 99.0
    assert "fresh_clone" not in seconds
    assert seconds["part"] < 99.0


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"train": "long"}', b"\xff"])
def test_a_note_that_cannot_be_read_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "times.json").write_bytes(content)
    assert running.times(tmp_path / "times.json") == {}


def test_a_stage_does_not_fail_where_no_note_can_be_left(tmp_path: Path) -> None:
    (tmp_path / ".timbre").write_text("a file in the way")
    run(tmp_path, "stages.hear", 0)
