"""Every prompt in four conditions, as each speaker: base and tuned, each with and without a reference clip to clone.

    python -m stages.generate --prompts data/prompts.tsv --dataset data/dataset --clips data/clips \\
        --codes data/codes/csm --adapter models/adapter --out reports/samples --speed reports/speed.json

Reads   data/prompts.tsv                        id, kind, text and language of sentences that are in no training clip
        data/dataset, data/clips, data/codes    to choose the reference clip and the true prompts from
        data/pronunciations.tsv                 words that are spoken as they are spelt there
        models/adapter
Writes  reports/samples/<condition>-<prompt>-<seed>.flac and .json (Sample); where the voice learnt several speakers,
        their names come after the condition
        reports/speed.json                      how fast this machine spoke what was new; no output of the pipeline

A sample is made again when its own text, seed, model or reference changes: after another training the samples of the
base stay. All conditions draw by the same seed, so that an adapter that changes nothing changes no sample. How the
reference is chosen stands in timbre/synthesis/reference.py, what a true prompt is in timbre/synthesis/true_prompts.py.

It speaks with no voice whose consent was withdrawn, as data/speakers.yaml says when it begins. That changes no sample,
so it is no dependency.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Annotated, get_args

from timbre import families
from timbre.core.content import content_key, write_atomic
from timbre.core.errors import DataError, raise_all
from timbre.core.params import read
from timbre.core.records import Condition, Example, Sample, line_of, read_jsonl, to_json
from timbre.core.sections import GenerateParams, VoiceParams
from timbre.families import Mark, Request
from timbre.mapping.batch import Files
from timbre.mapping.refresh import Job, refresh
from timbre.mapping.stage import run_stage
from timbre.project import obstacles, pronunciations
from timbre.project.permissions import Permissions
from timbre.project.prompts import Prompt, read_prompts
from timbre.synthesis import sentence
from timbre.synthesis.params import of_a_sound
from timbre.synthesis.reference import Reference, references
from timbre.synthesis.true_prompts import true_prompts

VERSION = 4  # raise when the code gives other bytes for the same input
CONDITIONS: tuple[Condition, ...] = get_args(Condition)


def no_spellings(language: str) -> Mapping[str, str]:
    return {}


def plan(
    spoken: Sequence[Prompt],
    params: GenerateParams,
    base: str,
    adapter: str,
    reference: Reference,
    marks: Sequence[Mark] = ("number",),
    spellings: Callable[[str], Mapping[str, str]] = no_spellings,
    speaker: str = "",
) -> list[tuple[Sample, Request]]:
    """All samples to be made, the base's first; seconds and end are not known yet. A word of the language's `spellings`
    is spoken as it is spelt there; the sample keeps the prompt's own words. `speaker` is whose clip it is, of several.
    """
    how = of_a_sound(params)
    usual = reference.turn.language or "en"  # of a prompt that names none
    planned = []
    for condition in CONDITIONS:
        clone_of = reference if condition.endswith("clone") else None
        used_adapter = adapter if condition.startswith("tuned") else None
        for prompt in spoken:
            for seed in params.seeds:
                cloned = [clone_of.clip, clone_of.turn.text] if clone_of else None
                row_seed = sentence.prompt_seed(seed, prompt.id)
                context = (clone_of.turn,) if clone_of else ()
                language = prompt.language or usual
                said = pronunciations.apply(prompt.text, spellings(language))
                like = reference.turn._replace(language=prompt.language or reference.turn.language)
                request = sentence.request(said, params, seed=row_seed, context=context, like=like)
                more = [*request.marked(marks), *([said] if said != prompt.text else [])]
                more += [] if language == "en" else [language]
                text = (prompt.id, prompt.kind, prompt.text, prompt.clip)
                key = content_key(VERSION, how, base, used_adapter, cloned, text, row_seed, *more)
                sample = Sample(
                    f"{condition}-{line_of(prompt.id, speaker)}-{seed}", condition, *text, seed,
                    clone_of.clip if clone_of else None, used_adapter, base, 0.0, False, key, language, speaker,
                )  # fmt: skip
                planned.append((sample, request))
    return planned


@dataclass
class Speed:
    """How long this process took for how much speech: models' loading left out, and what workers speak."""

    samples: int = 0
    speech_seconds: float = 0
    seconds: float = 0

    def write(self, path: Path) -> None:
        """Nothing where nothing was spoken: the last measurement stays."""
        if self.speech_seconds:
            factor = round(self.seconds / self.speech_seconds, 3)  # below 1 is faster than real time
            write_atomic(
                path, json.dumps({**asdict(self), "real_time_factor": factor}, indent=2, sort_keys=True) + "\n"
            )


