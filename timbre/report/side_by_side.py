"""One voice's sentences beside those of other versions, with players: the page that an MLflow run shows.

MLflow's own tables have no players, and its viewer shows a page in a frame that may load nothing from the store. So the
page carries its sounds, and each run keeps its own (`sounds.json`) for the pages of runs to come.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from timbre.core.errors import DataError
from timbre.core.records import USED, Sample, from_json
from timbre.evaluation import score_rows
from timbre.evaluation.score_rows import ScoreRow
from timbre.report import sound, templates
from timbre.report.numbers import rate


@dataclass(frozen=True)
class PlayedSentence:
    line: str  # the prompt's id, and of several speakers whose
    text: str
    heard: str
    wer: float
    similarity: float | None
    mp3: str  # base64


@dataclass(frozen=True)
class PlayedRun:
    """A column of the page."""

    name: str
    remark: str  # this version, champion, …
    sentences: Mapping[str, PlayedSentence]  # by line


def own_sentences(scores: Path, samples: Path, adapter: str) -> list[PlayedSentence]:
    """The first take of each sentence, marked as a sound of this version."""
    rows = [row for row in score_rows.read(scores.read_bytes()) if row.condition == USED]
    first = min((row.seed for row in rows), default=0)
    return [_sentence(row, samples, adapter) for row in rows if row.seed == first]


def _sentence(row: ScoreRow, samples: Path, adapter: str) -> PlayedSentence:
    path = samples / f"{row.sample}.json"
    sample = from_json(path.read_text(encoding="utf-8"), Sample, str(path))
    mp3 = sound.spoken(path.with_suffix(".flac"), sample, adapter).mp3
    return PlayedSentence(sample.line, row.text, row.heard, row.wer, row.similarity, mp3)


def to_json(sentences: Sequence[PlayedSentence]) -> str:
    return json.dumps([asdict(one) for one in sentences], ensure_ascii=False)


def read(content: bytes, where: str) -> list[PlayedSentence]:
    """Of another run: a store is written by many."""
    try:
        if not isinstance(listed := json.loads(content), list):
            raise TypeError("not a list")
        rows = [PlayedSentence(**row) for row in listed]
        for row in rows:
            if not all(isinstance(text, str) for text in (row.line, row.text, row.heard)):
                raise TypeError("not a text")
            rate(row.wer), rate(row.similarity)
            base64.b64decode(row.mp3, validate=True)
    except (ValueError, TypeError, binascii.Error) as error:
        raise DataError(f"{where}: not the sounds of a run; they are left out") from error
    return rows


def by_line(sentences: Sequence[PlayedSentence]) -> dict[str, PlayedSentence]:
    return {one.line: one for one in sentences}


def page(runs: Sequence[PlayedRun]) -> str:
    """The first run is the one that the page belongs to; where it differs most from the others comes first."""
    own = runs[0].sentences
    lines = sorted(own, key=lambda line: (_apart(own[line], runs[1:]), line))
    jinja = templates.environment(templates.PAGES)
    jinja.filters["rate"] = rate
    return jinja.get_template("side_by_side.html").render(runs=runs, lines=lines)


def _apart(one: PlayedSentence, others: Sequence[PlayedRun]) -> tuple[float, float]:
    """How differently the same text is heard, and then sounds like the speaker; the most is the least."""
    every = [run.sentences.get(one.line) for run in others]
    same = [other for other in every if other and other.text == one.text]
    similarity = [
        abs(one.similarity - other.similarity)
        for other in same
        if one.similarity is not None and other.similarity is not None
    ]
    return -max((abs(one.wer - other.wer) for other in same), default=one.wer), -max(similarity, default=0.0)
