"""The voice's versions in MLflow's model registry, and the two aliases that move among them.

`candidate` is the version that the pipeline stands at; `champion` the one that people use, moved by `timbre promote`.
A program loads `models:/timbre@champion` and need not know when that changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from timbre.tracking import experiment_name
from timbre.tracking.stores import CANDIDATE as CANDIDATE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
ADAPTER = "adapter"  # folder of the run's artifacts


def model_name() -> str:
    """The same as of the experiment: a voice has one of each."""
    return experiment_name()


def register(client: MlflowClient, run_id: str, tags: dict[str, str]) -> None:
    """The run's adapter as a new version."""
    from mlflow.exceptions import MlflowException

    name = model_name()
    try:
        client.create_registered_model(name, description="LoRA adapters of a voice; load one with its base model.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    client.create_model_version(name, f"runs:/{run_id}/{ADAPTER}", run_id, tags=tags, await_creation_for=None)


def version_of(client: MlflowClient, run_id: str) -> ModelVersion | None:
    versions = client.search_model_versions(f"run_id = '{run_id}'")
    return next((version for version in versions if version.name == model_name()), None)


def point(client: MlflowClient, alias: str, run_id: str) -> bool:
    """Let the alias name the run's version; False where the run has none."""
    version = version_of(client, run_id)
    if version:
        client.set_registered_model_alias(version.name, alias, version.version)
    return version is not None


def forget(client: MlflowClient, run_id: str) -> None:
    """What a run that was cut short had registered."""
    if version := version_of(client, run_id):
        client.delete_model_version(version.name, version.version)


def aliases(client: MlflowClient) -> dict[str, str]:
    """Alias → id of the run that it points to."""
    from mlflow.exceptions import MlflowException

    try:
        named: dict[str, Any] = client.get_registered_model(model_name()).aliases
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise
    return {alias: client.get_model_version(model_name(), version).run_id for alias, version in named.items()}
