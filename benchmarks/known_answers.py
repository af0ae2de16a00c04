"""Whether nonsense passes for a voice: adapters whose answer is known, through generate, evaluate and the gates.

    python -m benchmarks.known_answers [--only noise permuted shuffled]
    python -m benchmarks.known_answers --small tests/golden/adapters

It takes the outputs of `dvc repro` as they are here. `noise` has random weights of the adapter's own spread, `permuted`
its weights in another order, `shuffled` was trained on the same clips with each other's texts. None may be called
better than cloning alone; beside them stands the adapter itself. Each takes about two minutes, `shuffled` twice that.
`make test` asks the same of small adapters, which `--small` trains anew: of the true texts, and of shuffled ones.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ruamel.yaml import YAML
from safetensors.numpy import load_file, save_file

from timbre.core import params
from timbre.core.content import content_key
from timbre.core.records import Example, read_jsonl, write_jsonl
from timbre.evaluation import metrics
from timbre.evaluation.metrics import Evidence
from timbre.report.verdict import verdict

ADAPTER, SAMPLES, DATASET = Path("models/adapter"), Path("reports/samples"), Path("data/dataset")
CODES = Path("data/codes/csm")
WEIGHTS = "adapter_model.safetensors"
SMALL_RANK = 4
Array = npt.NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=sorted(MAKERS), default=sorted(MAKERS))
    parser.add_argument("--small", type=Path, metavar="FOLDER", help="train the adapters of `make test` instead")
    options = parser.parse_args()
    if options.small:
        write_small(options.small)
        return
    for line in shown("the adapter itself", metrics.read(Path("reports/details.json"))):
        print(line)
    for name in options.only:
        with tempfile.TemporaryDirectory(prefix="timbre-known-") as folder:
            adapter = Path(folder) / "adapter"
            MAKERS[name](adapter)
            for line in shown(name, judged(adapter, Path(folder))):
                print(line, flush=True)


def noise(out: Path) -> None:
    random = np.random.default_rng(0)
    changed(out, lambda weight: random.normal(0, weight.std(), weight.shape).astype(weight.dtype))


def permuted(out: Path) -> None:
    random = np.random.default_rng(0)
    changed(out, lambda weight: random.permutation(weight.ravel()).reshape(weight.shape))


def changed(out: Path, change: Callable[[Array], Array]) -> None:
    shutil.copytree(ADAPTER, out)
    weights = load_file(out / WEIGHTS)
    metadata = {"format": "pt"}
    save_file({name: change(weights[name]) for name in sorted(weights)}, out / WEIGHTS, metadata)


def shuffled(out: Path) -> None:
    train(shuffled_texts(out.parent / "dataset"), out, Path())


def shuffled_texts(dataset: Path) -> Path:
    """Each clip with the text of the next, in an order that has nothing to do with either."""
    shutil.copytree(DATASET, dataset)
    rows = sorted(read_jsonl(dataset / "train.jsonl", Example), key=lambda row: content_key("another order", row.id))
    texts = [row.text for row in [*rows[1:], rows[0]]]
    other = [json.loads(json.dumps(vars(row))) | {"text": text} for row, text in zip(rows, texts, strict=True)]
    write_jsonl(dataset / "train.jsonl", [Example(**row) for row in other])
    return dataset


def train(dataset: Path, out: Path, root: Path) -> None:
    stage(
        "train", root, dataset=dataset, codes=CODES, out=out, points=out.parent / "points",
        history=out.parent / "history.csv", speed=out.parent / "train.json",
    )  # fmt: skip


def write_small(folder: Path) -> None:
    """Of a rank that is small enough for git, in half precision; all else is as params.yaml says."""
    with tempfile.TemporaryDirectory(prefix="timbre-known-") as scratch:
        root = Path(scratch)
        for name in ("timbre", "stages", "models", "data"):
            (root / name).symlink_to(Path(name).absolute())
        document = params.load(Path("params.yaml"))
        document["train"]["rank"] = SMALL_RANK
        with (root / "params.yaml").open("w") as stream:
            YAML().dump(document, stream)
        for name, dataset in {"true": DATASET.absolute(), "shuffled": shuffled_texts(root / "shuffled")}.items():
            out = root / name / "adapter"
            train(dataset, out, root)
            weights = {key: weight.astype(np.float16) for key, weight in sorted(load_file(out / WEIGHTS).items())}
            folder.mkdir(parents=True, exist_ok=True)
            save_file(weights, folder / f"{name}.safetensors", {"format": "pt"})


MAKERS = {"noise": noise, "permuted": permuted, "shuffled": shuffled}


def judged(adapter: Path, folder: Path) -> Evidence:
    """The base's samples are here; those of this adapter are spoken and heard."""
    for name in ("samples", "heard", "embeddings"):
        shutil.copytree(Path("reports") / name, folder / name)
    read = {"dataset": DATASET, "clips": "data/clips", "codes": CODES}
    stage(
        "generate", prompts="data/prompts.tsv", **read, adapter=adapter, out=folder / "samples",
        speed=folder / "speed.json",
    )  # fmt: skip
    tables = {
        "scores": "scores.csv",
        "wer": "wer.csv",
        "details": "details.json",
        "metrics": "metrics.json",
        "mos": "mos.json",
    }
    written = {name: folder / file for name, file in {"heard": "heard", "embeddings": "embeddings", **tables}.items()}
    stage("evaluate", **read, opinions="data/opinions", samples=folder / "samples", **written)
    return metrics.read(folder / "details.json")


def stage(name: str, root: Path = Path(), **paths: object) -> None:
    flags = [part for flag, path in paths.items() for part in (f"--{flag}", str(path))]
    subprocess.run([sys.executable, "-m", f"stages.{name}", *flags], cwd=root, check=True, stdout=subprocess.DEVNULL)


def shown(name: str, evidence: Evidence) -> Iterator[str]:
    yield f"{name}: {verdict(evidence).headline}"
    for gate, result in evidence.gates.items():
        value = "not measured" if result.value is None else f"{result.value:.3f}"
        yield f"    {'passed' if result.passed else 'FAILED'}  {gate:9} {value}, limit {result.limit:g}"


if __name__ == "__main__":
    main()
