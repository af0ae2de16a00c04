"""One sentence at points of the training, to hear the voice learn.

    python -m stages.listen --prompts data/prompts.tsv --samples reports/samples --dataset data/dataset \\
        --codes data/codes/csm --points models/points --out reports/points

Reads   data/prompts.tsv            its first row names the sentence
        reports/samples             how base and tuned voice say it: the first and the last point, spoken already
        data/dataset/train.jsonl, data/codes    the clip that those samples cloned from
        models/points/<step>        adapters on the way
Writes  reports/points/<step>.flac and .json (Point)    the sentence at each of these; <step>-<speaker> where the voice
                                                        learnt several

Everything but the adapter is as in the samples: the reference clip, the seed, `generate` in params.yaml. So whoever
shows the points (the report, MLflow) puts the sample `base_clone-…` before them and `Point.sample`, of the best step,
after them. As `generate`, it asks data/speakers.yaml first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

from timbre import families
from timbre.core.content import content_key
from timbre.core.errors import DataError
from timbre.core.params import read
from timbre.core.records import Point, Sample, from_json, to_json
from timbre.core.sections import GenerateParams, VoiceParams
from timbre.families import Request
from timbre.mapping.batch import Files
from timbre.mapping.refresh import Job, refresh
from timbre.mapping.stage import run_stage
from timbre.project import pronunciations
from timbre.project.permissions import Permissions
from timbre.project.prompts import read_prompts
from timbre.synthesis import reference, sentence

VERSION = 2  # raise when the code gives other bytes for the same input
CONDITION = "tuned_clone"


def spoken_samples(table: Path, samples: Path) -> list[Sample]:
    """Of each speaker, the first prompt's first take with adapter and reference."""
    first, found = read_prompts(table)[0].id, dict[str, Sample]()
    for path in sorted(samples.glob(f"{CONDITION}-*.json")):
        sample = from_json(path.read_text(encoding="utf-8"), Sample, str(path))
        if sample.prompt == first:
            found.setdefault(sample.speaker, sample)
    if not found:
        raise DataError(f"{table}: no sample of its first prompt in {samples}; `dvc repro generate` makes it")
    return list(found.values())


def speak(batch: Sequence[tuple[Point, Path, Request]], voice: VoiceParams, params: GenerateParams) -> Iterator[Files]:
    for point, adapter, request in batch:
        yield spoken_by(families.load_once(voice, adapter, params.precision, speaking=True), point, request, params)


def spoken_by(model: families.Voice, point: Point, request: Request, params: GenerateParams) -> Files:
    (spoken,) = model.speak([request], sentence.speaking(params))
    spoken_point = replace(point, seconds=len(spoken.sound) / model.sample_rate, ended=spoken.ended)
    sound = sentence.flac(spoken.sound, model.sample_rate)
    return {".flac": sound, ".json": f"{to_json(spoken_point)}\n".encode()}


def main(
    prompts: Annotated[Path, "table of sentences, data/prompts.tsv"],
    samples: Annotated[Path, "folder of samples, reports/samples"],
    dataset: Annotated[Path, "folder of train.jsonl, data/dataset"],
    codes: Annotated[Path, "folder of the clips' codes, data/codes/<family>"],
    points: Annotated[Path, "folder of adapters on the way, models/points"],
    out: Annotated[Path, "folder of what they say, reports/points"],
) -> None:
    settings = read()
    voice, params = settings.voice, settings.generate
    Permissions().check_stage(dataset)
    adapters = {folder: families.adapter_fingerprint(folder) for folder in sorted(points.iterdir())}
    jobs = []
    for sample in spoken_samples(prompts, samples):
        context = reference.of_sample(sample, dataset, codes, families.family(voice.family).cloning)
        seed = sentence.prompt_seed(sample.seed, sample.prompt)
        said = pronunciations.apply(sample.text, pronunciations.read(sample.language))
        language = sample.language if context[0].language or sample.language != "en" else None
        like = context[0]._replace(language=language)
        request = sentence.request(said, params, seed=seed, context=context, like=like)
        for folder, adapter in adapters.items():
            # the sample's key is of all that it was made from; here another adapter takes the place of its own
            key = content_key(VERSION, sample.key, adapter)
            point = Point(int(folder.name), sample.id, adapter, 0.0, False, key, sample.speaker)
            jobs.append(Job(point.name, key, (point, folder, request)))
    compute = partial(speak, voice=voice, params=params)
    engine = settings.compute
    refresh(out, jobs, compute, suffixes=[".flac", ".json"], label="listen", engine=engine, gpu=True)


if __name__ == "__main__":
    run_stage(main)
