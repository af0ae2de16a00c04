"""What `dvc repro` costs when nothing changed: 3 recordings against 1,000, in one run.

    python -m benchmarks.noop [--recordings 3 1000] [--rounds 5]

Each repository is this project's own pipeline with every output in place: as many raw files, drafts, segments, clips
and codes as recordings, a few bytes each, recorded by `dvc commit`. So the time is DVC's and ours for *looking*, which
is all that a run with nothing to do should do. A stage that runs each time is left out: `track`, which asks MLflow's
store about the version, and would find none of it here. Beside it stands the design that Timbre did not take, a DVC
stage per recording, at a size where that can still be waited for.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML

from benchmarks import table
from benchmarks.table import ResultTable, TimedRow

ROOT = Path(__file__).parent.parent
PER_RECORDING = {  # folder → suffixes of an entry
    "data/raw": (".flac", ".json"),
    "data/drafts": (".json",),
    "data/segments": (".jsonl",),
    "data/clips": (".flac",),
    "data/codes/csm": (".safetensors", ".json"),
}


def main() -> None:
    table.run("noop", __doc__, arguments, measure)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recordings", type=int, nargs="+", default=[3, 1000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--stage-per-recording", type=int, default=100, help="size of the other design; 0 leaves it out"
    )


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    rows = [TimedRow(f"{n} recordings", rounds(build(n), options.rounds)) for n in options.recordings]
    if size := options.stage_per_recording:
        seconds = rounds(build_stage_per_recording(size), options.rounds)
        rows.append(TimedRow(f"a DVC stage per recording, {size}", seconds))
    yield ResultTable("no-op `dvc repro`", rows, baseline=rows[0].name, compares="time")


def rounds(repository: Path, count: int) -> list[float]:
    """Seconds of each look that finds nothing to do."""
    try:
        seconds = []
        for _ in range(count):
            start = time.perf_counter()
            done = dvc(repository, "repro")
            seconds.append(time.perf_counter() - start)
            if "Running stage" in done:
                raise SystemExit(f"a stage ran:\n{done}")
        return seconds
    finally:
        shutil.rmtree(repository.parent)


def build(recordings: int) -> Path:
    repository = new_repository()
    stages = {k: v for k, v in YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].items() if "always_changed" not in v}
    with (repository / "dvc.yaml").open("w") as stream:
        YAML().dump({"stages": stages}, stream)
    for name in ("params.yaml", "stages", "timbre", "models/tiny"):
        source, target = ROOT / name, repository / name
        target.parent.mkdir(parents=True, exist_ok=True)
        ignore = shutil.ignore_patterns("__pycache__", "dvc.yaml", "dvc.lock", "recipe")
        shutil.copytree(source, target, ignore=ignore) if source.is_dir() else shutil.copy(source, target)
    for number in range(recordings):
        for folder, suffixes in PER_RECORDING.items():
            for suffix in suffixes:
                write(repository / folder / f"talk-{number:04}{suffix}", f"{folder} {number}")
        write(repository / "data/recordings" / f"talk-{number:04}.flac", f"{number}")
        write(repository / "data/transcripts" / f"talk-{number:04}.tsv", "start\tend\tspeaker\tflag\ttext\n")
    for stage in stages.values():
        outs = [next(iter(o)) if isinstance(o, dict) else o for o in stage.get("outs", []) + stage.get("metrics", [])]
        for path in [repository / out for out in outs + stage["deps"] if "${" not in out]:
            if not path.exists():
                write(path if path.suffix else path / "entry", "x")
    dvc(repository, "commit", "--force")
    return repository


def build_stage_per_recording(recordings: int) -> Path:
    repository = new_repository()
    stages = {}
    for number in range(recordings):
        write(repository / f"raw/{number}", f"{number}")
        write(repository / f"draft/{number}", f"draft {number}")
        stages[f"transcribe-{number}"] = {"cmd": "true", "deps": [f"raw/{number}"], "outs": [f"draft/{number}"]}
    with (repository / "dvc.yaml").open("w") as stream:
        YAML().dump({"stages": stages}, stream)
    dvc(repository, "commit", "--force")
    return repository


def new_repository() -> Path:
    repository = Path(tempfile.mkdtemp(prefix="timbre-noop-")) / "voice"
    repository.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    shutil.copy(ROOT / ".dvcignore", repository)  # byte code is no input of a stage
    dvc(repository, "init", "-q")
    dvc(repository, "config", "core.analytics", "false")
    dvc(repository, "config", "core.check_update", "false")
    return repository


def dvc(repository: Path, *arguments: str) -> str:
    command = [str(Path(sys.executable).parent / "dvc"), *arguments]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    main()
