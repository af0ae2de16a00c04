"""Which other versions a run is heard beside: the champion, and the one that was recorded before."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from timbre import tracking
from timbre.core.errors import SourceError, TrackingError
from timbre.core.safe_text import visible, warn
from timbre.project.permissions import Permissions
from timbre.tracking import registry
from timbre.tracking.voices import voices_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MOST = 2
FOLDER = "side by side"  # of a run's artifacts
SOUNDS, PAGE = "sounds.json", "index.html"


class OtherRun(NamedTuple):
    name: str
    remark: str
    sounds: bytes


def others(client: MlflowClient, run_id: str) -> Iterator[OtherRun]:
    """Those whose sounds the store has, and whose speakers may be heard today."""
    from mlflow.exceptions import MlflowException

    for remark, run in _wanted(client, run_id):
        name = visible(str(run.info.run_name))
        with tempfile.TemporaryDirectory() as folder:
            try:
                Permissions().check_learnt(voices_of(client, run), name, taking_part=True)
                path = client.download_artifacts(run.info.run_id, f"{FOLDER}/{SOUNDS}", folder)
                content = Path(path).read_bytes()
            except (SourceError, TrackingError) as error:  # who withdrew is heard nowhere
                warn(f"track: {name} is not shown beside this run: {error}")
                continue
            except (MlflowException, OSError):
                warn(f"track: {name} is not shown beside this run: it is of before, and kept no sounds for that")
                continue
        yield OtherRun(name, remark, content)


def _wanted(client: MlflowClient, run_id: str) -> Iterator[tuple[str, Run]]:
    champion = registry.aliases(client).get(registry.CHAMPION)
    runs = [run for run in tracking.finished(client, MOST + 1) if run.info.run_id not in (run_id, champion)]
    if champion not in (None, run_id):
        yield registry.CHAMPION, client.get_run(champion)
    yield from (("before", run) for run in runs[: MOST - (champion not in (None, run_id))])
