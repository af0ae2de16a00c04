"""One MLflow run per version of the voice, written at the end from files, so that no training hangs on a server.

Reads   data/dataset, models/adapter, models/history.csv, reports/samples, reports/points, reports/heard,
        reports/scores.csv, reports/metrics.json, reports/index.html
        models/speed.json               what training cost, where it was this machine that trained
        reports/mos.json                predicted opinions, where DNSMOS is installed
        params.yaml, dvc.lock           the parameters; DVC's names of the data
        data/speakers.yaml              whether all the voices may be heard: else nothing is recorded
Writes  a run in the MLflow store       parameters, curves, rates, gates, data lineage, sounds and their pictures, the
                                        report; its adapter as the `candidate` of the model registry

    python -m stages.track --dataset data/dataset --adapter models/adapter --history models/history.csv \\
        --speed models/speed.json --samples reports/samples --points reports/points --heard reports/heard \\
        --scores reports/scores.csv --metrics reports/metrics.json --mos reports/mos.json \\
        --report reports/index.html

A version that has a complete run is left alone. One whose run was cut short is recorded anew. If the store cannot be
reached, only this stage fails, and the next `dvc repro` finishes it. With `evaluate.strict` it also fails, once all is
recorded, where a gate did not pass.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from timbre import tracking
from timbre.core import params
from timbre.core.content import file_sha256
from timbre.core.errors import DataError, TimbreError, raise_all
from timbre.evaluation import metrics as evidence
from timbre.evaluation import mos
from timbre.evaluation.measures import asks
from timbre.mapping.stage import run_stage
from timbre.project.permissions import Permissions, of_dataset
from timbre.tracking import lineage, pictures, registry
from timbre.training import timing

if TYPE_CHECKING:
    from mlflow import MlflowClient

REPORT_TAG = "timbre.report"  # SHA-256 of the page that the run holds
BATCH = {"metrics": 1000, "params": 100, "tags": 100}  # what MLflow takes in one call


@dataclass(frozen=True)
class Version:
    """What is recorded of one version, by where it lies."""

    dataset: Path
    adapter: Path
    history: Path
    speed: Path
    samples: Path
    points: Path
    heard: Path
    scores: Path
    metrics: Path
    mos: Path
    report: Path

    def key(self, parameters: dict[str, Any]) -> str:
        # the page is drawn from the rest: a new style is no new voice
        made = [self.dataset, self.adapter, self.history, self.samples, self.points, self.heard, self.scores]
        return tracking.version_key([*made, self.metrics], parameters)


def record(client: MlflowClient, version: Version, parameters: dict[str, Any]) -> str:
    """Record the version unless its run is there; say in a line what was done."""
    key = version.key(parameters)
    experiment = tracking.experiment_of(client)
    assert experiment is not None
    found = tracking.find(client, experiment, key)
    if found and tracking.is_complete(found):
        publish(client, found.info.run_id, version.report, found.data.tags.get(REPORT_TAG))
        late = [row for row in opinions(version) if row[0] not in found.data.metrics]  # DNSMOS came later
        log(client, found.info.run_id, "metrics", late)
        registry.point(client, registry.CANDIDATE, found.info.run_id)
        return f"version {key} has its run already, {found.info.run_name}"
    if found:
        registry.forget(client, found.info.run_id)
        client.delete_run(found.info.run_id)
    name = os.environ.get("DVC_EXP_NAME") or key[:8]
    tags = lineage.tags(version.dataset, version.samples, parameters)
    made = client.create_run(experiment, run_name=name, tags={tracking.VERSION_TAG: key})
    judged = verdicts(version)
    fill(client, made.info.run_id, version, parameters, tags | judged)
    told = {tracking.VERSION_TAG: key, "gates": judged.get("gates", "not measured")}
    registry.register(client, made.info.run_id, told)
    registry.point(client, registry.CANDIDATE, made.info.run_id)
    client.set_terminated(made.info.run_id)
    client.set_tag(made.info.run_id, tracking.COMPLETE_TAG, "true")
    return f"version {key} is now run {name}, and the candidate"


def fill(client: MlflowClient, run_id: str, version: Version, parameters: dict[str, Any], tags: dict[str, str]) -> None:
    log(client, run_id, "params", flat(parameters))
    log(client, run_id, "tags", tags)
    log(client, run_id, "metrics", [*finals(version.metrics), *curves(version.history)])
    log(client, run_id, "metrics", [*opinions(version), *costs(version)])  # what another machine may lack
    client.log_inputs(run_id, datasets=list(lineage.datasets(version.dataset)))
    client.log_artifacts(run_id, str(version.adapter), registry.ADAPTER)
    client.log_artifacts(run_id, str(version.samples), "samples")
    with tempfile.TemporaryDirectory() as folder:
        pictures.draw(version.samples, Path(folder))
        client.log_artifacts(run_id, folder, "samples")  # each beside its sound
    for step, sound in pictures.way(version.points, version.samples, training(version.adapter)):
        with tempfile.TemporaryDirectory() as folder:
            (copy := Path(folder) / f"step-{step:06}.flac").write_bytes(sound.read_bytes())
            client.log_artifact(run_id, str(copy), "points")
        client.log_image(run_id, pictures.image(sound), key="learning to speak", step=step, synchronous=True)
    for path in (version.scores, version.metrics):
        client.log_artifact(run_id, str(path))
    publish(client, run_id, version.report)


def publish(client: MlflowClient, run_id: str, report: Path, known: str | None = None) -> None:
    """The page may be drawn anew for the same version: the run then shows the new one."""
    if (digest := file_sha256(report)) != known:
        client.log_artifact(run_id, str(report), "report")
        client.set_tag(run_id, REPORT_TAG, digest)


def log(client: MlflowClient, run_id: str, kind: str, items: Any) -> None:
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    if kind == "metrics":
        made = iter([Metric(name, value, now, step) for name, value, step in items])
    else:
        entity = Param if kind == "params" else RunTag
        made = iter([entity(name, str(value)) for name, value in items.items()])
    while batch := list(islice(made, BATCH[kind])):
        client.log_batch(run_id, **{kind: batch})


def flat(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    """{"train": {"rank": 8}} as {"train.rank": 8}, as `dvc exp run -S` names them."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{above}{name}.") if isinstance(value, dict) else {above + name: value}
    return found


