"""One MLflow run per version of the voice, written at the end from files, so that no training hangs on a server.

Reads   data/dataset, models/adapter, models/history.csv, reports/samples, reports/points, reports/heard,
        reports/scores.csv, reports/details.json, reports/index.html
        models/speed.json               what training cost, where it was this machine that trained
        reports/mos.json                predicted opinions, where DNSMOS is installed
        params.yaml, dvc.lock           the parameters; DVC's names of the data
        data/speakers.yaml              whether all the voices may be heard: else nothing is recorded
Writes  a run in the MLflow store       parameters, curves, rates, gates, data lineage, sounds and their pictures, the
                                        report; its adapter as the `candidate` of the model registry, which MLflow
                                        loads as a voice that speaks

    python -m stages.track --dataset data/dataset --adapter models/adapter --history models/history.csv \\
        --speed models/speed.json --samples reports/samples --points reports/points --heard reports/heard \\
        --scores reports/scores.csv --metrics reports/details.json --mos reports/mos.json \\
        --report reports/index.html

DVC runs this stage in every `dvc repro` (`always_changed`), because only the store knows whether it has the version: a
fresh clone whose lock is right, a colleague's after `dvc pull`, and a new server all get its run. Where the store has
it, one query says so, and nothing is written. A run that was cut short is recorded anew. If the store cannot be reached
and was not seen to have the version, only this stage fails, and the next `dvc repro` finishes it. With
`evaluate.strict` it also fails, once all is recorded, where a gate did not pass.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from timbre import tracking
from timbre.core import params
from timbre.core.content import file_sha256
from timbre.core.errors import DataError, TimbreError, TrackingError, raise_all
from timbre.core.records import EARLY_TAG, Sample, beginning, early_ending, from_json
from timbre.core.running import undisturbed
from timbre.core.safe_text import redacted, visible, warn
from timbre.evaluation import metrics as evidence
from timbre.evaluation import mos, score_rows
from timbre.evaluation.measures import asks
from timbre.mapping.stage import run_stage
from timbre.mapping.store import ANEW
from timbre.project.permissions import Permissions, of_dataset
from timbre.report import kept_sounds
from timbre.report.note import note
from timbre.tracking import about, lineage, mlmodel, offline, other_runs, registry, version
from timbre.tracking.version import TrackedFiles
from timbre.training import timing

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FIRST = "0_headline"  # MLflow sorts sections by name; this one holds what versions are compared by
BEST = {"best_step", "best_eval_loss"}  # of training.json; an adapter of before may not tell
SAMPLE_COLUMNS = ("prompt", "condition", "seed", "text", "heard", "wer", "similarity", "ended")
BATCH = {"metrics": 1000, "params": 100, "tags": 100}  # what MLflow takes in one call


def track(files: TrackedFiles, parameters: dict[str, Any]) -> str:
    """Record the version unless the store has it as it is; what was done, in a line."""
    uri, key = tracking.store_uri(), files.key(parameters)
    id = lineage.version_id() or key
    try:
        recorded = offline.version(uri, key)
        if recorded and version.is_current(recorded, files):
            version.remember(uri, key)
            return f"version {id} has its run already, “{visible(recorded.run.name)}”"
        client = tracking.connect(uri)
    except TrackingError:
        if version.was_recorded(uri, key):
            return f"version {id} has its run; {redacted(uri)} gives no answer now, and need not"
        raise
    with tracking.explained(uri):
        done = record(client, files, key, parameters)
    version.remember(uri, key)
    return done


@undisturbed()
def record(client: MlflowClient, files: TrackedFiles, key: str, parameters: dict[str, Any]) -> str:
    experiment = tracking.experiment_of(client)
    assert experiment is not None
    run, id = tracking.find(client, experiment, key), lineage.version_id() or key
    if run and tracking.is_complete(run):
        complete(client, run, files, parameters)
        return f"version {id} has its run already, “{visible(str(run.info.run_name))}”; it is the candidate"
    if run:  # it was cut short
        registry.forget(client, run.info.run_id)
        client.delete_run(run.info.run_id)
    judged, lineage_tags = verdicts(files), lineage.tags(files.dataset, files.samples, parameters)
    name = about.run_name(id, lineage_tags.get("git.dirty") == "true")
    first = about.tags(note(evidence.read(files.metrics), id, lineage_tags.get("git.commit", "")))
    run = client.create_run(experiment, run_name=name, tags={tracking.VERSION_TAG: key, **first})
    fill(client, run.info.run_id, files, parameters, lineage_tags | judged)
    registered = {tracking.VERSION_TAG: key, "gates": judged.get("gates", "not measured")}
    registry.register(client, run.info.run_id, registered)
    registry.point(client, registry.CANDIDATE, run.info.run_id)
    client.set_terminated(run.info.run_id)
    client.set_tag(run.info.run_id, tracking.COMPLETE_TAG, "true")
    return f"version {id} is now the run “{name}”, and the candidate"


def complete(client: MlflowClient, run: Run, files: TrackedFiles, parameters: dict[str, Any]) -> None:
    """What came later than the run: a page drawn anew, predicted opinions, and what a run of before lacks; and the
    alias goes with the work tree."""
    if version.MODEL_TAG not in run.data.tags:
        loadable(client, run.info.run_id, parameters["voice"])
    publish(client, run.info.run_id, files.report, run.data.tags.get(version.REPORT_TAG))
    predict(client, run.info.run_id, files, run.data.tags.get(version.OPINIONS_TAG))
    registry.point(client, registry.CANDIDATE, run.info.run_id)


def fill(
    client: MlflowClient, run_id: str, files: TrackedFiles, parameters: dict[str, Any], tags: dict[str, str]
) -> None:
    log(client, run_id, "params", flat(parameters))
    log(client, run_id, "tags", tags)
    log(client, run_id, "metrics", [*finals(files.metrics), *curves(files.history, files.adapter)])
    log(client, run_id, "metrics", list(costs(files)))  # what another machine may lack
    predict(client, run_id, files)
    client.log_inputs(run_id, datasets=list(lineage.datasets(files.dataset)))
    client.log_artifacts(run_id, str(files.adapter), registry.ADAPTER)
    loadable(client, run_id, parameters["voice"])
    from timbre.audio.leaving import marked_copy  # numpy and the sound library: only where there is something to record
    from timbre.report import sound_pictures

    key = mlmodel.adapter_key(files.adapter)
    with tempfile.TemporaryDirectory() as folder:
        mark_samples(files.samples, key, Path(folder))
        with drawn_for_the_report():
            sound_pictures.draw(files.samples, Path(folder))
        client.log_artifacts(run_id, folder, "samples")
    for speaker, step, sound in sound_pictures.way(files.points, files.samples, training(files.adapter)):
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / (f"step-{step:06}-{speaker}.flac" if speaker else f"step-{step:06}.flac")
            copy.write_bytes(marked_copy(sound.read_bytes(), key))
            client.log_artifact(run_id, str(copy), "points")
        title = f"learning to speak, {speaker}" if speaker else "learning to speak"
        client.log_image(run_id, sound_pictures.image(sound), key=title, step=step, synchronous=True)
    log_samples(client, run_id, files.scores)
    side_by_side(client, run_id, files, key)
    for path in (files.scores, files.metrics):
        client.log_artifact(run_id, str(path))
    publish(client, run_id, files.report)


def drawn_for_the_report() -> AbstractContextManager[None]:
    return kept_sounds.kept(None if os.environ.get(ANEW) else kept_sounds.FILE, add=False)


def mark_samples(samples: Path, key: str, folder: Path) -> None:
    """Sounds and records; others may hear what is in a store, so each sound says that it is synthetic."""
    from timbre.audio.leaving import marked_copy, voice_of

    for path in sorted(samples.glob("*.json")):
        sample = from_json(path.read_text(encoding="utf-8"), Sample, str(path))
        (folder / path.name).write_bytes(path.read_bytes())
        sound = path.with_suffix(".flac").read_bytes()
        (folder / f"{path.stem}.flac").write_bytes(marked_copy(sound, voice_of(sample, key)))


def loadable(client: MlflowClient, run_id: str, voice: dict[str, Any]) -> None:
    """So that MLflow loads the adapter as a voice: the file says how, and the tag that it is there."""
    with tempfile.TemporaryDirectory() as folder:
        mlmodel.write(Path(folder) / mlmodel.FILE, voice)
        client.log_artifact(run_id, str(Path(folder) / mlmodel.FILE), registry.ADAPTER)
    client.set_tag(run_id, version.MODEL_TAG, "true")


def log_samples(client: MlflowClient, run_id: str, scores: Path) -> None:
    """A table by which MLflow puts sentence and run side by side; `sound` is the artifact to hear."""
    rows = score_rows.cells(scores.read_bytes())
    several = ["speaker"] if any(row.get("speaker") for row in rows) else []
    table: dict[str, list[Any]] = {n: [row.get(n, "") for row in rows] for n in (*SAMPLE_COLUMNS, *several)}
    table["sound"] = [f"samples/{row['sample']}.flac" for row in rows]
    client.log_table(run_id, table, "samples.json")


def side_by_side(client: MlflowClient, run_id: str, files: TrackedFiles, key: str) -> None:
    """Sentence × run with players, as a page that MLflow shows; and this run's sounds, for the pages of later runs."""
    from timbre.report import side_by_side as page

    with drawn_for_the_report():
        own = page.own_sentences(files.scores, files.samples, key)
    columns = [page.PlayedRun(str(client.get_run(run_id).info.run_name), "this run", page.by_line(own))]
    for other in other_runs.others(client, run_id):
        try:
            sentences = page.by_line(page.read(other.sounds, other.name))
            columns.append(page.PlayedRun(other.name, other.remark, sentences))
        except DataError as error:  # damaged in the store
            warn(f"track: {error}")
    client.log_text(run_id, page.to_json(own), f"{other_runs.FOLDER}/{other_runs.SOUNDS}")
    client.log_text(run_id, page.page(columns), f"{other_runs.FOLDER}/{other_runs.PAGE}")


