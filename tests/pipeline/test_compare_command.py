"""`timbre compare` on what the pipeline left: which voices it plays, and which it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.report_outs import write_owned, write_report_outs
from tests.support.shared import built_once
from timbre.commands import cli
from timbre.core.errors import DataError, SourceError
from timbre.project import listening_tests


@pytest.fixture(autouse=True)
def _outs(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    shutil.copytree(built_once(tmp_path_factory, "report-outs", write_report_outs), project, dirs_exist_ok=True)


def test_the_command_exports_the_work_trees_voices_and_takes_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["compare", "-n", "3", "--export", "test.html", "--seed", "0"]) == 0
    (plan_file,) = Path("data/opinions/tests").iterdir()
    test = listening_tests.load(plan_file.stem)
    voices = {one.voice.split("@")[0] for screen in test.screens for one in screen.stimuli}
    assert voices == {"tuned_clone", "base_clone", "spoilt"}
    assert 'content="marina"' in Path("test.html").read_text()[:1000]
    Path("answers.tsv").write_text(f"# timbre answers {test.id} bob\ntrial\tanswer\tseconds\n1\tneither\t4.5\n")
    assert cli.execute(["compare", "--take", "answers.tsv"]) == 0
    assert "bob answered 1 of 9 trials" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["v1:louder"], "'louder' is no condition"),
        (["tuned", "tuned"], "the same voice"),
        (["-n", "0"], "one trial or more"),
        (["--listener", "Ann Smith"], "cannot be an id"),
        (["--take", "nothing.tsv"], "nothing.tsv: cannot be read"),
    ],
)
def test_what_cannot_be_compared_is_told(arguments: list[str], told: str) -> None:
    with pytest.raises(DataError, match=told):
        cli.execute(["compare", *arguments, "--export", "test.html"])


def test_before_the_first_run_only_a_run_is_advised_and_afterwards_a_pull_too(project: Path) -> None:
    shutil.rmtree("reports/samples")
    lock = {"stages": {"generate": {"cmd": "x", "outs": [{"path": "reports/samples", "md5": "ab.dir"}]}}}
    for content, way in (({}, "no run has made it yet, `dvc repro` does"), (lock, "`dvc pull` brings it, `dvc repro`")):
        Path("dvc.lock").write_text(json.dumps(content))
        with pytest.raises(DataError, match=way):
            cli.execute(["compare", "--export", "test.html"])


def test_a_voice_whose_consent_was_withdrawn_is_not_played(project: Path) -> None:
    write_owned(project, revoked="2026-05-01")
    with pytest.raises(SourceError, match="withdr"):
        cli.execute(["compare", "--export", "test.html"])
    assert not Path("test.html").exists()
