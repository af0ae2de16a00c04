"""data/prompts.tsv: the sentences that people want to hear spoken, by which a voice is evaluated.

    id      kind    text                                language
    bridge  domain  Train five stops after the bridge.
    gruss   domain  Guten Tag, wohin geht die Reise?    de

The column `language` may be left out; a sentence without one is in the language of the speaker's recordings.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from timbre.core.content import read_text
from timbre.core.errors import DataError, raise_all
from timbre.core.records import Kind, check_id
from timbre.project.sources import check_language

PATH = Path("data/prompts.tsv")
COLUMNS = ("id", "kind", "text")
OPTIONAL = ("language",)  # that may follow, in this order
KINDS = ("domain", "hard")  # that a person writes; prompts of the kind `true` come from held-out clips
TRUE = "true-"  # begins the id of a true prompt; its clip's id follows


class Prompt(NamedTuple):
    id: str
    kind: Kind
    text: str
    clip: str | None = None  # in which the speaker says it
    language: str | None = None  # None: that of the speaker's recordings


def read_prompts(path: Path) -> list[Prompt]:
    """All mistakes at once."""
    header, *lines = read_text(path).splitlines() or [""]
    columns, prompts = header.split("\t"), dict[str, Prompt]()
    wrong = [] if _is_header(columns) else [f"{path}:1: expected the header `{'<tab>'.join(COLUMNS)}`"]
    for number, line in enumerate(lines, 2):
        wrong += [f"{path}:{number}: {problem}" for problem in mistakes(line, prompts, len(columns))]
        cells = dict(zip(columns, map(str.strip, line.split("\t")), strict=False))
        identifier, kind, text = (cells.get(name, "") for name in COLUMNS)
        prompts[identifier] = Prompt(identifier, cast(Kind, kind), text, language=cells.get("language") or None)
    if not prompts:
        wrong.append(f"{path}: holds no prompt")
    raise_all(DataError, wrong)
    return list(prompts.values())


def _is_header(columns: Sequence[str]) -> bool:
    more = columns[len(COLUMNS) :]
    return tuple(columns[: len(COLUMNS)]) == COLUMNS and more == [name for name in OPTIONAL if name in more]


def mistakes(line: str, earlier: Container[str], columns: int = len(COLUMNS)) -> Iterator[str]:
    cells = line.split("\t")
    if not len(COLUMNS) <= len(cells) <= columns or not cells[len(COLUMNS) - 1].strip():
        yield "expected an id, a kind and a text, with one tab between"
    elif cells[1] not in KINDS:
        yield f"{cells[1]!r} is no kind of prompt; write {' or '.join(KINDS)}"
    elif language := "".join(cells[len(COLUMNS) :]).strip():
        yield from check_language(language)
    try:
        check_id(cells[0])
    except DataError as error:
        yield str(error)
    if cells[0] in earlier:
        yield f"the id {cells[0]} is there twice"
    if cells[0].startswith(TRUE):
        yield f"the id {cells[0]} begins as those of true prompts do; choose another"
