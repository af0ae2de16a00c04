"""data/pronunciations.tsv: how words are to be said that a voice would say wrong, in git, owned by people.

    language    word     spelling
    en          GIF      jiff
    *           Nguyen   win

`*` is every language. Columns are separated by one tab; a word is found whole, whatever its case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from timbre.core.content import read_text
from timbre.core.errors import DataError, raise_all

PATH = Path("data/pronunciations.tsv")
COLUMNS = ("language", "word", "spelling")
EVERY = "*"


def read(language: str, path: Path = PATH) -> dict[str, str]:
    """Word in small letters → spelling, for this language; nothing where there is no file."""
    if not path.exists():
        return {}
    lines = read_text(path).splitlines()
    header = "\t".join(COLUMNS)
    wrong = [] if lines[:1] == [header] else [f"{path}:1: expected the header `{'<tab>'.join(COLUMNS)}`"]
    spellings: dict[tuple[str, str], str] = {}
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != len(COLUMNS) or not all(cells):
            wrong.append(f"{path}:{number}: expected a language, a word and a spelling, with one tab between")
        elif (cells[0].lower(), cells[1].casefold()) in spellings:
            wrong.append(f"{path}:{number}: {cells[1]} is there twice")
        else:
            spellings[cells[0].lower(), cells[1].casefold()] = cells[2]
    raise_all(DataError, wrong)
    mine = language.split("-")[0].lower()
    general = {word: spelling for (of, word), spelling in spellings.items() if of == EVERY}
    return general | {word: spelling for (of, word), spelling in spellings.items() if of.split("-")[0] == mine}


def apply(text: str, spellings: Mapping[str, str]) -> str:
    """Every word of the list as it is to be said; longer entries win over the words that they hold."""
    if not spellings:
        return text
    longest_first = sorted(spellings, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)
    return pattern.sub(lambda match: spellings.get(match[0].casefold(), match[0]), text)
