"""data/prompts.tsv: the sentences that people want to hear spoken, by which a voice is evaluated."""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple, cast

from timbre.core.content import read_text
from timbre.core.errors import DataError, raise_all
from timbre.core.records import Kind, check_id

PATH = Path("data/prompts.tsv")
COLUMNS = ("id", "kind", "text")
KINDS = ("domain", "hard")  # that a person writes; prompts of the kind `true` come from held-out clips
TRUE = "true-"  # begins the id of a true prompt; its clip's id follows


class Prompt(NamedTuple):
    id: str
    kind: Kind
    text: str
    clip: str | None = None  # in which the speaker says it


def read_prompts(path: Path) -> list[Prompt]:
    """All mistakes at once."""
    lines = read_text(path).splitlines()
    prompts: dict[str, Prompt] = {}
    wrong = [] if lines[:1] == ["\t".join(COLUMNS)] else [f"{path}:1: expected the header `{'<tab>'.join(COLUMNS)}`"]
    for number, line in enumerate(lines[1:], 2):
        wrong += [f"{path}:{number}: {problem}" for problem in mistakes(line, prompts)]
        identifier, kind, text = (*line.split("\t"), "", "")[:3]
        prompts[identifier] = Prompt(identifier, cast(Kind, kind), text.strip())
    if not prompts:
        wrong.append(f"{path}: holds no prompt")
    raise_all(DataError, wrong)
    return list(prompts.values())


def mistakes(line: str, earlier: Container[str]) -> Iterator[str]:
    cells = line.split("\t")
    if len(cells) != len(COLUMNS) or not cells[-1].strip():
        yield "expected an id, a kind and a text, with one tab between"
    elif cells[1] not in KINDS:
        yield f"{cells[1]!r} is no kind of prompt; write {' or '.join(KINDS)}"
    try:
        check_id(cells[0])
    except DataError as error:
        yield str(error)
    if cells[0] in earlier:
        yield f"the id {cells[0]} is there twice"
    if cells[0].startswith(TRUE):
        yield f"the id {cells[0]} begins as those of true prompts do; choose another"
