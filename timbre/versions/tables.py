"""What a commit or the work tree holds, as tables, as far as each can be read.

    with open_snapshot(root, "v1") as snapshot:
        version = VersionTables(snapshot, Outs(root))
        version.transcripts, version.clips, version.scores

A table is read when it is first asked for. One that DVC keeps and that cannot be had is None, and `outs.unreachable`
says so. Whatever shows, compares, traces or exports a version reads it here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any, TypeVar

from timbre.core.content import mapping
from timbre.core.errors import DataError
from timbre.evaluation import metrics, score_rows
from timbre.evaluation.metrics import Evidence
from timbre.evaluation.score_rows import ScoreRow
from timbre.project import speakers, transcripts
from timbre.project.speakers import Person
from timbre.versions import clip_rows, dvc_lock, lenient_rows
from timbre.versions.clip_rows import ClipRow, RejectedRow
from timbre.versions.dvc_lock import Lock, document
from timbre.versions.dvc_outs import Outs
from timbre.versions.lenient_rows import FOLDER, Rows
from timbre.versions.snapshot import Snapshot

SOURCES, PARAMS, SPEAKERS = "data/sources.yaml", "params.yaml", "data/speakers.yaml"
DETAILS, SCORES, REVIEW = "reports/details.json", "reports/scores.csv", "data/review.json"
METRICS = "reports/metrics.json"  # held all of it in versions of before
ADAPTER, SAMPLES, RAW = "models/adapter", "reports/samples", "data/raw"
T = TypeVar("T")


class VersionTables:
    def __init__(self, snapshot: Snapshot, outs: Outs) -> None:
        self.snapshot, self.outs = snapshot, outs

    @property
    def name(self) -> str:
        return self.snapshot.name

    @cached_property
    def lock(self) -> Lock:
        return dvc_lock.read(self.snapshot)

    @cached_property
    def transcripts(self) -> dict[str, Rows]:
        """By path."""
        names = (path.removeprefix(f"{FOLDER}/") for path in self.snapshot.list(FOLDER))
        paths = [f"{FOLDER}/{name}" for name in names if transcripts.is_transcript(name) and "/" not in name]
        return {path: lenient_rows.parse(self.snapshot.read(path) or b"", path) for path in paths}

    @cached_property
    def sources(self) -> dict[str, dict[str, str]]:
        """Recording → its entry in data/sources.yaml."""
        listed = document(self.snapshot, SOURCES)
        entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        return {str(e.get("id")): {str(k): str(v) for k, v in e.items() if v is not None} for e in entries}

    @property
    def people(self) -> dict[str, Person] | None:
        """By speaker; None where data/speakers.yaml is in no state to be read."""
        return self._speakers[0]

    @property
    def mistakes(self) -> list[str]:
        """In data/speakers.yaml, each with its place."""
        return self._speakers[1]

    @cached_property
    def _speakers(self) -> tuple[dict[str, Person] | None, list[str]]:
        return _people(self.snapshot.read(SPEAKERS))

    @cached_property
    def clips(self) -> list[ClipRow] | None:
        paths = (clip_rows.TABLE, *clip_rows.PARTS.values())
        return self._table(
            lambda table, *parts: clip_rows.parse(table, dict(zip(clip_rows.PARTS, parts, strict=True))), *paths
        )

    @cached_property
    def rejected(self) -> list[RejectedRow] | None:
        """What was left out of the dataset, and what was kept with a warning."""
        return self._table(clip_rows.rejected, clip_rows.REJECTED)

    @cached_property
    def drafted(self) -> dict[str, float] | None:
        """Recording → seconds, of those whose draft nobody has begun to correct."""
        return self._table(_drafted, REVIEW)

    @cached_property
    def evidence(self) -> Evidence:
        """Empty where there is nothing, or nothing that can be read."""
        return _evidence(self.snapshot.read(DETAILS) or self.snapshot.read(METRICS) or b"{}")

    @cached_property
    def scores(self) -> dict[str, ScoreRow] | None:
        """By sample."""
        rows = self._table(score_rows.read, SCORES)
        return None if rows is None else {row.sample: row for row in rows}

    def unreachable(self) -> list[str]:
        """The tables that DVC keeps and that cannot be had, once all were asked for."""
        _ = self.clips, self.rejected, self.drafted, self.scores
        paths = [clip_rows.TABLE, *clip_rows.PARTS.values(), clip_rows.REJECTED, REVIEW, SCORES]
        lines = (line.partition(" of ") for line in self.outs.unreachable)
        mine = [(path, rest) for path, _, rest in lines if rest.partition(",")[0] == self.name]
        return [f"{path} of {rest}" for path, rest in sorted(mine, key=lambda line: paths.index(line[0]))]

    @property
    def has_run(self) -> bool:
        return bool(self.lock.outs or self.lock.broken)

    def _table(self, read: Callable[..., T], *paths: str) -> T | None:
        """None where one of the files cannot be had, or has other columns than ours."""
        contents = [self.outs.read(self.lock, path, self.name) for path in paths]
        try:
            return None if None in contents else read(*contents)
        except (ValueError, KeyError, TypeError):
            self.outs.unreachable.append(f"{paths[0]} of {self.name}, which is of another make")
            return None


def recording(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".tsv")


@lru_cache(maxsize=16)  # versions beside each other often have the same
def _people(content: bytes | None) -> tuple[dict[str, Person] | None, list[str]]:
    if content is None:
        return {}, []
    if lenient_rows.conflicts(content, SPEAKERS, ""):
        return None, []  # listed with the other files' conflicts
    try:
        return speakers.parse(content.decode(), SPEAKERS), []
    except DataError as error:
        return None, str(error).splitlines()
    except UnicodeDecodeError:
        return None, [f"{SPEAKERS}: is not UTF-8"]


@lru_cache(maxsize=16)
def _evidence(content: bytes) -> Evidence:
    try:
        return metrics.from_dict(json.loads(content))
    except (ValueError, TypeError):
        return Evidence()


def _drafted(content: bytes) -> dict[str, float]:
    recordings: dict[str, Any] = mapping(mapping(json.loads(content)).get("recordings"))
    return {name: float(about["seconds"]) for name, about in recordings.items() if about["origin"] == "draft"}
