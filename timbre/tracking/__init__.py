"""The MLflow store: where it is, what a version of the voice is called there, and how to find its run.

No result hangs on MLflow. Stages write plain files, and `track` records them at the end, once per version: a
version's key is the content of the files and of the parameters, so running again adds nothing, an edit adds one run,
and going back adds none.

    client = connect()
    run = find(client, experiment_of(client), version_key(paths, params))

The store is `mlflow.db` in the repository, its files in `mlruns` beside it. MLFLOW_TRACKING_URI and
MLFLOW_EXPERIMENT_NAME win where they are set.
"""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timbre.core.content import content_key, file_sha256
from timbre.core.errors import TrackingError
from timbre.core.running import undisturbed
from timbre.core.safe_text import redacted
from timbre.tracking import database

if TYPE_CHECKING:  # it takes seconds to import, and a reader of `--help` needs none of it
    from mlflow import MlflowClient
    from mlflow.entities import Run

VERSION_TAG = "timbre.version"  # the key
ADAPTER_TAG = "dvc.models/adapter"  # DVC's hash of it, which is the version's id
COMPLETE_TAG = "timbre.complete"  # set last: a run without it was cut short
PATIENCE = 5  # seconds until a server that does not answer is called down


def repository(here: Path | None = None) -> Path:
    """The repository's root; within `dvc exp run --temp` or `--queue`, of the one that the experiment came from."""
    here = (here or Path.cwd()).resolve()
    for folder in here.parents:
        if folder.name == "exps" and folder.parent.name == "tmp" and folder.parent.parent.name == ".dvc":
            return folder.parents[2]
    return here


def store_uri(root: Path | None = None) -> str:
    """Absolute, so that every folder writes to the same store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{repository(root)}/mlflow.db"


def exists(uri: str) -> bool:
    """Whether there is something to read: to connect to a file makes it, with all its tables."""
    return not uri.startswith("sqlite:///") or Path(uri.removeprefix("sqlite:///")).exists()


def experiment_name() -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or "timbre"


def live_experiment_name() -> str:
    """Of trainings while they run."""
    return f"{experiment_name()}-live"


def version_key(paths: Iterable[Path], params: Any) -> str:
    """What makes two versions the same: the content of their files, whatever made them, and their parameters."""
    files = [(path.as_posix(), file_sha256(path)) for place in paths for path in _files(place)]
    return content_key(sorted(files), params)


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.is_file())
    else:
        yield path


@undisturbed()
def connect(uri: str | None = None) -> MlflowClient:
    """A client of a store that answers; TrackingError within seconds where it does not."""
    uri = uri or store_uri()
    if uri.startswith(("http://", "https://")):
        probe(uri)
    # MLflow's own patience is several minutes for each of a hundred calls
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")  # seconds; long enough for a sample on a slow line
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # what a voice is made of is nobody else's business
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # a new store would tell of each of its tables
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # one per file, most of a few kilobytes
    from mlflow import MlflowClient

    with explained(uri):
        if uri.startswith("sqlite:///"):
            database.make(Path(uri.removeprefix("sqlite:///")))
        return MlflowClient(tracking_uri=uri)


def probe(uri: str) -> None:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PATIENCE):
            pass
    except urllib.error.HTTPError:
        pass  # it answers; hosted servers have no such page, or want a password first
    except (OSError, ValueError, http.client.HTTPException) as error:  # the last of an address that no request can hold
        raise TrackingError(down(uri, getattr(error, "reason", error))) from error


def down(uri: str, reason: object) -> str:
    why = redacted(str(reason).splitlines()[0]) if str(reason) else "no answer"
    return (
        f"the MLflow store {redacted(uri)} cannot be reached ({why}); "
        "nothing is lost: start it, or unset MLFLOW_TRACKING_URI, then `dvc repro` records the run"
    )


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """What MLflow and the libraries below it raise, as the one line that a person can act on."""
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except ImportError as error:  # the driver of a database, such as psycopg2 for postgresql://
        raise TrackingError(down(uri, f"{error}; `pip install` brings it")) from error
    except (MlflowException, requests.RequestException, SQLAlchemyError, OSError) as error:
        raise TrackingError(down(uri, error)) from error


def experiment_of(client: MlflowClient, create: bool = True, name: str | None = None) -> str | None:
    """The experiment's id; None where there is none and none is to be made."""
    name = name or experiment_name()
    experiment = client.get_experiment_by_name(name)
    if experiment:
        return str(experiment.experiment_id)
    if not create:
        return None
    # MLflow would put the files of a local store relative to wherever the command runs
    local = not client.tracking_uri.startswith(("http://", "https://"))
    files = (repository() / "mlruns").as_uri() if local else None
    # by this tag, MLflow's pages show curves and comparisons of runs first
    kind = {"mlflow.experimentKind": "custom_model_development"}
    return str(client.create_experiment(name, artifact_location=files, tags=kind))


def find(client: MlflowClient, experiment: str, key: str) -> Run | None:
    """The version's run, be it complete or not."""
    runs = client.search_runs([experiment], f"tags.`{VERSION_TAG}` = '{key}'", max_results=1)
    return runs[0] if runs else None


def is_complete(run: Run) -> bool:
    return bool(run.data.tags.get(COMPLETE_TAG) == "true")


def finished(client: MlflowClient, most: int = 1000) -> list[Run]:
    """Runs that are complete, the newest first; none where there is no experiment yet."""
    experiment = experiment_of(client, create=False)
    if experiment is None:
        return []
    query = f"tags.`{COMPLETE_TAG}` = 'true'"
    return list(client.search_runs([experiment], query, max_results=most, order_by=["attributes.start_time DESC"]))


def id_of(run: Run) -> str:
    """Of the version that a run is of, as other commands print it; empty where the run does not say."""
    return str(run.data.tags.get(ADAPTER_TAG, "")).removesuffix(".dir")


def _beginnings(run: Run) -> tuple[str, ...]:
    return run.info.run_id, run.data.tags[VERSION_TAG], id_of(run)


def named(runs: Sequence[Run], name: str) -> Run:
    """The one that a person means by a run's name, the beginning of its id, or of its version's id or key."""
    matches = [run for run in runs if name in (run.info.run_name, run.info.run_id)] or [
        run for run in runs if any(begins.startswith(name) for begins in _beginnings(run))
    ]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise TrackingError(f"{name}: {len(matches)} runs are meant by this; give more of the id, see `timbre runs`")
    raise TrackingError(f"{name}: no such run; `timbre runs` shows those there are")