def finals(path: Path) -> Iterator[tuple[str, float, int]]:
    """`wer/tuned` and so on: by the slash, MLflow draws the conditions of one rate side by side."""
    found = evidence.read(path)
    parts: dict[str, Any] = {"": found.conditions, "_difference": found.differences}
    for kind, records in parts.items():
        for owner, record in records.items():
            yield from ((f"{name}{kind}/{owner}", value, 0) for name, value in measured(record))
    yield from ((f"speaker/{name}", value, 0) for name, value in measured(found.speaker))
    for gate, judged in found.gates.items():
        yield from ((f"gate_{name}/{gate}", value, 0) for name, value in measured(judged))


def opinions(version: Version) -> Iterator[tuple[str, float, int]]:
    found = mos.read(version.mos, version.samples)
    yield from ((f"mos/{condition}", value, 0) for condition, value in found.items())


def measured(record: Any) -> Iterator[tuple[str, float]]:
    values = dataclasses.asdict(record) if record else {}
    yield from ((name, float(value)) for name, value in values.items() if value is not None)


def verdicts(version: Version) -> dict[str, str]:
    """The gates, and whether training went on for too long: what a person wants to see without opening the run."""
    found = evidence.read(version.metrics)
    told = {f"gate.{name}": "passed" if gate.passed else "failed" for name, gate in found.gates.items()}
    if found.gates:
        told["gates"] = "passed" if found.passed else f"failed: {', '.join(found.failed)}"
    facts = training(version.adapter)
    if facts.get("overfit", 0) > 0:
        told["overfitting"] = (
            f"the evaluation loss was best at step {facts['best_step']}, {facts['best_eval_loss']:.4f}, which is kept; "
            f"by step {facts['steps']} it had risen by {facts['overfit']:.4f}"
        )
    return told


def training(adapter: Path) -> dict[str, Any]:
    path = adapter / "training.json"
    return dict(json.loads(path.read_bytes())) if path.exists() else {}


def costs(version: Version) -> Iterator[tuple[str, float, int]]:
    """Beside what MLflow measures of a machine by itself; nothing where another machine trained."""
    for row in timing.read(version.speed, version.adapter):
        step = int(row.pop("step"))
        yield from ((f"system/{name}", value, step) for name, value in row.items())


def curves(path: Path) -> Iterator[tuple[str, float, int]]:
    evaluated: list[tuple[float, int]] = []
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            step = int(row.pop("step"))
            yield from ((name, float(value), step) for name, value in row.items() if value)
            evaluated += [(float(row["eval_loss"]), step)] if row.get("eval_loss") else []
    if evaluated:
        loss, step = min(evaluated)
        yield from (("best_eval_loss", loss, step), ("best_step", float(step), step))


def check(paths: Sequence[Path]) -> None:
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: missing; `dvc repro` makes it")


def check_voices(dataset: Path, adapter: Path, report: Path) -> None:
    """The run holds sounds of these voices, in samples and the page, and an adapter to make more."""
    allowed = Permissions()
    allowed.check_adapter(adapter, dataset)
    allowed.check(of_dataset(dataset), f"{dataset}: ", taking_part=True)
    allowed.check_page(report)


def main(
    dataset: Annotated[Path, "folder of the training and evaluation tables"],
    adapter: Annotated[Path, "folder of the trained adapter"],
    history: Annotated[Path, "training curves"],
    speed: Annotated[Path, "what training cost, where it was here"],
    samples: Annotated[Path, "folder of generated samples"],
    points: Annotated[Path, "folder of samples on the way of training"],
    heard: Annotated[Path, "folder of what Whisper heard"],
    scores: Annotated[Path, "what was heard, a row per sample"],
    metrics: Annotated[Path, "the conditions' rates"],
    mos: Annotated[Path, "predicted opinions, where DNSMOS is installed"],
    report: Annotated[Path, "the page"],
) -> None:
    version = Version(dataset, adapter, history, speed, samples, points, heard, scores, metrics, mos, report)
    check([dataset, adapter, history, samples, points, heard, scores, metrics, report])
    check_voices(dataset, adapter, report)
    uri, settings = tracking.store_uri(), params.read()
    client = tracking.connect(uri)
    with tracking.explained(uri):
        print(f"track: {record(client, version, dataclasses.asdict(settings))}")
    if settings.evaluate.strict:
        failed = evidence.read(version.metrics).failed
        raise_all(TimbreError, (f"gate `{name}` failed: it asks that {asks(name)}" for name in failed))


if __name__ == "__main__":
    run_stage(main)
