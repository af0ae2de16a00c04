"""A stage's command line is its function's signature."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest

from timbre.core.running import arguments, run_stage


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
