"""What one side of a comparison has, as far as it can be read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from timbre.core.errors import DataError
from timbre.evaluation import metrics as evidence
from timbre.evaluation.metrics import Evidence
from timbre.project import speakers as people
from timbre.project.speakers import Person
from timbre.versions import clip_rows, lenient_rows
from timbre.versions import dvc_lock as lock
from timbre.versions.clip_rows import ClipRow, RejectedRow
from timbre.versions.dvc_lock import document, mapping
from timbre.versions.dvc_outs import Outs
from timbre.versions.snapshot import Snapshot

SOURCES, PARAMS, SPEAKERS = "data/sources.yaml", "params.yaml", "data/speakers.yaml"
METRICS, SCORES, REVIEW = "reports/metrics.json", "reports/scores.csv", "data/review.json"
COLUMNS = ("condition", "prompt", "seed", "wer", "errors", "words", "text", "heard")
T = TypeVar("T")


@dataclass(frozen=True)
class Version:
    snapshot: Snapshot
    lock: lock.Lock
    outs: Outs
    transcripts: dict[str, lenient_rows.Rows]  # by path
    sources: dict[str, dict[str, str]]
    people: dict[str, Person] | None  # None where their file is in no state to be read
    mistakes: list[str]  # of the people's file, each with its place
    clips: list[ClipRow] | None
    rejected: list[RejectedRow] | None
    drafted: dict[str, float] | None  # seconds of the recordings that nobody has begun to correct
    evidence: Evidence
    scores: dict[str, dict[str, str]] | None

    @property
    def name(self) -> str:
        return self.snapshot.name


def load(snapshot: Snapshot, outs: Outs) -> Version:
    locked = lock.read(snapshot)

    def table(read: Callable[..., T], *paths: str) -> T | None:
        """None where one of the files cannot be had, or is of another make than ours."""
        found = [outs.read(locked, path, snapshot.name) for path in paths]
        try:
            return None if None in found else read(*found)
        except (ValueError, KeyError, TypeError):
            outs.unreachable.append(f"{paths[0]} of {snapshot.name}, which is of another make")
            return None

    paths = [path for path in snapshot.list(lenient_rows.FOLDER) if path.endswith(".tsv")]
    allowed, mistakes = _people(snapshot)
    return Version(
        snapshot=snapshot,
        lock=locked,
        outs=outs,
        transcripts={path: lenient_rows.parse(snapshot.read(path) or b"", path) for path in paths},
        sources=_entries(document(snapshot, SOURCES)),
        people=allowed,
        mistakes=mistakes,
        clips=table(_clips, clip_rows.TABLE, *clip_rows.PARTS.values()),
        rejected=table(clip_rows.rejected, clip_rows.REJECTED),
        drafted=table(_drafted, REVIEW),
        evidence=measured(snapshot),
        scores=table(_scores, SCORES),
    )


def measured(snapshot: Snapshot) -> Evidence:
    """Empty where there is nothing, or nothing that can be read."""
    try:
        return evidence.from_dict(json.loads(snapshot.read(METRICS) or b"{}"))
    except (ValueError, TypeError):
        return Evidence()


def recording(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".tsv")


def _people(snapshot: Snapshot) -> tuple[dict[str, Person] | None, list[str]]:
    content = snapshot.read(SPEAKERS)
    if content is None:
        return {}, []
    if lenient_rows.conflicts(content, SPEAKERS, ""):
        return None, []  # told with those of the other files
    try:
        return people.parse(content.decode(), SPEAKERS), []
    except DataError as error:
        return None, str(error).splitlines()
    except UnicodeDecodeError:
        return None, [f"{SPEAKERS}: is not UTF-8"]


def _clips(made: bytes, *tables: bytes) -> list[ClipRow]:
    return clip_rows.parse(made, dict(zip(clip_rows.PARTS, tables, strict=True)))


def _scores(content: bytes) -> dict[str, dict[str, str]]:
    """A row per sample; the columns that every version had, and its similarity where that was measured."""
    listed = list(csv.DictReader(io.StringIO(content.decode())))
    return {
        row["sample"]: {name: row[name] for name in COLUMNS} | {"similarity": row.get("similarity") or ""}
        for row in listed
    }


def _drafted(content: bytes) -> dict[str, float]:
    recordings = mapping(mapping(json.loads(content)).get("recordings"))
    return {name: float(found["seconds"]) for name, found in recordings.items() if found["origin"] == "draft"}


def _entries(listed: Any) -> dict[str, dict[str, str]]:
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return {str(e.get("id")): {str(k): str(v) for k, v in e.items() if v is not None} for e in entries}
