"""One sentence at points of the training, to hear the voice learn.

    python -m stages.listen --prompts data/prompts.tsv --samples reports/samples --dataset data/dataset \\
        --codes data/codes --points models/points --out reports/points

Reads   data/prompts.tsv            its first row names the sentence
        reports/samples             how base and tuned voice say it: the first and the last point, spoken already
        data/dataset/train.jsonl, data/codes    the clip that those samples cloned from
        models/points/<step>        adapters on the way
Writes  reports/points/<step>.flac and .json (Point)    the sentence at each of these, in the order of the names

Everything but the adapter is as in the samples: the reference clip, the seed, `generate` in params.yaml. So whoever
shows the points (the report, MLflow) puts the sample `base_clone-…` before them and `Point.sample`, of the best step,
after them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from timbre import audio, families
from timbre.core.content import content_key
from timbre.core.errors import DataError
from timbre.core.params import read, schemas
from timbre.core.records import Point, Sample, from_json, to_json
from timbre.core.running import run_stage
from timbre.families import Request, Speaking
from timbre.mapping import Job, batch, refresh
from timbre.mapping.batch import Files
from timbre.synthesis import reference

VERSION = 2  # raise when the code gives other bytes for the same input
CONDITION = "tuned_clone"
SILENCE = 0.1  # seconds in the file of a point that says nothing, so that every player opens it


def spoken_sample(prompts: Path, samples: Path) -> Sample:
    """The first prompt's first take with adapter and reference."""
    lines = prompts.read_text(encoding="utf-8").splitlines()
    prompt = lines[1].partition("\t")[0] if len(lines) > 1 else ""
    for path in sorted(samples.glob(f"{CONDITION}-*.json")):
        sample = from_json(path.read_text(encoding="utf-8"), Sample, str(path))
        if sample.prompt == prompt:
            return sample
    raise DataError(f"{prompts}: no sample of its first prompt in {samples}; `dvc repro generate` makes it")


def speak(
    batch: Sequence[tuple[Point, Path, Request]], voice: families.Params, how: Speaking, precision: Any
) -> Iterator[Files]:
    for point, adapter, request in batch:
        model = families.load_once(voice, adapter, precision)
        (spoken,) = model.speak([request], how)
        sound = model.decode(spoken.codes)
        made = Point(point.step, point.sample, point.adapter, len(sound) / model.sample_rate, spoken.ended, point.key)
        if not len(sound):
            sound = np.zeros(math.ceil(SILENCE * model.sample_rate), np.float32)
        flac = audio.flac_bytes(np.clip(sound, -1, 1), model.sample_rate)
        yield {".flac": flac, ".json": f"{to_json(made)}\n".encode()}


def main(
    prompts: Annotated[Path, "table of sentences, data/prompts.tsv"],
    samples: Annotated[Path, "folder of samples, reports/samples"],
    dataset: Annotated[Path, "folder of train.jsonl, data/dataset"],
    codes: Annotated[Path, "folder of the clips' codes, data/codes"],
    points: Annotated[Path, "folder of adapters on the way, models/points"],
    out: Annotated[Path, "folder of what they say, reports/points"],
) -> None:
    voice = read("voice", families.Params)
    how: Any = read("generate", schemas()["generate"])
    sample = spoken_sample(prompts, samples)
    context = reference.reference(sample, dataset, codes)
    seconds = how.cap_seconds + how.cap_seconds_per_character * len(sample.text)
    request = Request(sample.text, context, int(content_key(sample.seed, sample.prompt), 16) % 2**63, seconds)
    jobs = []
    for folder in sorted(points.iterdir()):
        adapter = families.adapter_fingerprint(folder)
        # the sample's key is of all that it was made from; here another adapter takes the place of its own
        key = content_key(VERSION, sample.key, adapter)
        point = Point(int(folder.name), sample.id, adapter, 0.0, False, key)
        jobs.append(Job(folder.name, key, (point, folder, request)))
    compute = partial(speak, voice=voice, how=Speaking(how.temperature, how.top_k, slots=1), precision=how.precision)
    engine = read("compute", batch.Params)
    refresh(out, jobs, compute, suffixes=[".flac", ".json"], label="listen", engine=engine, gpu=True)


if __name__ == "__main__":
    run_stage(main)
