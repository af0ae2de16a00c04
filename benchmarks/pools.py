"""What worker processes bring, and a Ray cluster on the same machine: `check` and `encode` on the demo's clips.

    python -m benchmarks.pools [--workers 2] [--runs 2]

Each run is the stage's own command from nothing, with the start of Python, of the workers and of Ray, and a model that
each worker loads; so it says from how much work on more than one process pays. `until the first` is what of it passed
before an entry was there. It needs the demo's clips: `dvc repro check` or `dvc pull` brings them.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ruamel.yaml import YAML

from benchmarks import table
from benchmarks.table import ResultTable, TimedRow, median, race

ROOT = Path(__file__).parent.parent
STAGES = {
    "check": "--sources data/sources.yaml --raw data/raw --clips data/clips --table data/chunks/clips.jsonl "
    "--labels labels.jsonl",
    "encode": "--clips data/clips",
}


def main() -> None:
    table.run("pools", __doc__, arguments, measure)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=2)


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    for stage in STAGES:
        yield compare(stage, options.workers, options.runs)


def compare(stage: str, workers: int, runs: int) -> ResultTable:
    clips = len(list((ROOT / "data/clips").glob("*.flac")))
    engines = {"one process": ("local", 1), f"{workers} workers": ("local", workers), "Ray": ("ray", workers)}
    title = f"`{stage}`, {clips} clips"
    lacking = "" if clips else "there are no clips; `dvc pull` or `dvc repro check` brings them"
    if lacking:
        return ResultTable(title, [TimedRow(name, skipped=lacking) for name in engines])
    if importlib.util.find_spec("ray") is None:
        del engines["Ray"]
    firsts: dict[str, list[float]] = {name: [] for name in engines}
    with tempfile.TemporaryDirectory() as folder:
        calls: dict[str, Callable[[], object]] = {
            name: lambda name=name, engine=engine: firsts[name].append(run(stage, Path(folder), *engine))
            for name, engine in engines.items()
        }
        seconds = race(calls, runs, warmup=0)
    rows = [
        TimedRow(
            name, seconds[name], clips, extra={"until the first, s": round(median(TimedRow(name, firsts[name])), 1)}
        )
        for name in engines
    ]
    return ResultTable(title, rows, baseline="one process", rate="clips a second")


def run(stage: str, folder: Path, engine: str, workers: int) -> float:
    """Run the stage from nothing; the seconds after which its first entry was there."""
    for name in ("timbre", "stages", "models", "data"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    params["compute"] = {"engine": engine, "workers": workers, "address": None}
    yaml.dump(params, folder / "params.yaml")
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    begun, first, over = time.perf_counter(), [], threading.Event()

    def watch() -> None:
        while not over.wait(0.02) and not first:
            if out.exists() and any(out.glob("*.json")):
                first.append(time.perf_counter() - begun)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        command = [sys.executable, "-m", f"stages.{stage}", *STAGES[stage].split(), "--out", str(out)]
        environment = {**os.environ, "PYTHONPATH": ""}
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    finally:
        over.set()
        watcher.join()
    return first[0] if first else float("nan")


if __name__ == "__main__":
    main()
