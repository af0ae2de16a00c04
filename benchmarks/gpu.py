"""The whole table of a GPU by one command, in less than eight minutes: encoding, speaking, serving, learning.

    python -m benchmarks.gpu                                # csm-1b's shape on the GPU
    python -m benchmarks.gpu --device cpu --size tiny       # the rehearsal, on any machine

It needs no network, no data and no package beyond torch, transformers, peft, accelerate, numpy and tqdm. Each part is
a benchmark of its own in a process of its own: what it measured is kept when it breaks off or its time is over, the
time that it leaves goes to the next, and the GPU's memory is free again. Results are written after each part. The last
table holds the fastest of ours in each of the others against what one would do instead (for speech, `generate` of
transformers) and against what the device could do at most.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks import table
from benchmarks.table import ResultTable, TimedRow

ROOT = Path(__file__).parent.parent


class GpuRun(NamedTuple):
    name: str  # of the benchmark's module
    seconds: float  # that it may take
    options: Sequence[str] = ()


PARTS = (
    GpuRun("encoding", 70),
    GpuRun("speaking", 180, ["--slots", "1", "16", "--modes", "--seconds", "130"]),
    GpuRun("serving", 40, ["--parts", "slots"]),
    GpuRun("learning", 180, ["--only", "layers", "speed", "epoch"]),
)


def main() -> None:
    options = table.parse(__doc__, arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU here; rehearse with --device cpu --size tiny")
    table.record("gpu", measure(options), options.out)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--size", choices=["tiny", "csm-1b"], default="csm-1b")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--parts", nargs="+", default=[part.name for part in PARTS], help="only these")


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    parts = [part for part in PARTS if part.name in options.parts]
    end, done = time.monotonic(), list[ResultTable]()
    for part in parts:
        end += part.seconds
        common = ["--device", options.device, "--size", options.size, "--runs", str(options.runs)]
        for measured in tables(part._replace(seconds=end - time.monotonic(), options=[*common, *part.options])):
            done.append(measured)
            yield measured
    yield summary(done)


def summary(measured: Sequence[ResultTable]) -> ResultTable:
    """The fastest of ours in each table; of speech that of a single sentence too."""
    rows = []
    for part in measured:
        instead = next((row for row in part.rows if row.name == part.baseline and row.seconds), None)
        ours = [row for row in part.rows if row.seconds and row is not instead]
        if instead and ours:
            alone = [row for row in ours if row.name.endswith(" 1 at once")]
            best = {row.name: row for row in [min(group, key=each) for group in (alone, ours) if group]}
            rows += [compared(part.title, row, instead) for row in best.values()]
    title = "ours / instead / limit, for one of what each table counts"
    return ResultTable(title, rows or [TimedRow("nothing", skipped="no part was measured")])


def compared(title: str, ours: TimedRow, instead: TimedRow) -> TimedRow:
    """Seconds for a second of sound, or whatever the table counts."""
    amount = ours.amount or 1
    extra = {"instead": instead.name, "instead, s": each(instead), "times as fast": each(instead) / each(ours)}
    limit = ours.limit and ours.limit / amount
    return TimedRow(f"{title}: {ours.name}", [run / amount for run in ours.seconds], limit=limit, extra=extra)


def each(row: TimedRow) -> float:
    return table.median(row) / (row.amount or 1)


def tables(part: GpuRun) -> list[ResultTable]:
    """What the part measured, and in its last row why it did not go on, if so."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", f"benchmarks.{part.name}", *part.options, "--out", folder]
        print(f"{' '.join(command[1:-2])}: at most {part.seconds:.0f} s\n", file=sys.stderr, flush=True)
        trouble = attempt(command, part.seconds, Path(folder) / "errors")
        files = sorted(Path(folder).glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        done = [found for path in files for found in table.read(path)[1]]
    return (
        [*done, ResultTable(part.name, [TimedRow("the rest" if done else "all of it", skipped=trouble)])]
        if trouble
        else done
    )


def attempt(command: Sequence[str], seconds: float, errors: Path) -> str:
    """What went wrong, in a few words; nothing where all went well."""
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=stderr, text=True, start_new_session=True
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"its {seconds:.0f} s were over"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if not code:
        return ""
    lines = [line.strip() for line in errors.read_text().splitlines() if line.strip()]
    return f"it ended with {lines[-1][:200].rstrip('.')}" if lines else f"it ended with code {code}"


if __name__ == "__main__":
    main()
