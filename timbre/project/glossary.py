"""data/glossary.txt: names and terms that people say, one per line; `#` begins a comment.

Whisper is given them before it hears, and `timbre replace --glossary` looks for words that are nearly one of them.
"""

from __future__ import annotations

from pathlib import Path

from timbre.core.errors import DataError
from timbre.core.text import normalise


def terms(path: Path) -> list[str]:
    """Each once, in the file's order."""
    try:
        rows = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); an empty file will do") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    return list(dict.fromkeys(term for row in rows if (term := normalise(row.split("#")[0]))))
