"""Answers of listening tests: rows in git, and files that came from outside, which are refused line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import listening
from tests.support.listening import BAD, GOOD, likes
from timbre.core.errors import DataError
from timbre.core.records import ListeningAnswer
from timbre.project import listening_tests, opinions
from timbre.project.listening_tests import ListeningTest

ANSWER = ListeningAnswer("0" * 12, 1, "ab", "bridge", GOOD, "1" * 16, BAD, "2" * 16, "first", 3.25)
RATING = ListeningAnswer("0" * 12, 2, "rating", "bridge", GOOD, "1" * 16, "", "", "70", 9.0)
SENT = "# timbre answers {test} guest-0a1b\ntrial\tanswer\tseconds\n"


@pytest.fixture
def test(project: Path) -> ListeningTest:
    made = listening.sitting().test
    listening_tests.save(made)
    return made


def sent(test: ListeningTest, *lines: str) -> Path:
    path = Path("answers.tsv")
    path.write_text(SENT.format(test=test.id) + "".join(f"{line}\n" for line in lines))
    return path


def test_answers_are_appended_and_read_again(project: Path) -> None:
    opinions.add("ann", [ANSWER])
    opinions.add("ann", [RATING])
    opinions.add("bob", [ANSWER])
    assert opinions.read() == {"ann": [ANSWER, RATING], "bob": [ANSWER]}


@pytest.mark.parametrize("seconds", [0.0, 2.0, 4.5, 12345.67, 999999.99])
def test_every_duration_that_is_taken_can_be_read_again(test: ListeningTest, seconds: float) -> None:
    taken = listening_tests.take(sent(test, f"1\tneither\t{seconds}"))
    assert opinions.read()[taken.listener][0].seconds == seconds


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"answer": "both"}, "'both' is no answer; expected first or second or neither"),
        ({"first": "<script>"}, "'<script>' is no first"),
        ({"second_sound": "../etc"}, "'../etc' is no second sound"),
        ({"prompt": "a b"}, "'a b' cannot be an id"),
        ({"kind": "poll"}, "'poll' is no kind of trial"),
        ({"seconds": "1e9"}, "'1e9' is no seconds"),
        ({"trial": 0}, "'0' is no trial"),
        ({"answer": "first\textra"}, "has 11 cells; expected 10"),
        ({}, "trial 1 of test 000000000000 has an answer already"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(project: Path, change: dict[str, object], told: str) -> None:
    path = opinions.add("ann", [ANSWER])
    wrong = ListeningAnswer(**{**vars(ANSWER), **change})  # type: ignore[arg-type]
    path.write_text(path.read_text() + opinions.row(wrong) + "\n")
    with pytest.raises(DataError, match=r"ann\.tsv:3: ") as error:
        opinions.read()
    assert told in str(error.value)


def test_what_came_back_is_added_once(test: ListeningTest) -> None:
    rows = [f"{number}\t{likes(GOOD)(screen)}\t2.5" for number, screen in enumerate(test.screens, 1)]
    taken = listening_tests.take(sent(test, *rows))
    assert (taken.listener, taken.answered, taken.screens) == ("guest-0a1b", 9, 9)
    assert opinions.read()["guest-0a1b"] == listening.answered(test, likes(GOOD))
    with pytest.raises(DataError, match="guest-0a1b has answered test"):
        listening_tests.take(sent(test, *rows))
    assert listening_tests.take(sent(test, *rows), "bob").listener == "bob"


def test_a_hostile_file_of_answers_is_refused_by_line_and_nothing_is_added(test: ListeningTest) -> None:
    lines = (
        "1\tfirst\t2.5",
        "1\tsecond\t2.5",
        "99\tfirst\t1",
        "2\t<img src=x onerror=alert(1)>\t1",
        "3\tfirst\t-1",
        "4\tfirst\tnan",
        "5\tfirst",
        "٣\tfirst\t1",
        "6\tfirst\t1\t\x1b[31m",
        "7\t80,20\t1",
    )
    with pytest.raises(DataError) as error:
        listening_tests.take(sent(test, *lines))
    told = str(error.value).splitlines()
    assert [line.split(": ")[0] for line in told] == [f"answers.tsv:{number}" for number in range(4, 13)]
    assert [line.split(": ", 1)[1] for line in told[:3]] == [
        "trial 1 has an answer already",
        "there is no trial 99; the test has 9",
        "'<img src=x onerror=alert(1)>' is no answer; expected first or second or neither",
    ]
    assert not list(opinions.PATH.glob("*.tsv"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "answers.tsv:1: expected `# timbre answers <test> <listener>`"),
        (b"# timbre answers ../../etc/passwd ann\n", "answers.tsv:1: expected"),
        (b"# timbre answers 000000000000 ann\n", "000000000000.json: is not here"),
        (b"# timbre answers {test} ../ann\ntrial\tanswer\tseconds\n1\tfirst\t2\n", "answers.tsv:1: '../ann' cannot be"),
        (b"# timbre answers {test} ann\n1\tfirst\t2\n", "answers.tsv:2: expected `trial<tab>answer<tab>seconds`"),
        (b"# timbre answers {test} ann\ntrial\tanswer\tseconds\n", "answers.tsv: holds no answer"),
        (b"\xff\xfe", "answers.tsv: byte 0 is not UTF-8"),
        (b"# " + b"x" * (2 << 20), "answers.tsv: is larger than 1 MB"),
    ],
)
def test_what_is_no_file_of_answers_is_refused(test: ListeningTest, content: bytes, told: str) -> None:
    Path("answers.tsv").write_bytes(content.replace(b"{test}", test.id.encode()))
    with pytest.raises(DataError) as error:
        listening_tests.take(Path("answers.tsv"))
    assert told in str(error.value)
    assert not list(opinions.PATH.glob("*.tsv"))
