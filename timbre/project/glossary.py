"""data/glossary.txt: names and terms that people say, one per line; `#` begins a comment.

Whisper is given them before it hears, and `timbre replace --glossary` looks for words that are nearly one of them.
"""

from __future__ import annotations

from pathlib import Path

from timbre.core.content import read_text
from timbre.core.text import normalise


def terms(path: Path) -> list[str]:
    """Each once, in the file's order."""
    rows = read_text(path, remedy="an empty file will do").splitlines()
    return list(dict.fromkeys(term for row in rows if (term := normalise(row.split("#")[0]))))
