"""What is recorded of one version of the voice, and what the MLflow store has of it already.

The answer to "is this version there?" takes no more than a query: `track` asks it in every `dvc repro`; MLflow's
library would take two seconds to load.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timbre import tracking
from timbre.core.content import file_sha256, write_atomic
from timbre.core.safe_text import redacted
from timbre.tracking.run import StoredVersion

REPORT_TAG = "timbre.report"  # SHA-256 of the page that the run holds
OPINIONS_TAG = "timbre.opinions"  # SHA-256 of the predicted opinions that the run holds
MODEL_TAG = "timbre.model"  # the run's adapter is one that MLflow loads
RECORDED = Path(".timbre/tracked.json")  # store → key of the version that it was last seen to have


@dataclass(frozen=True)
class TrackedFiles:
    """Where the pipeline leaves what `track` records, as dvc.yaml says; relative to the repository's root."""

    dataset: Path = Path("data/dataset")
    adapter: Path = Path("models/adapter")
    history: Path = Path("models/history.csv")
    speed: Path = Path("models/speed.json")
    samples: Path = Path("reports/samples")
    points: Path = Path("reports/points")
    heard: Path = Path("reports/heard")
    scores: Path = Path("reports/scores.csv")
    metrics: Path = Path("reports/details.json")
    mos: Path = Path("reports/mos.json")
    report: Path = Path("reports/index.html")

    def key(self, parameters: dict[str, Any]) -> str:
        """The name of this version: of all that was made and of the parameters, whatever made it."""
        # without the page, which is drawn from the rest: a new style is no new voice
        paths = [self.dataset, self.adapter, self.history, self.samples, self.points, self.heard, self.scores]
        return tracking.version_key([*paths, self.metrics], parameters)

    def missing(self) -> Iterator[Path]:
        """What is not here; without what a machine may lack: costs of training, predicted opinions."""
        paths = [path for path in vars(self).values() if path not in (self.speed, self.mos)]
        yield from (path for path in paths if not path.exists())


def is_current(stored: StoredVersion | None, files: TrackedFiles) -> bool:
    """Whether nothing is left to record: the run is complete and the candidate, and holds the page as it is."""
    if stored is None or stored.tags.get(tracking.COMPLETE_TAG) != "true" or not stored.candidate:
        return False
    if MODEL_TAG not in stored.tags:
        return False
    opinions = file_sha256(files.mos) if files.mos.exists() else None
    return stored.tags.get(REPORT_TAG) == file_sha256(files.report) and stored.tags.get(OPINIONS_TAG) == opinions


def remember(uri: str, key: str) -> None:
    """That the store has the version: a server that is down later has not lost it."""
    write_atomic(RECORDED, json.dumps({**_recorded(), redacted(uri): key}, indent=1) + "\n")


def was_recorded(uri: str, key: str) -> bool:
    return _recorded().get(redacted(uri)) == key


def _recorded() -> dict[str, str]:
    try:
        values = json.loads(RECORDED.read_bytes())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
