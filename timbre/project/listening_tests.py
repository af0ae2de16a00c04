"""A blind listening test: what is heard in which order, and which voice each sound is.

    test = load("0123456789ab")                    # data/opinions/tests/<id>.json, which an export leaves in git
    answers_to(test, 3, "first", 4.2)              # as rows of data/opinions
    take(Path("answers.tsv"))                      # checks a file that a listener sent back, and adds it

The page that a listener sees knows neither voices nor which trials are catch trials: it sends the number of a screen
and an answer, and the test says what was heard there. So a file of answers cannot speak of other voices.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from timbre.core.content import write_atomic
from timbre.core.errors import DataError, raise_all
from timbre.core.records import ListeningAnswer, check_id
from timbre.core.safe_text import short_repr
from timbre.project import opinions
from timbre.project.opinions import NUMBER, SECONDS, TEST

FOLDER = opinions.PATH / "tests"
HEAD = "# timbre answers"  # begins a file of answers; the test's id and the listener follow
COLUMNS = ("trial", "answer", "seconds")
LARGEST = 1 << 20  # bytes of a file of answers; 1,000 answers are 20,000


@dataclass(frozen=True)
class Stimulus:
    voice: str  # as in ListeningAnswer
    sound: str


@dataclass(frozen=True)
class ListeningScreen:
    kind: str  # ab, abx, rating
    prompt: str
    text: str  # of the sentence
    stimuli: tuple[Stimulus, ...]  # in the order in which they stand on the screen
    hidden: str = ""  # of abx: which of the two X is, first or second


@dataclass(frozen=True)
class ListeningTest:
    id: str
    kind: str
    screens: tuple[ListeningScreen, ...]


def answers_to(test: ListeningTest, number: int, answer: str, seconds: float) -> list[ListeningAnswer]:
    """An answer to the screen as rows; DataError where the screen has no such answer."""
    if not 1 <= number <= len(test.screens):
        raise DataError(f"there is no trial {number}; the test has {len(test.screens)}")
    screen = test.screens[number - 1]
    about = (test.id, number, screen.kind, screen.prompt)
    taken = round(seconds, 2)
    if screen.kind == "rating":
        given = answer.split(",")
        if len(given) != len(screen.stimuli):
            raise DataError(f"{short_repr(answer, 40)} has {len(given)} ratings for {len(screen.stimuli)} sounds")
        _check("rating", *given)
        pairs = zip(screen.stimuli, given, strict=True)
        return [ListeningAnswer(*about, one.voice, one.sound, "", "", rating, taken) for one, rating in pairs]
    first, second = screen.stimuli
    said = answer
    if screen.kind == "abx" and answer in ("first", "second"):
        said = "right" if answer == screen.hidden else "wrong"
    elif screen.kind == "abx":
        raise DataError(f"{short_repr(answer, 40)} is no answer; expected first or second")
    _check(screen.kind, said)
    return [ListeningAnswer(*about, first.voice, first.sound, second.voice, second.sound, said, taken)]


def _check(kind: str, *answers: str) -> None:
    raise_all(DataError, filter(None, (opinions.wrong_answer(kind, answer) for answer in answers)))


def save(test: ListeningTest, folder: Path = FOLDER) -> Path:
    path = folder / f"{test.id}.json"
    write_atomic(path, json.dumps(asdict(test), ensure_ascii=False, indent=1) + "\n")
    return path


def load(name: str, folder: Path = FOLDER) -> ListeningTest:
    path = folder / f"{name}.json"
    try:
        values = json.loads(path.read_bytes())
        screens = (
            ListeningScreen(**screen | {"stimuli": tuple(Stimulus(**one) for one in screen["stimuli"])})
            for screen in values["screens"]
        )
        return ListeningTest(values["id"], values["kind"], tuple(screens))
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: is not here; `timbre compare --export` wrote it where the test was made, and git brings it"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is no listening test ({error})") from error


@dataclass(frozen=True)
class TakenAnswers:
    listener: str
    answered: int  # screens
    screens: int
    path: Path  # of the listener's opinions


def take(file: Path, listener: str = "", folder: Path = opinions.PATH) -> TakenAnswers:
    """Check every line of a file that came from outside, and add the answers; nothing is added if one is wrong."""
    lines = _lines(file)
    name, said_by = _head(file, lines[0] if lines else "")
    test = load(name, folder / FOLDER.name)
    who = listener or said_by
    answers, problems = _checked(file, lines, test)
    known = opinions.read(folder).get(who, ())
    if any(answer.test == test.id for answer in known):
        problems.append(f"{file}:1: {who} has answered test {test.id} already; --listener names somebody else")
    raise_all(DataError, problems)
    path = opinions.add(who, [row for rows in answers.values() for row in rows], folder)
    return TakenAnswers(who, len(answers), len(test.screens), path)


def _head(file: Path, line: str) -> tuple[str, str]:
    parts = line.removeprefix(HEAD).split()
    if not line.startswith(HEAD) or len(parts) != 2 or not TEST.fullmatch(parts[0]):
        raise DataError(f"{file}:1: expected `{HEAD} <test> <listener>`; is this the file that the page saved?")
    try:
        return parts[0], check_id(parts[1])
    except DataError as error:
        raise DataError(f"{file}:1: {error}") from error


def _checked(
    file: Path, lines: Sequence[str], test: ListeningTest
) -> tuple[dict[int, list[ListeningAnswer]], list[str]]:
    """By screen; and a problem per line that is wrong."""
    problems = [] if lines[1:2] == ["\t".join(COLUMNS)] else [f"{file}:2: expected `{'<tab>'.join(COLUMNS)}`"]
    answers: dict[int, list[ListeningAnswer]] = {}
    for number, line in enumerate(lines[2:], 3):
        try:
            screen, rows = _answer(line, test)
            if screen in answers:
                raise DataError(f"trial {screen} has an answer already")
            answers[screen] = rows
        except DataError as error:
            problems.append(f"{file}:{number}: {error}")
    if not answers and not problems:
        problems.append(f"{file}: holds no answer")
    return answers, problems


def _answer(line: str, test: ListeningTest) -> tuple[int, list[ListeningAnswer]]:
    cells = line.split("\t")
    if len(cells) != len(COLUMNS):
        raise DataError(f"has {len(cells)} cells; expected {len(COLUMNS)}, with one tab between")
    trial, answer, seconds = cells
    for text, pattern, what in ((trial, NUMBER, "trial"), (seconds, SECONDS, "number of seconds")):
        if not pattern.fullmatch(text):
            raise DataError(f"{short_repr(text, 40)} is no {what}")
    return int(trial), answers_to(test, int(trial), answer, float(seconds))


def _lines(file: Path) -> list[str]:
    try:
        with file.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    if len(content) > LARGEST:
        raise DataError(f"{file}: is larger than {LARGEST >> 20} MB; it is no file of answers")
    try:
        return content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: byte {error.start} is not UTF-8") from error
