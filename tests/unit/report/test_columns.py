"""One printer for every table in a terminal."""

from __future__ import annotations

from timbre.report.columns import columns


def test_cells_line_up_and_nothing_trails() -> None:
    assert columns([("run", "day"), ("harbour", "2026-03-01"), ("x", "")]) == [
        "run      day",
        "harbour  2026-03-01",
        "x",
    ]


def test_a_column_that_is_empty_in_every_row_is_left_out() -> None:
    assert columns([("a", "", "b"), ("c", "", "d")]) == ["a  b", "c  d"]


def test_numbers_are_aligned_to_the_right() -> None:
    assert columns([("", "words"), ("Base", "6%"), ("Tuned", "12.5%")], numbers=True) == [
        "       words",
        "Base      6%",
        "Tuned  12.5%",
    ]


def test_a_long_cell_moves_only_its_own_line() -> None:
    assert columns([("long" * 3, "x"), ("ab", "y"), ("abc", "z")], widest=5) == [
        "longlonglong  x",
        "ab   y",
        "abc  z",
    ]


def test_no_row_is_no_line() -> None:
    assert columns([]) == []
