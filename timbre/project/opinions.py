"""data/opinions/<listener>.tsv: what people preferred in blind listening tests, a row per answer, in git.

    add("ann", answers)                # appended; the file begins with a header
    opinions = read(PATH)              # {"ann": [ListeningAnswer(…), …]}; every mistake of every file at once

A row names the two voices and their sounds in the order in which they were heard, so it stays true whatever is trained
later: an answer counts for a version exactly if the version's samples have these sounds. A listener is a pseudonym; the
file says nothing else about the person.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from timbre.core.content import read_text, write_atomic
from timbre.core.errors import DataError, raise_all
from timbre.core.records import SPOILT, TRUE, ListeningAnswer, check_id
from timbre.core.safe_text import short_repr

PATH = Path("data/opinions")
COLUMNS = (
    "test", "trial", "kind", "prompt", "first", "first_sound", "second", "second_sound", "answer", "seconds",
)  # fmt: skip
KINDS = ("ab", "abx", "rating")
PREFERENCES = ("first", "second", "neither")  # answers to `ab`
IDENTIFIED = ("right", "wrong")  # answers to `abx`
BEST = 100  # of a rating
VOICE = re.compile(rf"{TRUE}|{SPOILT}|[a-z_]{{1,20}}@[0-9a-f]{{16}}")
SOUND = re.compile(r"[0-9a-f]{16}")
TEST = re.compile(r"[0-9a-f]{12}")
SECONDS = re.compile(r"\d{1,6}(\.\d{1,2})?", re.ASCII)
NUMBER = re.compile(r"[1-9]\d{0,3}", re.ASCII)
RATING = re.compile(r"100|[1-9]?\d", re.ASCII)


def row(answer: ListeningAnswer) -> str:
    return "\t".join(_cell(value) for value in vars(answer).values())


def _cell(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def add(listener: str, answers: Sequence[ListeningAnswer], folder: Path = PATH) -> Path:
    """Append to the listener's file."""
    path = folder / f"{check_id(listener)}.tsv"
    before = read_text(path) if path.exists() else "\t".join(COLUMNS) + "\n"
    if before and not before.endswith("\n"):
        before += "\n"
    write_atomic(path, before + "".join(f"{row(answer)}\n" for answer in answers))
    return path


def read(folder: Path = PATH) -> dict[str, list[ListeningAnswer]]:
    """By listener, in the order of their names; nobody where there is no folder."""
    contents = {path: read_text(path) for path in sorted(folder.glob("*.tsv"))}
    problems: list[str] = []
    answers = {path.stem: list(parse(text, str(path), problems)) for path, text in contents.items()}
    raise_all(DataError, problems)
    return answers


def parse(text: str, name: str, problems: list[str]) -> Iterator[ListeningAnswer]:
    """The valid rows; a line is added to `problems` for each other one."""
    lines = text.splitlines()
    if lines[:1] != ["\t".join(COLUMNS)]:
        problems.append(f"{name}:1: expected the header `{'<tab>'.join(COLUMNS)}`")
        return
    seen: set[tuple[str, int, str]] = set()
    for number, line in enumerate(lines[1:], 2):
        cells = line.split("\t")
        if problem := _mistake(cells):
            problems.append(f"{name}:{number}: {problem}")
            continue
        test, trial, kind, prompt, first, first_sound, second, second_sound, answer, seconds = cells
        given = ListeningAnswer(
            test, int(trial), kind, prompt, first, first_sound, second, second_sound, answer, float(seconds)
        )
        if given.key in seen:
            problems.append(f"{name}:{number}: trial {trial} of test {test} has an answer already; remove one of them")
            continue
        seen.add(given.key)
        yield given


def _mistake(cells: Sequence[str]) -> str:
    if len(cells) != len(COLUMNS):
        return f"has {len(cells)} cells; expected {len(COLUMNS)}, with one tab between"
    values = dict(zip(COLUMNS, cells, strict=True))
    both = ("first", "second") if values["kind"] != "rating" else ("first",)
    patterns = {"test": TEST, "trial": NUMBER, "seconds": SECONDS}
    patterns |= dict.fromkeys(both, VOICE) | {f"{name}_sound": SOUND for name in both}
    for name, pattern in patterns.items():
        if not pattern.fullmatch(values[name]):
            return f"{short_repr(values[name], 40)} is no {name.replace('_', ' ')}"
    try:
        check_id(values["prompt"])
    except DataError as error:
        return str(error)
    return wrong_answer(values["kind"], values["answer"])


def wrong_answer(kind: str, answer: str) -> str:
    """What is wrong with it, in words; empty where nothing is."""
    if kind not in KINDS:
        return f"{short_repr(kind, 40)} is no kind of trial; there are {', '.join(KINDS)}"
    if kind == "rating":
        return "" if RATING.fullmatch(answer) else f"{short_repr(answer, 40)} is no rating from 0 to {BEST}"
    allowed = PREFERENCES if kind == "ab" else IDENTIFIED
    return "" if answer in allowed else f"{short_repr(answer, 40)} is no answer; expected {' or '.join(allowed)}"
