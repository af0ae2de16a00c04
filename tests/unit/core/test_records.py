from __future__ import annotations

from pathlib import Path

import pytest

from timbre.core.errors import DataError
from timbre.core.records import Segment, check_id, read_jsonl, write_jsonl


@pytest.mark.parametrize("good", ["talk", "a", "2024-keynote_1", "x" * 64])
def test_an_id_that_is_a_plain_file_name_is_taken(good: str) -> None:
    assert check_id(good) == good


@pytest.mark.parametrize(
    "bad", ["", "../x", "a/b", "a b", "-rf", ".hidden", "a.b", "Talk", "x" * 65, "a\n", "é", None, 3, True]
)
def test_an_id_that_could_become_a_path_or_a_flag_is_refused(bad: object) -> None:
    with pytest.raises(DataError, match="cannot be an id"):
        check_id(bad)


def test_records_survive_their_file_with_times_rounded_to_a_millisecond(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    write_jsonl(path, [Segment("talk", 0.10004, 1.5, "ann", 'Say "ü"\u2028')])
    assert read_jsonl(path, Segment) == [Segment("talk", 0.1, 1.5, "ann", 'Say "ü"\u2028')]


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "nonsense",
        "[]",
        '{"recording": "a", "start": 2, "end": 1, "speaker": "s", "text": "t", "dropped": false}',
    ],
)
def test_a_damaged_line_is_told_with_file_and_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "talk.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=r"talk\.jsonl:1: not a Segment"):
        read_jsonl(path, Segment)
