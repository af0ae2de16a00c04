"""One MLflow run per version of the voice, written at the end from files, so that no training hangs on a server.

Reads   data/dataset, models/adapter, models/history.csv, reports/samples, reports/heard,
        reports/scores.csv, reports/metrics.json, reports/index.html
        params.yaml, dvc.lock           the parameters; DVC's names of the data
Writes  a run in the MLflow store       parameters, curves, rates, data lineage, samples to play, the report

    python -m stages.track --dataset data/dataset --adapter models/adapter --history models/history.csv \\
        --samples reports/samples --heard reports/heard --scores reports/scores.csv \\
        --metrics reports/metrics.json --report reports/index.html

A version that has a complete run is left alone. One whose run was cut short is recorded anew. If the store cannot be
reached, only this stage fails, and the next `dvc repro` finishes it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from timbre import evidence, params, tracking
from timbre.errors import DataError, run
from timbre.mapping import content_key, file_sha256
from timbre.records import Example, read_jsonl

if TYPE_CHECKING:
    from mlflow import MlflowClient

WRITTEN = ("dvc.lock", "reports/metrics.json")  # by the pipeline itself: they change while it runs
REPORT_TAG = "timbre.report"  # SHA-256 of the page that the run holds
BATCH = {"metrics": 1000, "params": 100, "tags": 100}  # what MLflow takes in one call


@dataclass(frozen=True)
class Version:
    """What is recorded of one version, by where it lies."""

    dataset: Path
    adapter: Path
    history: Path
    samples: Path
    heard: Path
    scores: Path
    metrics: Path
    report: Path

    def key(self, parameters: dict[str, Any]) -> str:
        # the page is drawn from the rest: a new style is no new voice
        made = [self.dataset, self.adapter, self.history, self.samples, self.heard, self.scores, self.metrics]
        return tracking.version_key(made, parameters)


def record(client: MlflowClient, version: Version, parameters: dict[str, Any]) -> str:
    """Record the version unless its run is there; say in a line what was done."""
    key = version.key(parameters)
    experiment = tracking.experiment_of(client)
    assert experiment is not None
    found = tracking.find(client, experiment, key)
    if found and tracking.is_complete(found):
        publish(client, found.info.run_id, version.report, found.data.tags.get(REPORT_TAG))
        return f"version {key} has its run already, {found.info.run_name}"
    if found:
        client.delete_run(found.info.run_id)
    name = os.environ.get("DVC_EXP_NAME") or key[:8]
    made = client.create_run(experiment, run_name=name, tags={tracking.VERSION_TAG: key, **git_tags()})
    run_id = made.info.run_id
    log(client, run_id, "params", flat(parameters))
    log(client, run_id, "tags", lineage())
    log(client, run_id, "metrics", [*finals(version.metrics), *curves(version.history)])
    client.log_inputs(run_id, datasets=list(datasets(version.dataset)))
    client.log_artifacts(run_id, str(version.samples), "samples")
    for path in (version.scores, version.metrics):
        client.log_artifact(run_id, str(path))
    publish(client, run_id, version.report)
    client.set_terminated(run_id)
    client.set_tag(run_id, tracking.COMPLETE_TAG, "true")
    return f"version {key} is now run {name}"


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
    found = evidence.to_dict(evidence.read(path))
    for pair, values in found.pop("differences").items():
        yield from ((f"{name}_difference/{pair}", float(value), 0) for name, value in values.items())
    for gate, values in found.pop("gates").items():
        yield f"gate/{gate}", float(values["passed"]), 0
    for condition, values in found.items():
        yield from ((f"{name}/{condition}", float(value), 0) for name, value in values.items())


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


def datasets(folder: Path) -> Iterator[Any]:
    """Both tables as inputs of the run; DVC's hash of the folder is their digest, by which the data comes back."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    digest = locked().get(folder.as_posix()) or content_key([file_sha256(p) for p in sorted(folder.glob("*.jsonl"))])
    schema = [
        {"name": name, "type": kind} for name, kind in (("audio", "binary"), ("text", "string"), ("source", "string"))
    ]
    for name, context in (("train", "training"), ("eval", "evaluation")):
        examples = read_jsonl(folder / f"{name}.jsonl", Example)
        profile = {"clips": len(examples), "seconds": round(sum(example.seconds for example in examples), 2)}
        source = {"dvc": folder.as_posix(), "md5": digest, "file": f"{name}.jsonl", "git": git("rev-parse", "HEAD")}
        dataset = Dataset(
            name=f"{folder.name}/{name}",
            digest=digest[:36],  # what MLflow's column holds: an MD5 and `.dir`
            source_type="dvc",
            source=json.dumps(source),
            schema=json.dumps({"mlflow_colspec": schema}),
            profile=json.dumps(profile),
        )
        yield DatasetInput(dataset=dataset, tags=[InputTag("mlflow.data.context", context)])


def lineage() -> dict[str, str]:
    """DVC's hash of everything that the stages made: `dvc.models/adapter` and so on."""
    return {f"dvc.{path}": digest for path, digest in locked().items()}


def locked() -> dict[str, str]:
    """Path → hash of every output that dvc.lock names; DVC writes it after each stage, so it is as new as the files."""
    path = Path("dvc.lock")
    stages = (YAML(typ="safe").load(path) or {}).get("stages", {}) if path.exists() else {}
    return {out["path"]: str(out["md5"]) for stage in stages.values() for out in stage.get("outs", []) if "md5" in out}


def git_tags() -> dict[str, str]:
    """The commit, and whether an input differs from it."""
    commit = git("rev-parse", "HEAD")
    if not commit:
        return {}
    changed = git("status", "--porcelain", "--", ".", *(f":(exclude){path}" for path in WRITTEN))
    return {"mlflow.source.git.commit": commit, "git.commit": commit, "git.dirty": "true" if changed else "false"}


def git(*arguments: str) -> str:
    """What git prints; nothing where there is no git, no repository or no commit yet."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def check(paths: Sequence[Path]) -> None:
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: missing; `dvc repro` makes it")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", type=Path, required=True, help="folder of the training and evaluation tables")
    parser.add_argument("--adapter", type=Path, required=True, help="folder of the trained adapter")
    parser.add_argument("--history", type=Path, required=True, help="training curves")
    parser.add_argument("--samples", type=Path, required=True, help="folder of generated samples")
    parser.add_argument("--heard", type=Path, required=True, help="folder of what Whisper heard")
    parser.add_argument("--scores", type=Path, required=True, help="what was heard, a row per sample")
    parser.add_argument("--metrics", type=Path, required=True, help="the conditions' rates")
    parser.add_argument("--report", type=Path, required=True, help="the page")
    args = parser.parse_args()
    version = Version(**vars(args))
    check(list(vars(args).values()))
    uri = tracking.store_uri()
    client = tracking.connect(uri)
    with tracking.explained(uri):
        print(f"track: {record(client, version, params.load())}")


if __name__ == "__main__":
    run(main)
