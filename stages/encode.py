"""Codec tokens of every clip, once: training and cloning read codes and never run the codec.

    python -m stages.encode --clips data/clips --out data/codes/csm

Reads   data/clips/<clip>.flac      the folder holds exactly the clips that `chunk` wants
Writes  data/codes/<family>/<clip>.safetensors      arrays by name: `codes` (frames, codes), and what a family adds
        data/codes/<family>/<clip>.json             {"key", "frames"}

Each family has a folder of its own, so that another `voice.family` and back again encodes nothing twice. A clip's name
is its content, so another word in a transcript encodes nothing; another base model encodes all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import soundfile

from timbre import audio, families
from timbre.core.content import content_key
from timbre.core.errors import AudioError, DataError
from timbre.core.params import read
from timbre.core.sections import ComputeParams, EncodeParams, VoiceParams
from timbre.families import codes
from timbre.mapping import batch, shards
from timbre.mapping.batch import Files
from timbre.mapping.refresh import Job, refresh
from timbre.mapping.stage import run_stage

VERSION = 2  # raise when the code gives other bytes for the same input
SUFFIXES = [codes.SUFFIX, ".json"]


def encode_all(
    clips: Path, out: Path, params: EncodeParams, voice: VoiceParams, engine: ComputeParams = batch.HERE
) -> None:
    fingerprint = families.fingerprint(voice)
    # by length, so that a batch holds little padding
    paths = sorted(shards.paths(clips, ".flac"), key=lambda path: (seconds(path), path.name))
    if not paths:
        raise DataError(f"{clips}: no clips; `dvc repro chunk` makes them from segments that are not dropped")
    keys = {path.stem: content_key(VERSION, path.stem, fingerprint) for path in paths}
    jobs = [Job(path.stem, keys[path.stem], (path, keys[path.stem])) for path in paths]
    compute = partial(encode, voice=voice)
    done = refresh(
        out, jobs, compute, suffixes=SUFFIXES, label="encode", batch=params.batch, engine=engine, gpu=True, shards=True
    )
    frames = sum(json.loads(shards.read(out / f"{name}.json"))["frames"] for name in done.names)
    print(f"encode: {frames} codec frames computed")


def seconds(path: Path) -> float:
    try:
        return float(soundfile.info(shards.opened(path)).duration)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: no audio can be read; `dvc repro chunk` makes it again") from error


def encode(clips: Sequence[tuple[Path, str]], voice: VoiceParams) -> Iterator[Files]:
    codec = families.codec_once(voice)
    sounds = audio.read_all([path for path, _ in clips], codec.hearing_rate)
    for (path, key), clip_codes in zip(clips, codec.encode(sounds), strict=True):
        if not (frames := codes.frames(clip_codes)):
            raise AudioError(f"{path}: is empty; `TIMBRE_ANEW=1 dvc repro -f chunk` cuts all clips again")
        record = json.dumps({"key": key, "frames": frames})
        yield {codes.SUFFIX: codes.to_bytes(clip_codes), ".json": f"{record}\n".encode()}


def main(
    clips: Annotated[Path, "folder of clips, data/clips"],
    out: Annotated[Path, "folder of codes, data/codes/<family>"],
) -> None:
    settings = read()
    params, voice = settings.encode, settings.voice
    encode_all(clips, out, params, voice, settings.compute)


if __name__ == "__main__":
    run_stage(main)
