"""What many clips cost DVC and an edit, each file by itself and in shards: 100, 5,800 and 29,000 clips.

    python -m benchmarks.scale [--clips 100 5800 29000] [--layouts files shards] [--keep FOLDER] [--add]

Each repository is this project's own pipeline up to `dataset` and `encode`, with recordings of a hundred short lines of
synthetic sound. Clips are cut without a measure of their loudness; the loudness of recordings, what Whisper hears,
embeddings and codes are made up, for what is measured cuts, hears and encodes no more than one clip. Then a word of a
transcript is edited, and after it the end of a line, which cuts one clip; `dvc repro dataset encode` follows each. The
same repository goes on to shards of 512 clips at most, and has two more such edits; with `--layouts shards` it begins
there, and leaves out the files. Seconds are the CPU's. 29,000 clips take some ten minutes to build: with `--keep` the
repositories stay in a folder, and the next run takes them from there with the stages and the library of that day; with
`--add` the table keeps the rows of earlier runs that are not measured again.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from ruamel.yaml import YAML

from benchmarks import table
from benchmarks.data_path import repro
from benchmarks.noop import ROOT, dvc, new_repository, write
from benchmarks.table import ResultTable, TimedRow
from timbre.mapping.packing import MOST

COPIED = (".dvcignore", "dvc.yaml", "params.yaml", "stages", "timbre", "models/tiny")
LISTED = ("data/glossary.txt", "data/prompts.tsv", "data/pronunciations.tsv")
PREPARED = ("fetch", "transcribe", "segment", "chunk", "check", "dataset", "encode")
PER_CLIP = ("data/clips", "data/codes/csm", "data/heard", "data/voices")
LAYOUTS = ("files", "shards")
LINES = 100  # of a recording
RATE = 16_000  # Hz
EVERY, SPOKEN = 1.6, 1.2  # seconds from line to line, and of sound in each
NO_LIMITS = ("pace_iqr", "snr", "silence", "language", "repeats", "doubtful_cer", "wrong_cer", "min_heard")
SPEAKER = "{name: Ann, consent: {by: nobody, when: 2026-11-01, for: tests, evidence: null, revoked: null}}"


def main() -> None:
    table.run("scale", __doc__, arguments, measure)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=int, nargs="+", default=[100, 5800, 29000])
    parser.add_argument("--layouts", choices=LAYOUTS, nargs="+", default=LAYOUTS)
    parser.add_argument("--keep", type=Path, help="folder for repositories that are built once")
    parser.add_argument("--add", action="store_true", help="to the rows of earlier runs")


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    file = options.out / "scale.json"
    rows = {row.name: row for row in (table.read(file)[1][0].rows if options.add and file.exists() else ())}
    for count in options.clips:
        for new in measured(count, sorted(options.layouts), options.keep):  # files first: shards are made of them
            rows[new.name] = new
        yield ResultTable("a word's edit, to `dataset`", list(rows.values()), unit="CPU s")


def measured(count: int, layouts: Sequence[str], keep: Path | None) -> Iterator[TimedRow]:
    place = keep and keep.resolve() / f"{count}-{layouts[0]}"
    repository = renewed(place) if place and place.exists() else build(count, layouts[0], place)
    try:
        yield row(repository, count, layouts[0], 0)
        if len(layouts) > 1:
            replace(repository / "params.yaml", "shards: off", f"shards: {MOST}")
            seconds = repro(repository, "-f", "-s", "chunk", "check", "encode")
            yield row(repository, count, "shards", 2, **{"to shards, CPU s": seconds})
    finally:
        if not place:
            shutil.rmtree(repository.parent)


def row(repository: Path, count: int, layout: str, line: int, **more: float) -> TimedRow:
    """Two edits, of this line's text and of the next one's end."""
    repro(repository)
    nothing = repro(repository)
    files = sum(len(list((repository / name).iterdir())) for name in PER_CLIP)
    transcript = repository / "data/transcripts/talk-000.tsv"
    transcript.write_text(lines_of(0), encoding="utf-8")  # as no edit of an earlier run left it
    repro(repository)
    replace(transcript, text(line), f"{text(line)} Again.")
    seconds = repro(repository)
    before = objects(repository)
    replace(transcript, *(f"\t{line_end(line + 1) - cut:.2f}\tann\t\t{text(line + 1)}" for cut in (0, 0.1)))
    times = repro(repository)
    new = {path: size for path, size in objects(repository).items() if path not in before}
    extra = {
        "files of clips": files,
        "of 1,000 clips": 1000 * files / count,
        "an edit of times, CPU s": times,
        "nothing to do, CPU s": nothing,
        "new in DVC's cache": len(new),
        "MB": sum(new.values()) / 1e6,
    }
    return TimedRow(f"{count:,} clips, {layout}", [seconds], extra={**extra, **more})


def objects(repository: Path) -> dict[Path, int]:
    """Those of DVC's cache, with their size: what is new is what `dvc push` sends."""
    return {path: path.stat().st_size for path in (repository / ".dvc/cache/files/md5").glob("??/*")}


