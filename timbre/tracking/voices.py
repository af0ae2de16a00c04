"""Whose voices a run's adapter learnt: as its training.json in the store says, else as its dataset does."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from timbre.core.content import files_listed
from timbre.core.errors import TrackingError
from timbre.core.safe_text import visible
from timbre.project import permissions
from timbre.project.permissions import Used
from timbre.tracking import registry
from timbre.versions.dvc_outs import Outs

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DATASET = "dvc.data/dataset"  # tag of a run: DVC's hash of the folder
TABLES = ("train.jsonl", "eval.jsonl")


def voices_of(client: MlflowClient, run: Run) -> Used:
    """TrackingError where nobody knows: such an adapter is not handed to anybody."""
    voices = _of_artifact(client, run.info.run_id) or _of_dataset(run.data.tags.get(DATASET, ""))
    if not voices:
        raise TrackingError(
            f"{visible(str(run.info.run_name))}: whose voice it learnt is not known, as its adapter does not say and "
            "neither DVC's cache nor its remote has its dataset; `dvc pull`, or check it out and `dvc repro`"
        )
    return voices


def _of_artifact(client: MlflowClient, run_id: str) -> Used | None:
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            path = client.download_artifacts(run_id, f"{registry.ADAPTER}/training.json", folder)
            return permissions.of_training(Path(path).read_bytes())
        except (MlflowException, OSError):
            return None  # an adapter of before has no such file, or it does not name them


def _of_dataset(digest: str) -> Used | None:
    outs = Outs(Path())
    try:
        listed = files_listed(outs.named(digest) or b"[]") or {}
        tables = [table for name in TABLES if (table := outs.named(listed[name])) is not None]
        return permissions.of_tables(*tables) if len(tables) == len(TABLES) else None
    except (ValueError, KeyError, TypeError):
        return None


def aliases_of(client: MlflowClient, speakers: Sequence[str]) -> Iterator[tuple[str, str, list[str] | None]]:
    """Every name of a version, the name of its run, and which of the speakers it learnt; None where nobody knows."""
    for alias, run_id in registry.aliases(client).items():
        run = client.get_run(run_id)
        try:
            learnt = voices_of(client, run)
        except TrackingError:
            yield alias, visible(str(run.info.run_name)), None
            continue
        yield alias, visible(str(run.info.run_name)), [speaker for speaker in speakers if speaker in learnt]


def take_alias(client: MlflowClient, alias: str) -> None:
    client.delete_registered_model_alias(registry.model_name(), alias)
