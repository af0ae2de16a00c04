"""A stage's command line is its function's signature."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest

from timbre.mapping import inputs
from timbre.mapping.stage import arguments, run_stage


def stage(raw: Annotated[Path, "folder of recordings"], first_year: Annotated[int, "of the archive"]) -> None:
    print(f"read {raw} from {first_year}")


def test_flags_become_the_arguments_with_their_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["stage", "--first-year", "1990", "--raw", "data/raw"])
    assert arguments(stage) == {"raw": Path("data/raw"), "first_year": 1990}


def test_help_begins_with_the_module_and_says_what_each_flag_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["stage", "--help"])
    with pytest.raises(SystemExit, match="0"):
        run_stage(stage)
    said = capsys.readouterr().out
    assert "A stage's command line is its function's signature." in said
    assert "--raw RAW" in said
    assert "folder of recordings" in said


@pytest.mark.parametrize("flags", [["--raw", "data/raw"], ["--raw", "data/raw", "--first-year", "old"]])
def test_a_flag_that_is_missing_or_no_number_ends_the_stage_before_it_begins(
    flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["stage", *flags])
    with pytest.raises(SystemExit, match="2"):
        run_stage(stage)
    told = capsys.readouterr()
    assert "--first-year" in told.err
    assert told.out == ""


def test_the_stage_runs_with_what_the_command_line_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["stage", "--raw", "data/raw", "--first-year", "1990"])
    with pytest.raises(SystemExit, match="0"):
        run_stage(stage)
    assert capsys.readouterr().out == "read data/raw from 1990\n"


PIPELINE = """
stages:
  segment:
    cmd: python -m stages.segment
    deps: [data/transcripts, data/raw, code/reader.py]
    params: [chunk, '${voice.family}']
    outs: [data/segments]
  fetch:
    cmd: python -m stages.fetch
    outs:
      - data/raw: {persist: true}
"""
PARAMS = "voice: {family: csm}\nchunk: {max_seconds: 30}\ncsm: {depth_share: 1}\ntrain: {rank: 32}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {
        "dvc.yaml": PIPELINE,
        "params.yaml": PARAMS,
        ".dvcignore": "__pycache__\n.*.swp\n",
        "data/transcripts/alpha.tsv": "0\t1\tann\t\tOne.\n",
        "data/raw/alpha.json": "{}",
        "code/reader.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "segment")
    monkeypatch.setattr("sys.argv", ["stage"])
    return tmp_path


def write(path: str, text: str) -> Callable[[], None]:
    def edit() -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)

    return edit


EDITS = {
    "data/transcripts": write("data/transcripts/alpha.tsv", "0\t1\tann\t\tTwo.\n"),
    "code/reader.py": write("code/reader.py", "# faster\n"),
    "chunk in params.yaml": write("params.yaml", PARAMS.replace("30", "20")),
    "csm in params.yaml": write("params.yaml", PARAMS.replace("share: 1", "share: 2")),
}


@pytest.mark.parametrize("changed", EDITS)
def test_an_edit_while_a_stage_runs_fails_it_and_is_named(
    changed: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        EDITS[changed]()

    with pytest.raises(SystemExit, match="1"):
        run_stage(main)
    assert capsys.readouterr().err == (
        f"error: changed while segment ran: {changed}; its results would be recorded with inputs that it did not use, "
        "so run `dvc repro` again (finished work is kept)\n"
    )


@pytest.mark.parametrize(
    "edit",
    [
        write("data/raw/alpha.json", '{"of": "another stage"}'),
        write("data/transcripts/.alpha.tsv.swp", "an editor's"),
        write("code/__pycache__/reader.pyc", ""),
        write("params.yaml", "# a comment\n" + PARAMS.replace("rank: 32", "rank: 16")),
        write("data/transcripts/alpha.tsv", "0\t1\tann\t\tOne.\n"),
    ],
)
def test_what_the_stage_does_not_record_may_change(edit: Callable[[], None], project: Path) -> None:
    with pytest.raises(SystemExit, match="0"):
        run_stage(edit)


def test_a_broken_file_of_parameters_at_the_end_is_an_edit(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        run_stage(write("params.yaml", "voice: {family"))
    assert "chunk in params.yaml, csm in params.yaml" in capsys.readouterr().err


def test_a_stage_that_is_run_by_hand_is_not_watched(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE")
    with pytest.raises(SystemExit, match="0"):
        run_stage(EDITS["code/reader.py"])


def test_a_stage_that_runs_though_nothing_changed_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text("stages:\n  train:\n    cmd: x\n    deps: [code.py, out.csv]\n    params: [train]\n")
    Path("params.yaml").write_text("train: {rank: 8}\n")
    Path("code.py").write_text("1\n")
    digest = inputs.dvc_hash(Path("code.py"))
    lock = {"deps": [{"path": "code.py", "md5": digest}], "params": {"params.yaml": {"train": {"rank": 8}}}}
    Path("out.csv").write_text("2\n")
    lock["deps"].append({"path": "out.csv", "md5": inputs.dvc_hash(Path("out.csv"))})  # type: ignore[attr-defined]
    assert not inputs.as_recorded("train"), "DVC never recorded it"
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": {"train": lock}}))
    assert inputs.as_recorded("train")
    Path("code.py").write_text("1  # a comment\n")
    assert not inputs.as_recorded("train")
    Path("code.py").write_text("1\n")
    Path("params.yaml").write_text("train: {rank: 16}\n")
    assert not inputs.as_recorded("train")