def replace(path: Path, old: str, new: str) -> None:
    content = path.read_text(encoding="utf-8")
    assert content.count(old) == 1, f"{old!r} stands {content.count(old)} times in {path.name}"
    path.write_text(content.replace(old, new), encoding="utf-8")


def build(clips: int, layout: str, place: Path | None = None) -> Path:
    repository = new_repository()
    if place:
        place.parent.mkdir(parents=True, exist_ok=True)
        repository = Path(shutil.move(repository, place))
    copy(repository, *COPIED, *LISTED)
    params = YAML().load(repository / "params.yaml")
    params["chunk"] |= {"vad": "energy", "max_seconds": 2, "min_seconds": 0.5}
    params["dataset"] |= dict.fromkeys(NO_LIMITS)
    params["compute"]["shards"] = "off" if layout == "files" else MOST
    YAML().dump(params, repository / "params.yaml")
    write(repository / "data/speakers.yaml", f"speakers:\n  ann: {SPEAKER}\n")
    for number in range(clips // LINES):
        add_recording(repository, number)
    done = subprocess.run([sys.executable, "-m", "benchmarks.scale", "--prepare"], cwd=repository, env=environment())
    if done.returncode:
        raise SystemExit("the repository could not be prepared")
    dvc(repository, "commit", "--force", *PREPARED)
    return repository


def renewed(repository: Path) -> Path:
    """What an earlier run built, with the stages and the library of today, whose results are the same."""
    shutil.rmtree(repository / "stages")
    shutil.rmtree(repository / "timbre")
    copy(repository, ".dvcignore", "stages", "timbre")
    dvc(repository, "commit", "--force", *PREPARED)
    return repository


def copy(repository: Path, *names: str) -> None:
    for name in names:
        source, target = ROOT / name, repository / name
        target.parent.mkdir(parents=True, exist_ok=True)
        ignore = shutil.ignore_patterns("__pycache__", "dvc.yaml", "dvc.lock", "recipe")
        shutil.copytree(source, target, ignore=ignore) if source.is_dir() else shutil.copy(source, target)


def environment() -> dict[str, str]:
    """The repository's own stages and library, and this benchmark."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([".", str(ROOT)])}


def add_recording(repository: Path, number: int) -> None:
    name = f"talk-{number:03}"
    path = repository / f"data/recordings/{name}.flac"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound(number), RATE, subtype="PCM_16")
    write(repository / f"data/transcripts/{name}.tsv", lines_of(number))
    with (repository / "data/sources.yaml").open("a", encoding="utf-8") as sources:
        sources.write(
            f"- {{id: {name}, file: data/recordings/{name}.flac, speaker: ann, language: en, licence: CC0-1.0, "
            "consent: synthetic sound, draft: false}\n"
        )


def lines_of(number: int) -> str:
    """The transcript of a recording."""
    rows = [
        f"{line_end(line) - SPOKEN:.2f}\t{line_end(line):.2f}\tann\t\t{text(number * LINES + line)}"
        for line in range(LINES)
    ]
    return "\n".join(["start\tend\tspeaker\tflag\ttext", *rows]) + "\n"


def text(number: int) -> str:
    return f"Ferry {number} waits."


def line_end(line: int) -> float:
    return EVERY * line + EVERY


def sound(number: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Syllables in each line and near silence between them, in each recording others."""
    seconds, syllables, noise = voiceless()
    return 0.8 * ((seconds * np.float32(100 + number % 97)) % 1 - 0.5) * syllables + np.roll(noise, number)


@functools.cache
def voiceless() -> tuple[np.ndarray[Any, np.dtype[np.float32]], ...]:
    """What all recordings share: their seconds, how loud the voice is at each, and what is heard besides."""
    seconds = np.arange(round((EVERY * LINES + 0.4) * RATE)) / RATE
    spoken = (seconds % EVERY >= EVERY - SPOKEN) & (seconds < EVERY * LINES)
    noise = np.random.default_rng(0).random(len(seconds)) - 0.5
    parts = seconds, np.abs((seconds * 4) % 1 - 0.5) * spoken, 0.0006 * noise
    return tuple(part.astype(np.float32) for part in parts)


def prepare() -> None:
    """The stages' own work in this folder, but for what is made up; no power is cut meanwhile."""
    from stages import check, chunk, dataset, encode, fetch, segment, transcribe
    from timbre.audio import bandwidth, loudness
    from timbre.audio.loudness import RecordingLoudness
    from timbre.evaluation import speaker_similarity

    os.fsync = lambda file: None
    bandwidth.highest, loudness.measure = lambda path: RATE // 2, lambda path: RecordingLoudness(-23.0, 4.0, -3.0)
    chunk.cut, check.hear, encode.encode, speaker_similarity._embed = cut, heard, encoded, Embedded()
    data = Path("data")
    listed = {"sources": data / "sources.yaml", "raw": data / "raw"}
    tables = {"table": data / "chunks/clips.jsonl", "drops": data / "chunks/drops.jsonl"}
    people = {"sources": data / "sources.yaml", "speakers": data / "speakers.yaml"}
    clips, labels = data / "clips", data / "labels.jsonl"
    fetch.main(listed["sources"], listed["raw"])
    transcribe.main(**listed, glossary=data / "glossary.txt", out=data / "drafts", turns=data / "turns")
    segment.main(
        **listed, speakers=people["speakers"], drafts=data / "drafts", turns=data / "turns",
        transcripts=data / "transcripts", out=data / "segments", review=data / "review.json",
    )  # fmt: skip
    chunk.main(**listed, **tables, segments=data / "segments", clean=data / "clean", speech=data / "speech", out=clips)
    check.main(**listed, clips=clips, table=tables["table"], out=data / "heard", voices=data / "voices", labels=labels)
    dataset.main(**people, **tables, labels=labels, clips=clips, out=data / "dataset")
    encode.main(clips, data / "codes/csm")


def cut(cuts: Sequence[Any]) -> Iterator[dict[str, bytes]]:
    """The sound of each clip, at the loudness that it has."""
    from timbre import audio

    for job in cuts:
        (start, *_), (*_, end) = job.spans[0], job.spans[-1]
        record = json.dumps({"key": job.key, "gain": 0.0, "clipped": 0.0})
        flac = audio.flac_bytes(*audio.read(job.recording, start=start, end=end))
        yield {".flac": flac, ".json": f"{record}\n".encode()}


def heard(hearings: Sequence[Any], model: Any) -> Iterator[dict[str, bytes]]:
    for hearing in hearings:
        yield {".json": f"{json.dumps({'key': hearing.key, 'heard': 'Ferry.', 'language': 1.0})}\n".encode()}


def encoded(clips: Sequence[tuple[Path, str]], voice: Any) -> Iterator[dict[str, bytes]]:
    from timbre.families import codes

    for path, key in clips:
        made = np.frombuffer(path.stem.encode() * 32, np.uint8).reshape(16, 32).astype(np.int16)
        record = json.dumps({"key": key, "frames": len(made)})
        yield {codes.SUFFIX: codes.to_bytes({"codes": made}), ".json": f"{record}\n".encode()}


class Embedded:
    """Embeddings of the length that the encoder's have, near that of the first sound."""

    def __init__(self) -> None:
        from timbre.evaluation import speaker_similarity

        self._embed, self._first = speaker_similarity._embed, np.empty(0)

    def __call__(self, sounds: Sequence[Any], voice: Any) -> Iterator[dict[str, bytes]]:
        if not len(self._first):
            (made,) = self._embed(sounds[:1], voice)
            content = made[".json"]
            assert isinstance(content, bytes)
            self._first = np.array(json.loads(content)["embedding"])
        for sound_, _, key in sounds:
            noise = np.random.default_rng(list(sound_.entry.encode())).normal(0, 0.001, len(self._first))
            record = {"embedding": [round(float(number), 5) for number in self._first + noise], "key": key}
            yield {".json": f"{json.dumps(record)}\n".encode()}


if __name__ == "__main__":
    prepare() if sys.argv[1:] == ["--prepare"] else main()
