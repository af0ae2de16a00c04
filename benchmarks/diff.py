"""What `timbre diff` costs: 20,000 segments in 200 recordings, half of the lines changed, no data present.

    python -m benchmarks.diff [--recordings 200] [--lines 100] [--changed 0.5] [--rounds 5]

The repository is a real one in a temporary folder: two commits of transcripts, sources, parameters and locks. The
tables of clips are measured once in DVC's cache and once out of reach, as in a reviewer's fresh clone. Memory is the
peak of one process as the operating system counts it.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import table
from benchmarks.table import ResultTable, TimedRow
from tests.support.git_history import Voice

TALK = "Passengers with coffee to pier {} please, the {} ferry waits under the old lantern of the harbour {}."


def main() -> None:
    table.run("diff", __doc__, arguments, measure)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recordings", type=int, default=200)
    parser.add_argument("--lines", type=int, default=100, help="of each recording")
    parser.add_argument("--changed", type=float, default=0.5, help="share of the lines")
    parser.add_argument("--rounds", type=int, default=5)


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    total = options.recordings * options.lines
    with tempfile.TemporaryDirectory() as folder:
        root = build(Path(folder) / "voice", options.recordings, options.lines, options.changed)
        rows = [rounds("clips in DVC's cache", root, options.rounds)]
        shutil.rmtree(root / ".dvc/cache")
        rows.append(rounds("no data in the clone", root, options.rounds))
    yield ResultTable(f"`timbre diff` of {total:,} segments, {options.changed:.0%} changed", rows)


def build(root: Path, recordings: int, lines: int, changed: float) -> Path:
    voice = Voice(root)
    names = [f"tape-{number:03}" for number in range(recordings)]
    for name in names:
        voice.add(name, [TALK.format(number, "night", name) for number in range(lines)])
    voice.commit("before")
    for name in names:
        for number in range(round(lines * changed)):
            if number % 3 == 0:
                voice.edit(name, number, text=TALK.format(number, "early morning", name.upper()))
            elif number % 3 == 1:
                voice.edit(name, number, text=TALK.format(number, "nite", name))
            else:
                voice.edit(name, number, end=4.0 * number + 3.2)
    voice.commit("after")
    return root


def rounds(name: str, root: Path, count: int) -> TimedRow:
    """Seconds of each round, what a round computes of them (git included), and the highest peak of memory."""
    code = "import sys; from timbre.commands.cli import main; main()"
    project = str(Path(__file__).parent.parent)
    seconds, before = [], table.cpu_of_children()
    for _ in range(count):
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", code, "diff", "HEAD~1", "HEAD", "--check"],
            cwd=root,
            env={"PYTHONPATH": project, "PATH": "/usr/bin:/bin:/usr/local/bin"},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        seconds.append(time.perf_counter() - begun)
    cpu = (table.cpu_of_children() - before) / count
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    peak /= 1e6 if sys.platform == "darwin" else 1e3  # bytes on a Mac, else kilobytes
    return TimedRow(name, seconds, extra={"of it CPU s": cpu, "peak MB": peak})


if __name__ == "__main__":
    main()
