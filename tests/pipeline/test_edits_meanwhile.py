"""What is saved while a stage runs, or between its end and DVC's look at it, is never recorded as what it used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.dvc_repo import Desk, begin

pytestmark = pytest.mark.pipeline

PIPELINE = """\
stages:
  copy:
    cmd: python -m stages.copy --notes notes --out copied{after}
    deps: [notes, stages/copy.py]
    params: [rate]
    outs: [copied]
  count:
    cmd: python -m stages.count --notes copied --out counted
    deps: [copied, stages/count.py]
    outs: [counted]
"""
STAGE = '''"""Copies the notes, with the rate."""
from pathlib import Path
from typing import Annotated

from timbre.core import params
from timbre.mapping.stage import run_stage


def main(notes: Annotated[Path, "folder or file"], out: Annotated[Path, "file"]) -> None:
    files = sorted(notes.iterdir()) if notes.is_dir() else [notes]
    text = "".join(file.read_text() for file in files) + f"at {params.load()['rate']}"
    MEANWHILE
    out.write_text(text)


if __name__ == "__main__":
    run_stage(main)
'''
AFTER = {  # in the stage's own command, since DVC looks when that has ended; the second run changes nothing more
    "notes": " && echo two > notes/alpha",
    "params.yaml": " && sed -i s/0.5/0.1/ params.yaml",
}
MEANWHILE = {
    "notes": "Path('notes/alpha').write_text('two\\n')",
    "params.yaml": "Path('params.yaml').write_text('rate: 0.1\\n')",
    "code": "Path('stages/copy.py').open('a').write('# faster\\n')",
}


@pytest.fixture(scope="module")
def first(warm: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = begin(tmp_path_factory.mktemp("first") / "voice", warm)
    desk.write("params.yaml", "rate: 0.5\n")
    desk.write("notes/alpha", "one\n")
    desk.write("dvc.yaml", PIPELINE.format(after=""))
    desk.write("stages/__init__.py", "")
    for stage in ("copy", "count"):
        desk.write(f"stages/{stage}.py", STAGE.replace("MEANWHILE", ""))
    return desk


@pytest.fixture
def desk(first: Desk, tmp_path: Path) -> Desk:
    return first.copy(tmp_path / "voice")


def is_true(desk: Desk) -> None:
    """What dvc.lock names as used is what was used: after the runs that it takes, the results are of what is there."""
    assert "up to date" in desk.run("dvc", "status").stdout
    rate = (desk.root / "params.yaml").read_text().split()[1]
    assert (desk.root / "copied").read_text() == (desk.root / "notes/alpha").read_text() + f"at {rate}"


@pytest.mark.parametrize("what", MEANWHILE)
def test_an_edit_while_a_stage_runs_fails_it_and_the_next_run_learns_it(desk: Desk, what: str) -> None:
    desk.write("stages/copy.py", STAGE.replace("MEANWHILE", MEANWHILE[what]))
    failed = desk.run("dvc", "repro", check=False)
    assert failed.returncode != 0
    assert "changed while copy ran: " in failed.stderr
    desk.write("stages/copy.py", STAGE.replace("MEANWHILE", ""))
    desk.run("dvc", "repro")
    is_true(desk)


@pytest.mark.parametrize("what", AFTER)
def test_an_edit_between_a_stages_end_and_dvcs_look_stops_the_next_stage(desk: Desk, what: str) -> None:
    desk.write("dvc.yaml", PIPELINE.format(after=AFTER[what]))
    failed = desk.run("dvc", "repro", check=False)
    assert failed.returncode != 0
    assert "changed while copy ran: " in failed.stderr
    desk.run("dvc", "repro")  # neither dvc.lock nor DVC's cache of runs has results of before under what is there now
    is_true(desk)


def test_a_run_that_nobody_disturbs_leaves_nothing_to_compare(desk: Desk) -> None:
    desk.run("dvc", "repro")
    assert [path.stem for path in (desk.root / ".timbre/inputs").iterdir()] == ["count"]
    before = (desk.root / "dvc.lock").read_text()
    desk.run("dvc", "repro", "-f")
    assert (desk.root / "dvc.lock").read_text() == before


def test_another_run_of_dvc_does_not_compare(desk: Desk) -> None:
    """The record of a run that was killed before DVC wrote dvc.lock says nothing of what a later one wrote."""
    desk.run("dvc", "repro")
    record = desk.root / ".timbre/inputs/count.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"given": {"stages/count.py": "0"}}))
    desk.run("dvc", "repro", "-f")
