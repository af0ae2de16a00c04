"""The sentences that are spoken for evaluation: a table that people own, and sentences of held-out clips.

Prompts from held-out clips are called true prompts: the speaker's own recording of them exists, so one can compare.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from timbre.core.errors import DataError, raise_all
from timbre.core.records import Example, Kind, check_id
from timbre.core.text import words
from timbre.synthesis.reference import order

COLUMNS = ("id", "kind", "text")  # of the table of prompts
KINDS = ("domain", "hard")  # of prompts in the table; `true` ones are chosen from the held-out clips
TRUE = "true-"  # begins the id of a true prompt; its clip's id follows


class Prompt(NamedTuple):
    id: str
    kind: Kind
    text: str
    clip: str | None = None  # in which the speaker says it


def read_prompts(path: Path) -> list[Prompt]:
    """All mistakes at once."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    found: dict[str, Prompt] = {}
    wrong = [] if lines[:1] == ["\t".join(COLUMNS)] else [f"{path}:1: expected the header `{'<tab>'.join(COLUMNS)}`"]
    for number, line in enumerate(lines[1:], 2):
        wrong += [f"{path}:{number}: {problem}" for problem in mistakes(line, found)]
        identifier, kind, text = (*line.split("\t"), "", "")[:3]
        found[identifier] = Prompt(identifier, cast(Kind, kind), text.strip())
    if not found:
        wrong.append(f"{path}: holds no prompt")
    raise_all(DataError, wrong)
    return list(found.values())


def mistakes(line: str, known: Container[str]) -> Iterator[str]:
    cells = line.split("\t")
    if len(cells) != len(COLUMNS) or not cells[-1].strip():
        yield "expected an id, a kind and a text, with one tab between"
    elif cells[1] not in KINDS:
        yield f"{cells[1]!r} is no kind of prompt; write {' or '.join(KINDS)}"
    try:
        check_id(cells[0])
    except DataError as error:
        yield str(error)
    if cells[0] in known:
        yield f"the id {cells[0]} is there twice"
    if cells[0].startswith(TRUE):
        yield f"the id {cells[0]} begins as those of true prompts do; choose another"


def true_prompts(rows: Sequence[Example], speaker: str, known: Sequence[Prompt], count: int) -> list[Prompt]:
    """Sentences of clips for evaluation, each once, and none that is a prompt already."""
    said = {tuple(words(prompt.text)) for prompt in known}
    chosen: list[Prompt] = []
    for row in sorted((row for row in rows if row.source == speaker), key=order):
        if len(chosen) < count and tuple(words(row.text)) not in said:
            said.add(tuple(words(row.text)))
            chosen.append(Prompt(f"{TRUE}{row.id}", "true", row.text, row.id))
    return chosen