def speak(
    batch: Sequence[tuple[Sample, Request]], voice: VoiceParams, adapter: Path, params: GenerateParams, speed: Speed
) -> Iterator[Files]:
    """Base samples and then tuned ones, as they come in the plan, so that each model is loaded once."""
    for worn in dict.fromkeys(sample.adapter for sample, _ in batch):
        rows = [row for row in batch if row[0].adapter == worn]
        yield from spoken_by(voice, adapter if worn else None, rows, params, speed)  # and then lets its model go


def spoken_by(
    voice: VoiceParams,
    adapter: Path | None,
    rows: Sequence[tuple[Sample, Request]],
    params: GenerateParams,
    speed: Speed,
) -> Iterator[Files]:
    model = families.load_once(voice, adapter, params.precision, speaking=True)
    spoken = model.speak([request for _, request in rows], sentence.speaking(params, slots=params.batch))
    for sample, _ in rows:
        began = time.perf_counter()
        sound, ended = next(spoken)
        speed.seconds += time.perf_counter() - began
        record = replace(sample, seconds=len(sound) / model.sample_rate, ended=ended)
        speed.samples, speed.speech_seconds = speed.samples + 1, speed.speech_seconds + record.seconds
        yield {".flac": sentence.flac(sound, model.sample_rate), ".json": f"{to_json(record)}\n".encode()}


def main(
    prompts: Annotated[Path, "table of sentences, data/prompts.tsv"],
    dataset: Annotated[Path, "folder of train.jsonl and eval.jsonl, data/dataset"],
    clips: Annotated[Path, "folder of clips, data/clips"],
    codes: Annotated[Path, "folder of the clips' codes, data/codes/<family>"],
    adapter: Annotated[Path, "folder of the adapter, models/adapter"],
    out: Annotated[Path, "folder of samples, reports/samples"],
    speed: Annotated[Path, "how fast it went here, reports/speed.json"],
) -> None:
    settings = read()
    params, voice = settings.generate, settings.voice
    Permissions().check_stage(dataset, adapter)
    train, held_out = (read_jsonl(dataset / f"{name}.jsonl", Example) for name in ("train", "eval"))
    family = families.family(voice.family)
    cloned, written = references(train, clips, codes, family.cloning), read_prompts(prompts)
    raise_all(DataError, obstacles.unspoken(written, family.name, family.languages))
    base, tuned = families.fingerprint(voice), families.adapter_fingerprint(adapter)
    spellings, planned = cache(pronunciations.read), []
    for reference in cloned:
        spoken = written + true_prompts(held_out, reference.speaker, written, params.true_prompts)
        speaker = reference.speaker if len(cloned) > 1 else ""
        planned += plan(spoken, params, base, tuned, reference, family.marks, spellings, speaker)
    # A model is loaded once; long sentences come first, so that none is spoken alone at the end.
    planned.sort(key=lambda row: (row[0].adapter is not None, row[0].reference is None, -len(row[0].text)))
    jobs, measured = [Job(sample.id, sample.key, (sample, request)) for sample, request in planned], Speed()
    compute = partial(speak, voice=voice, adapter=adapter, params=params, speed=measured)
    # All that is missing in one go, so that no slot is empty before the end.
    refresh(
        out, jobs, compute, suffixes=[".flac", ".json"], label="generate", batch=len(jobs), independent=True,
        engine=settings.compute, gpu=True,
    )  # fmt: skip
    measured.write(speed)
    samples = [json.loads((out / f"{job.name}.json").read_bytes()) for job in jobs]
    print(f"generate: {sum(not s['ended'] for s in samples)} of {len(samples)} samples were stopped by the cap")


if __name__ == "__main__":
    run_stage(main)
