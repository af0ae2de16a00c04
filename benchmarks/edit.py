"""What an edit costs, to the ear: a word of a training clip, from the transcript to the samples and to MLflow; and how
long a voice takes from a cold start to its first sound.

    python -m benchmarks.edit [--rounds 5] [--only edit start] [--beside COMMIT]

A clone of this repository's last commit computes the demo from nothing. Then a word of a clip that the voice learns
from is changed in its transcript, and `dvc repro` goes as far as each row says; a row counts the ones before it, and
DVC's own work. CPU seconds are those of all processes, so that two cores and one can be compared.

A cold start is what the clock says from the command to the first bytes of sound in a pipe. Beside it stands what one
would write instead for the same model: transformers loads it and its processor, and has not spoken yet.

`--beside` measures another commit, too, in turn with this one.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.table import ResultTable, TimedRow, cpu_of_children, run

ROOT = Path(__file__).parents[1]
STEPS = {"dataset": "to the dataset", "generate": "to the samples", "report": "to the report", "track": "to MLflow"}
HEARD = 4096  # bytes of a WAV, the first of its sound among them
INSTEAD = """
from transformers import AutoProcessor, CsmForConditionalGeneration
AutoProcessor.from_pretrained("models/tiny/csm")
CsmForConditionalGeneration.from_pretrained("models/tiny/csm")
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5, help="of each cold start")
    parser.add_argument("--only", choices=("edit", "start"), nargs="+", default=["edit", "start"])
    parser.add_argument("--beside", metavar="COMMIT", help="another commit, to compare with")


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    with tempfile.TemporaryDirectory(prefix="timbre-edit-") as folder:
        commits = {"": "HEAD"} | ({f" at {options.beside}": options.beside} if options.beside else {})
        voices = {
            name: clone(commit, Path(folder) / f"voice{number}")
            for number, (name, commit) in enumerate(commits.items())
        }
        whole = [TimedRow(f"all of it, from nothing{name}", [repro(voice, "track")]) for name, voice in voices.items()]
        if "edit" in options.only:
            edits = [row for name, voice in voices.items() for row in edited(voice, name)]
            yield ResultTable("a word's edit", [*whole, *edits], baseline=whole[0].name, compares="time", unit="CPU s")
        if "start" in options.only:
            rows = list(started(voices, options.rounds))
            yield ResultTable("a cold start", rows, baseline=rows[0].name, compares="time")


def clone(commit: str, voice: Path) -> Path:
    subprocess.run(["git", "clone", "-q", str(ROOT), str(voice)], check=True)
    subprocess.run(["git", "checkout", "-q", "--detach", commit], cwd=voice, check=True)
    return voice


def edited(voice: Path, name: str) -> Iterator[TimedRow]:
    change_a_word(voice)
    seconds = 0.0
    for stage, how_far in STEPS.items():
        seconds += repro(voice, stage)
        yield TimedRow(f"{how_far}{name}", [seconds])


def started(voices: dict[str, Path], rounds: int) -> Iterator[TimedRow]:
    programs = Path(sys.executable).parent
    speaks = [str(programs / "timbre"), "say", "The night ferry waits.", "--out", "-"]
    log = [str(programs / "timbre"), "log"]
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, voice in voices.items():
            for row, line in ((f"`timbre say`, first sound{name}", speaks), (f"`timbre log`{name}", log)):
                seconds.setdefault(row, []).append(start(voice, line))
        instead = start(voices[""], [sys.executable, "-c", INSTEAD])
        seconds.setdefault("transformers, loaded", []).append(instead)
    yield TimedRow("transformers, loaded", seconds.pop("transformers, loaded"))
    for row, of_row in seconds.items():
        yield TimedRow(row, of_row)


def repro(voice: Path, stage: str) -> float:
    """CPU seconds of the stage and of those before it, where they are to be run."""
    before = cpu_of_children()
    command(voice, [str(Path(sys.executable).parent / "dvc"), "repro", stage])
    return cpu_of_children() - before


def change_a_word(voice: Path) -> None:
    """The longest word of the first training clip's first line becomes another."""
    clip = json.loads((voice / "data/dataset/train.jsonl").read_text().splitlines()[0])
    path = voice / f"data/transcripts/{clip['recording']}.tsv"
    lines = path.read_text().splitlines(keepends=True)
    number = next(number for number, line in enumerate(lines) if line.rstrip().rpartition("\t")[2] in clip["text"])
    start, _, text = lines[number].rpartition("\t")
    longest = max(re.findall(r"\w+", text), key=len)
    lines[number] = f"{start}\t{text.replace(longest, 'lantern', 1)}"
    path.write_text("".join(lines))


def start(voice: Path, line: list[str]) -> float:
    """Seconds until the process has written so much, or has ended."""
    begun = time.perf_counter()
    with subprocess.Popen(line, cwd=voice, env=environment(voice), stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.read(HEARD)
        seconds = time.perf_counter() - begun
        process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(line)} failed")
    return seconds


def command(voice: Path, line: list[str]) -> None:
    done = subprocess.run(line, cwd=voice, env=environment(voice), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(line)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def environment(voice: Path) -> dict[str, str]:
    """With the clone's own code, and this Python's programs first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "PYTHONPATH": str(voice)}


def main() -> None:
    run("edit", __doc__, arguments, measure)


if __name__ == "__main__":
    main()