def publish(client: MlflowClient, run_id: str, report: Path, recorded: str | None = None) -> None:
    """The page may be drawn anew for the same version: the run then shows the new one."""
    if (digest := file_sha256(report)) != recorded:
        client.log_artifact(run_id, str(report), "report")
        client.set_tag(run_id, version.REPORT_TAG, digest)


def predict(client: MlflowClient, run_id: str, files: TrackedFiles, recorded: str | None = None) -> None:
    """DNSMOS may be installed, and judge the samples, when the run is long there."""
    if files.mos.exists() and (digest := file_sha256(files.mos)) != recorded:
        log(client, run_id, "metrics", list(opinions(files)))
        client.set_tag(run_id, version.OPINIONS_TAG, digest)


def log(client: MlflowClient, run_id: str, kind: str, items: Any) -> None:
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    if kind == "metrics":
        entities = iter([Metric(name, value, now, step) for name, value, step in items])
    else:
        entity = Param if kind == "params" else RunTag
        entities = iter([entity(name, str(value)) for name, value in items.items()])
    while batch := list(islice(entities, BATCH[kind])):
        client.log_batch(run_id, **{kind: batch})


def flat(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    """{"train": {"rank": 8}} as {"train.rank": 8}, as `dvc exp run -S` names them."""
    flattened: dict[str, Any] = {}
    for name, value in values.items():
        flattened |= flat(value, f"{above}{name}.") if isinstance(value, dict) else {above + name: value}
    return flattened


def finals(path: Path) -> Iterator[tuple[str, float, int]]:
    """`wer/tuned` and so on: by the slash, MLflow draws the conditions of one rate side by side."""
    results = evidence.read(path)
    yield from ((f"{FIRST}/{name}", float(value), 0) for name, value in evidence.headline(results).items())
    parts: dict[str, Any] = {"": results.conditions, "_difference": results.differences}
    parts |= {"_preference": results.preferences, "_heard": results.heard}
    for kind, records in parts.items():
        for owner, record in records.items():
            yield from ((f"{name}{kind}/{owner}", value, 0) for name, value in measured(record))
    for measure, judge in results.second.items():
        yield from ((f"second_{measure}/{name}", value, 0) for name, value in measured(judge))
    yield from ((f"speaker/{name}", value, 0) for name, value in measured(results.speaker))
    for speaker, one in results.speakers.items():  # beside the rates of all speakers together
        for condition, record in one.conditions.items():
            yield from ((f"{name}/{condition}.{speaker}", value, 0) for name, value in measured(record))
        yield from ((f"speaker/{name}.{speaker}", value, 0) for name, value in measured(one.speaker))
    for gate, judged in results.gates.items():
        yield from ((f"gate_{name}/{gate}", value, 0) for name, value in measured(judged))


def opinions(files: TrackedFiles) -> Iterator[tuple[str, float, int]]:
    means = mos.read(files.mos, files.samples)
    yield from ((f"mos/{condition}", value, 0) for condition, value in means.items())


def measured(record: Any) -> Iterator[tuple[str, float]]:
    values = dataclasses.asdict(record) if record else {}
    yield from ((name, float(value)) for name, value in values.items() if isinstance(value, int | float))


def verdicts(files: TrackedFiles) -> dict[str, str]:
    """The gates, and whether training went on for too long: what a person wants to see without opening the run."""
    results = evidence.read(files.metrics)
    tags = {f"gate.{name}": "passed" if gate.passed else "failed" for name, gate in results.gates.items()}
    if results.gates:
        tags["gates"] = "passed" if results.passed else f"failed: {', '.join(results.failed)}"
    facts = training(files.adapter)
    if ended := early_ending(facts):
        tags[EARLY_TAG] = ended
    if began := beginning(facts):
        tags["warm start"] = began
    if facts.get("overfit", 0) > 0:
        tags["overfitting"] = (
            f"{facts.get('chosen_by', 'eval_loss')} was best at step {facts['best_step']}, "
            f"{facts['best_eval_loss']:.4f}, which is kept; "
            f"by step {facts['steps']} it had risen by {facts['overfit']:.4f}"
        )
    return tags


def training(adapter: Path) -> dict[str, Any]:
    path = adapter / "training.json"
    return dict(json.loads(path.read_bytes())) if path.exists() else {}


def costs(files: TrackedFiles) -> Iterator[tuple[str, float, int]]:
    """Beside what MLflow measures of a machine by itself; nothing where another machine trained."""
    for row in timing.read(files.speed, files.adapter):
        step = int(row.pop("step"))
        yield from ((f"system/{name}", value, step) for name, value in row.items())


def curves(path: Path, adapter: Path) -> Iterator[tuple[str, float, int]]:
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            step = int(row.pop("step"))
            yield from ((name, float(value), step) for name, value in row.items() if value)
    facts = training(adapter)
    if facts.keys() >= BEST:
        step, loss = int(facts["best_step"]), float(facts["best_eval_loss"])
        yield from (("best_eval_loss", loss, step), ("best_step", float(step), step), (f"{FIRST}/loss", loss, step))


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
    files = TrackedFiles(dataset, adapter, history, speed, samples, points, heard, scores, metrics, mos, report)
    raise_all(DataError, (f"{path}: missing; `dvc repro` makes it" for path in files.missing()))
    check_voices(dataset, adapter, report)
    settings = params.read()
    print(f"track: {track(files, dataclasses.asdict(settings))}")
    if settings.evaluate.strict:
        failed = evidence.read(files.metrics).failed
        raise_all(TimbreError, (f"gate `{name}` failed: it asks that {asks(name)}" for name in failed))


if __name__ == "__main__":
    run_stage(main)
