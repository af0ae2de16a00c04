"""What the data path costs: hours of sound a minute through `chunk`, its memory, and a word's edit against all of it.

    python -m benchmarks.data_path [--hours 1 10] [--silero-hours 1] [--no-edit]

`chunk` runs as its own process on recordings made of the demo's sentences over and over, in clips of up to 30 s. Peak
memory is the process's own; seconds are the CPU's, so that a busy machine tells the same. Whoever reads a recording
whole needs 4 bytes a sample: the table says what that would be. Then the demo itself goes through fetch, transcribe,
segment, chunk, check, dataset and encode by `dvc repro` in a new repository, from nothing; one word of a transcript is
edited; and the same command runs again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import soundfile
from ruamel.yaml import YAML

from benchmarks import table
from benchmarks.noop import ROOT, dvc, new_repository
from benchmarks.table import ResultTable, TimedRow
from timbre.core.records import Recording, Segment, write_jsonl
from timbre.project import transcripts

DEMO = sorted((ROOT / "data/recordings").glob("*.flac"))
COPIED = ("dvc.yaml", "params.yaml", "stages", "timbre", "models/tiny", "data/recordings", "data/transcripts")
LISTED = ("data/sources.yaml", "data/speakers.yaml", "data/glossary.txt", "data/prompts.tsv")


def main() -> None:
    table.run("data_path", __doc__, arguments, measure)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hours", type=float, nargs="*", default=[1, 10], help="of sound, with chunk.vad: energy")
    parser.add_argument("--silero-hours", type=float, nargs="*", default=[1], help="the same with chunk.vad: silero")
    parser.add_argument("--no-edit", action="store_true", help="leave out the edit of a word")


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    rows = []
    for vad, sizes in (("energy", options.hours), ("silero", options.silero_hours)):
        for hours in sizes:
            seconds, peak = chunk(hours, vad)
            samples = hours * 3600 * 16_000 * 4 / 1e6
            extra = {"peak MB": peak, "all samples, MB": samples}
            rows.append(TimedRow(f"{hours:g} h, {vad}", [seconds], amount=hours * 60, extra=extra))
    yield ResultTable("`chunk`, clips of up to 30 s", rows, unit="CPU s", rate="hours of sound a minute")
    if not options.no_edit:
        names = ("from nothing", "after a word's edit", "nothing to do")
        rows = [TimedRow(name, [seconds]) for name, seconds in zip(names, word(), strict=True)]
        title = "`dvc repro` of the demo's data, six minutes of sound"
        yield ResultTable(title, rows, baseline="from nothing", compares="time", unit="CPU s")


def chunk(hours: float, vad: str) -> tuple[float, float]:
    """CPU seconds and peak MB of the stage, over a recording of so many hours."""
    root = Path(tempfile.mkdtemp(prefix="timbre-chunk-"))
    try:
        write_recording(root, hours)
        params = YAML().load(ROOT / "presets/csm-1b.yaml")
        params["chunk"]["vad"] = vad
        YAML().dump(params, root / "params.yaml")
        for name in ("stages", "timbre"):
            (root / name).symlink_to(ROOT / name)
        flags = "--sources sources.yaml --raw raw --segments segments --clean clean --speech speech --out clips"
        command = [sys.executable, "-m", "stages.chunk", *flags.split(), "--table", "clips.jsonl", "--drops", "d.jsonl"]
        with (root / "log").open("w") as log:
            process = subprocess.Popen(command, cwd=root, stdout=log, stderr=log)
            _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit((root / "log").read_text())
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    finally:
        shutil.rmtree(root)


def write_recording(root: Path, hours: float) -> None:
    """The demo's recordings one after the other until it is long enough, and its transcripts with them."""
    (root / "raw").mkdir()
    (root / "segments").mkdir()
    parts = [(soundfile.read(path, dtype="int16")[0], path.stem) for path in DEMO]
    lines = {name: transcripts.read(ROOT / f"data/transcripts/{name}.tsv").lines for _, name in parts}
    segments, at = [], 0
    with soundfile.SoundFile(root / "raw/long.flac", "w", 16_000, 1, "PCM_16", format="FLAC") as file:
        while at < hours * 3600 * 16_000:
            for samples, name in parts:
                file.write(samples)
                begin = at / 16_000
                segments += [Segment("long", begin + x.start, begin + x.end, "ann", x.text) for x in lines[name]]
                at += len(samples)
    about = Recording("long", "ann", "en", "CC0-1.0", "none needed", "long.flac", "ab" * 32, 16_000, at / 16_000)
    (root / "raw/long.json").write_text(json.dumps({"key": "k", "recording": vars(about)}))
    (root / "sources.yaml").write_text(
        "- {id: long, url: https://example.org/long.wav, speaker: ann, language: en, licence: CC0-1.0, consent: none}\n"
    )
    write_jsonl(root / "segments/long.jsonl", segments)


def word() -> tuple[float, float, float]:
    """CPU seconds of the demo's data path from nothing, after an edit of a word, and with nothing to do."""
    repository = new_repository()
    try:
        for name in (*COPIED, *LISTED):
            source, target = ROOT / name, repository / name
            if not source.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            ignore = shutil.ignore_patterns("__pycache__", "dvc.yaml", "dvc.lock", "recipe")
            shutil.copytree(source, target, ignore=ignore) if source.is_dir() else shutil.copy(source, target)
        whole = repro(repository)
        path = next((repository / "data/transcripts").glob("*.tsv"))
        transcript = transcripts.read(path)
        path.write_text(path.read_text(encoding="utf-8").replace(transcript.lines[3].text, "The tide comes in."))
        return whole, repro(repository), repro(repository)
    finally:
        shutil.rmtree(repository.parent)


def repro(repository: Path, *arguments: str) -> float:
    """CPU seconds of `dvc repro`, of the whole data path where nothing else is said."""
    before = table.cpu_of_children()
    dvc(repository, "repro", *(arguments or ("dataset", "encode")))
    return table.cpu_of_children() - before


if __name__ == "__main__":
    main()
