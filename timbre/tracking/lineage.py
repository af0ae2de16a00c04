"""Where a version comes from: its commit, DVC's names of the data and of all that was made, the base model.

Tags and dataset inputs of its MLflow run. By DVC's hash of the dataset, the run's dataset is found and comes back:

    client.search_runs(ids, "dataset.digest = '0123….dir'")
    mlflow.data.get_source(run.inputs.dataset_inputs[0].dataset).load()     # the table, from DVC's cache
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timbre.core.content import content_key, file_sha256
from timbre.core.records import Example, read_jsonl
from timbre.versions import dvc_lock, snapshot, version_ids
from timbre.versions.snapshot import WorkTree

WRITTEN = (
    "dvc.lock",
    "reports/details.json",
    "reports/metrics.json",
)  # by the pipeline itself: they change while it runs
COLUMNS = (("audio", "binary"), ("text", "string"), ("source", "string"))  # as `datasets` sees the tables


def tags(dataset: Path, samples: Path, parameters: dict[str, Any]) -> dict[str, str]:
    """All that says what the version is made of."""
    outs = dvc_lock.read(WorkTree(Path())).outs
    hashes = {f"dvc.{path}": digest for path, digest in outs.items()}
    hashes |= {"dvc.lock": content_key(sorted(outs.items())), "data.version": digest_of(dataset, outs)}
    return git_tags() | hashes | base_tags(samples, parameters.get("voice", {}))


def version_id() -> str:
    """As commands print it; empty where no lock names an adapter."""
    return (version_ids.of_outs(dvc_lock.read(WorkTree(Path())).outs) or "")[: version_ids.DIGITS]


def base_tags(samples: Path, voice: dict[str, Any]) -> dict[str, str]:
    """A hub model's revision is its commit; a folder's the key of its content, which each sample names."""
    sample = next(iter(sorted(samples.glob("*.json"))), None)
    revision = voice.get("revision") or (json.loads(sample.read_bytes()).get("base") if sample else None)
    tags = {"base.model": voice.get("base"), "base.revision": revision}
    return {name: str(value) for name, value in tags.items() if value}


def digest_of(folder: Path, outs: dict[str, str]) -> str:
    return outs.get(folder.as_posix()) or content_key([file_sha256(p) for p in sorted(folder.glob("*.jsonl"))])


def git_tags() -> dict[str, str]:
    """The commit, and whether an input differs from it."""
    commit = snapshot.head(Path())
    if not commit:
        return {}
    changed = snapshot.changed_files(Path(), besides=WRITTEN)
    return {"mlflow.source.git.commit": commit, "git.commit": commit, "git.dirty": "true" if changed else "false"}


def datasets(folder: Path) -> Iterator[Any]:
    """Both tables as inputs of the run; DVC's hash of the folder is their digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    from timbre.tracking.dvc_source import DvcSource

    digest = digest_of(folder, dvc_lock.read(WorkTree(Path())).outs)
    schema = [{"name": name, "type": kind} for name, kind in COLUMNS]
    for name, context in (("train", "training"), ("eval", "evaluation")):
        examples = read_jsonl(folder / f"{name}.jsonl", Example)
        profile = {"clips": len(examples), "seconds": round(sum(example.seconds for example in examples), 2)}
        dataset = Dataset(
            name=f"{folder.name}/{name}",
            digest=digest[:36],  # what MLflow's column holds: an MD5 and `.dir`
            source_type="dvc",
            source=DvcSource(folder.as_posix(), digest, f"{name}.jsonl", snapshot.head(Path()) or "").to_json(),
            schema=json.dumps({"mlflow_colspec": schema}),
            profile=json.dumps(profile),
        )
        yield DatasetInput(dataset=dataset, tags=[InputTag("mlflow.data.context", context)])
