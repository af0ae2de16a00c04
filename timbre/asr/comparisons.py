"""What was said beside what was heard, for a table of clips: compared once, and found again after an edit elsewhere.

    with Comparisons(FILE) as compared:
        compared.of(clip.text, clip.sentences, heard, "en")     # Comparison(cer=0.02, worst=0.05, numbers="")

Comparing is most of what `check` computes after an edit of a word, and depends on words alone. The file is this
machine's own and safe to delete; it keeps what the last table asked for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from timbre.asr.alignment import VERSION, characters, other_numbers, worst
from timbre.asr.normalising import normaliser
from timbre.core.content import content_key, write_atomic

FILE = Path(".timbre/compared.json")


class Comparison(NamedTuple):
    cer: float  # wrong characters / characters
    worst: float  # the same in the sentence that has most
    numbers: str  # `12 heard as 10`


class Comparisons:
    """Use it as a context, so that it keeps what it compared; without a file it keeps and finds nothing."""

    def __init__(self, file: Path | None) -> None:
        self._file, self._normalisers = file, dict[str, str]()
        self._known = _loaded(file) if file else {}
        self._asked: dict[str, Comparison] = {}

    def __enter__(self) -> Comparisons:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file and not error and self._asked != self._known:
            write_atomic(self._file, json.dumps(self._asked, ensure_ascii=False, separators=(",", ":")))

    def of(self, text: str, sentences: Sequence[str], heard: str, language: str) -> Comparison:
        if language not in self._normalisers:
            self._normalisers[language] = normaliser(language)
        key = content_key(VERSION, self._normalisers[language], text, list(sentences), heard, language)
        if (comparison := self._known.get(key)) is None:
            cer, most = characters(text, heard, language).rate, worst(sentences, heard, language)
            comparison = Comparison(round(cer, 4), round(most, 4), other_numbers(text, heard, language))
        self._asked[key] = comparison
        return comparison


def _loaded(file: Path) -> dict[str, Comparison]:
    """Nothing where it was never written, or is no such table."""
    try:
        rows: Any = json.loads(file.read_bytes())
        return {key: Comparison(float(cer), float(most), str(numbers)) for key, (cer, most, numbers) in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
