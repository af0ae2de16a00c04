"""Stack segments to clips that end on a sentence, cut in the silence.

Reads   data/sources.yaml              which recordings there are
        data/raw/<id>.flac, .json      their sound
        data/segments/<id>.jsonl       what is said, from when to when
Writes  data/clean/<id>.json, .flac    what section `clean` did to the recording; no sound where it asks for nothing
        data/speech/<id>.npy, .json    where somebody speaks, and how loud each moment is; up to which frequency the
                                       recording holds sound, and its loudness; measured once per recording
        data/clips/<clip id>.flac      one channel, 16 bits, the recording's own rate; named by content, never by text
        data/clips/<clip id>.json      by how much it was made louder, and how much of it the recording had cut off
        data/chunks/clips.jsonl        Clip rows
        data/chunks/drops.jsonl        Drop rows: each segment is in exactly one clip or here, with the reason; and
                                       where somebody speaks without a line

    python -m stages.chunk --sources data/sources.yaml --raw data/raw --segments data/segments --clean data/clean \\
        --speech data/speech --out data/clips --table data/chunks/clips.jsonl --drops data/chunks/drops.jsonl

A recording is cleaned and measured once; `plan` in timbre/audio/clips.py then says which of its seconds make a clip,
and timbre/audio/cutting.py cuts the new ones. A plan is kept until the recording's lines or sound change.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

from timbre.audio import bandwidth, cleaning, kept_plans, loudness, speech_activity
from timbre.audio.clips import plan
from timbre.audio.cutting import Cut, cut
from timbre.audio.kept_plans import Plan, forget_others, kept_plan, plan_key
from timbre.core.errors import DataError
from timbre.core.params import read
from timbre.core.records import Clip, Drop, Recording, Segment, read_jsonl, write_jsonl
from timbre.core.sections import ChunkParams, CleanParams, ComputeParams
from timbre.mapping import shards
from timbre.mapping.batch import Files
from timbre.mapping.kept_values import kept_value
from timbre.mapping.refresh import Job, refresh
from timbre.mapping.stage import run_stage
from timbre.mapping.store import ANEW
from timbre.project.sources import fetched

SCRATCH = Path(".timbre/clean")  # unfinished recordings, by key; safe to delete


class Sound(NamedTuple):
    """What is measured and cut of a recording."""

    path: Path
    sha256: str  # of its samples, or the key of what was made of them


def clean_each(recordings: Sequence[tuple[Sound, str]], params: CleanParams) -> Iterator[Files]:
    for sound, key in recordings:
        record: dict[str, str | float | None] = {"key": key, "audio_sha256": sound.sha256}
        files: Files = {}
        if not cleaning.asks_nothing(params):
            SCRATCH.mkdir(parents=True, exist_ok=True)
            files = {".flac": SCRATCH / f"{key}.flac"}
            record |= cleaning.make(sound.path, SCRATCH / f"{key}.flac", params)
        yield files | {".json": f"{json.dumps(record)}\n".encode()}


def measure(recordings: Sequence[tuple[Path, str]], vad: speech_activity.Vad) -> Iterator[Files]:
    for path, key in recordings:
        record = {"key": key, "bandwidth": bandwidth.highest(path), "loudness": loudness.measure(path)}
        yield {".npy": speech_activity.measure(path, vad), ".json": f"{json.dumps(record)}\n".encode()}


def check_distinct(recordings: Sequence[Recording]) -> None:
    """The same sound twice would be learnt twice, and tested on what was learnt."""
    seen: dict[str, str] = {}
    for recording in recordings:
        if other := seen.get(recording.sha256):
            raise DataError(f"{recording.id}: is the same sound as {other}; remove one from data/sources.yaml")
        seen[recording.sha256] = recording.id


def clean_all(
    recordings: Sequence[Recording], raw: Path, out: Path, params: CleanParams, engine: ComputeParams
) -> dict[str, Sound]:
    """By recording, what is used of it: itself, or what `clean` makes of it."""
    sounds = {r.id: Sound(raw / f"{r.id}.flac", r.sha256) for r in recordings}
    off = cleaning.asks_nothing(params)
    jobs = [
        Job(name, key, (sound, key)) for name, sound in sounds.items() for key in [cleaning.key(sound.sha256, params)]
    ]
    suffixes = [".json"] if off else [".flac", ".json"]
    refresh(out, jobs, partial(clean_each, params=params), suffixes=suffixes, label="clean", engine=engine)
    return sounds if off else {job.name: Sound(out / f"{job.name}.flac", job.key) for job in jobs}


def measure_all(
    sounds: Mapping[str, Sound], out: Path, params: ChunkParams, engine: ComputeParams
) -> Mapping[str, str]:
    """The key of each measure."""
    keys = {name: speech_activity.key(sound.sha256, params.vad) for name, sound in sounds.items()}
    jobs = [Job(name, keys[name], (sound.path, keys[name])) for name, sound in sounds.items()]
    compute = partial(measure, vad=params.vad)
    refresh(out, jobs, compute, suffixes=[".npy", ".json"], label="speech", engine=engine)
    return keys


def planned_from(recording: Recording, segments: Path, speech: Path, params: ChunkParams) -> Plan:
    return plan(recording, read_jsonl(segments, Segment), speech_activity.open(speech), params)


def cut_all(
    clips: Sequence[Clip], sounds: Mapping[str, Sound], out: Path, params: ChunkParams, engine: ComputeParams
) -> Iterator[Clip]:
    """The clips with what was found and done when they were cut."""
    jobs = [
        Job(clip.id, clip.id, Cut(sounds[clip.recording].path, clip.spans, params.loudness, clip.id)) for clip in clips
    ]
    refresh(out, jobs, cut, suffixes=[".flac", ".json"], label="chunk", engine=engine, shards=True)
    found = kept_value("cut", shards.state(out), partial(found_when_cut, clips, out))
    for clip in clips:
        gain, clipped = found[clip.id]
        yield replace(clip, gain=gain, clipped=clipped)


def found_when_cut(clips: Sequence[Clip], out: Path) -> dict[str, list[float]]:
    """By clip, how much louder it was made, and how much of it the recording had cut off."""
    records = map(json.loads, shards.read_all(out / f"{clip.id}.json" for clip in clips))
    return {clip.id: [record["gain"], record["clipped"]] for clip, record in zip(clips, records, strict=True)}


def tell(recording: Recording, dropped: Sequence[Drop]) -> None:
    spans = [drop for drop in dropped if drop.reason.startswith("unwritten")]
    if spans:
        seconds = sum(drop.end - drop.start for drop in spans)
        print(f"chunk: {recording.id}: {seconds:.0f} s of speech in no line, the first at {spans[0].start:.2f} s")


def main(
    sources: Annotated[Path, "the list of recordings"],
    raw: Annotated[Path, "folder of fetched recordings"],
    segments: Annotated[Path, "folder of segments"],
    clean: Annotated[Path, "folder for cleaned recordings"],
    speech: Annotated[Path, "folder for where somebody speaks"],
    out: Annotated[Path, "folder for the clips"],
    table: Annotated[Path, "file for the table of clips"],
    drops: Annotated[Path, "file for the segments that are in no clip"],
) -> None:
    settings = read()
    params, engine = settings.chunk, settings.compute
    recordings = fetched(sources, raw)
    check_distinct(recordings)
    sounds = clean_all(recordings, raw, clean, settings.clean, engine)
    measured = measure_all(sounds, speech, params, engine)
    place, code = None if os.environ.get(ANEW) else kept_plans.PLACE, kept_plans.code_key()
    clips: list[Clip] = []
    dropped: list[Drop] = []
    for recording in recordings:
        lines = segments / f"{recording.id}.jsonl"
        cleaned = replace(recording, sha256=sounds[recording.id].sha256)
        key = plan_key(code, cleaned, lines, measured[recording.id], params)
        make = partial(planned_from, cleaned, lines, speech / f"{recording.id}.npy", params)
        planned, left_out = kept_plan(place, recording.id, key, make)
        clips += planned
        dropped += left_out
        tell(recording, left_out)
        bandwidth.tell(speech / f"{recording.id}.json")
    if place:
        forget_others(place, sounds.keys())
    write_jsonl(drops, dropped)
    write_jsonl(table, cut_all(clips, sounds, out, params, engine))


if __name__ == "__main__":
    run_stage(main)
