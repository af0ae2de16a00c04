"""Every prompt in four conditions: base and tuned, each with and without a reference clip to clone from.

    python -m stages.generate --prompts data/prompts.tsv --dataset data/dataset --clips data/clips --codes data/codes \\
        --adapter models/adapter --out reports/samples --speed reports/speed.json

Reads   data/prompts.tsv                        id, kind and text of sentences that are in no training clip
        data/dataset, data/clips, data/codes    to choose the reference clip and the true prompts from
        models/adapter
Writes  reports/samples/<condition>-<prompt>-<seed>.flac and .json (Sample)
        reports/speed.json                      how fast this machine spoke what was new; no output of the pipeline

A sample is made anew when its own text, seed, model or reference changes: after another training the samples of the
base stay. All conditions draw by the same seed, so that an adapter that changes nothing changes no sample.

The reference is the first of the training clips of 5 to 10 s that is not clipped, in the order of their ids' hashes, so
that other clips can come and go; where no clip is that long or short, the clips next to it stand in. True prompts are
sentences that the same speaker says in clips for evaluation, the first in that order: one can hear how they are meant.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, cast, get_args

import numpy as np

from timbre import audio, families
from timbre.audio import delivery
from timbre.core.content import content_key, write_atomic
from timbre.core.errors import DataError, raise_all
from timbre.core.params import read
from timbre.core.records import Condition, Example, Kind, Sample, check_id, read_jsonl, to_json
from timbre.core.running import run_stage
from timbre.core.text import words
from timbre.families import Request, Speaking, Turn
from timbre.mapping import Job, batch, refresh
from timbre.mapping.batch import Files

VERSION = 3  # raise when the code gives other bytes for the same input
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
COLUMNS = ("id", "kind", "text")  # of the table of prompts
TRUE = "true-"  # begins the id of a true prompt; its clip's id follows
REFERENCE_SECONDS = (5.0, 10.0)  # enough to tell a voice by, and room left to speak in
KINDS = ("domain", "hard")  # of prompts in the file; `true` ones are chosen from the evaluation clips
SILENCE = 0.1  # seconds in the file of a sample that says nothing, so that every player opens it


@dataclass(frozen=True)
class Params:
    seeds: list[int]
    true_prompts: int
    temperature: float
    top_k: int
    cap_seconds: float
    cap_seconds_per_character: float
    batch: int  # samples
    precision: Literal["auto", "fp32", "bf16", "int8"]

    def __post_init__(self) -> None:
        none_below = {"true_prompts": 0, "temperature": 0, "top_k": 0, "cap_seconds_per_character": 0, "batch": 1}
        wrong = [
            f"{name}: {getattr(self, name)} is not {least} or more"
            for name, least in none_below.items()
            if getattr(self, name) < least
        ]
        if not self.cap_seconds > 0:
            wrong.append(f"cap_seconds: {self.cap_seconds} is not above 0")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            wrong.append(f"seeds: {self.seeds} is not a list of different numbers, 0 or more")
        if wrong:
            raise ValueError("\n".join(wrong))


class Reference(NamedTuple):
    clip: str  # its id
    speaker: str
    turn: Turn


class Prompt(NamedTuple):
    id: str
    kind: Kind
    text: str
    clip: str | None = None  # in which the speaker says it


def read_prompts(path: Path) -> list[Prompt]:
    """All mistakes at once."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    found: dict[str, Prompt] = {}
    wrong = [] if lines[:1] == ["\t".join(COLUMNS)] else [f"{path}:1: expected the header `{'<tab>'.join(COLUMNS)}`"]
    for number, line in enumerate(lines[1:], 2):
        wrong += [f"{path}:{number}: {problem}" for problem in mistakes(line, found)]
        identifier, kind, text = (*line.split("\t"), "", "")[:3]
        found[identifier] = Prompt(identifier, cast(Kind, kind), text.strip())
    if not found:
        wrong.append(f"{path}: holds no prompt")
    raise_all(DataError, wrong)
    return list(found.values())


def mistakes(line: str, known: Container[str]) -> Iterator[str]:
    cells = line.split("\t")
    if len(cells) != len(COLUMNS) or not cells[-1].strip():
        yield "expected an id, a kind and a text, with one tab between"
    elif cells[1] not in KINDS:
        yield f"{cells[1]!r} is no kind of prompt; write {' or '.join(KINDS)}"
    try:
        check_id(cells[0])
    except DataError as error:
        yield str(error)
    if cells[0] in known:
        yield f"the id {cells[0]} is there twice"
    if cells[0].startswith(TRUE):
        yield f"the id {cells[0]} begins as those of true prompts do; choose another"


def true_prompts(rows: Sequence[Example], speaker: str, known: Sequence[Prompt], count: int) -> list[Prompt]:
    """Sentences of clips for evaluation, each once, and none that is a prompt already."""
    said = {tuple(words(prompt.text)) for prompt in known}
    chosen: list[Prompt] = []
    for row in sorted((row for row in rows if row.source == speaker), key=order):
        if len(chosen) < count and tuple(words(row.text)) not in said:
            said.add(tuple(words(row.text)))
            chosen.append(Prompt(f"{TRUE}{row.id}", "true", row.text, row.id))
    return chosen


def order(example: Example) -> str:
    """As good as random, and the same whatever other clips there are."""
    return hashlib.sha256(example.id.encode()).hexdigest()


def choose_reference(examples: Sequence[Example], clips: Path, codes: Path) -> Reference:
    """The clip that is cloned from; see the module's docstring for the rule."""
    low, high = REFERENCE_SECONDS

    def rank(example: Example) -> tuple[float, str]:
        outside = max(low - example.seconds, 0.0, example.seconds - high)
        return round(outside, 2), order(example)

    ranked = sorted(examples, key=rank)
    if not ranked:
        raise DataError("data/dataset/train.jsonl: no clips to clone from; add recordings")
    clean = (e for e in ranked if not delivery.is_clipped(audio.read(clips / f"{e.id}.flac")[0]))
    chosen = next(clean, ranked[0])  # where all are clipped, so is the voice
    try:
        return Reference(chosen.id, chosen.source, Turn(chosen.text, np.load(codes / f"{chosen.id}.npy")))
    except OSError as error:
        raise DataError(f"{chosen.id}: no codes of this clip in {codes}; `dvc repro encode` makes them") from error


def plan(
    spoken: Sequence[Prompt], params: Params, base: str, adapter: str, reference: Reference
) -> list[tuple[Sample, Request]]:
    """All samples to be made, the base's first; seconds and end are not known yet."""
    how = {name: value for name, value in asdict(params).items() if name not in ("seeds", "true_prompts", "batch")}
    planned = []
    for condition in CONDITIONS:
        heard = reference if condition.endswith("clone") else None
        worn = adapter if condition.startswith("tuned") else None
        for prompt in spoken:
            for seed in params.seeds:
                cloned = [heard.clip, heard.turn.text] if heard else None
                row_seed = int(content_key(seed, prompt.id), 16) % 2**63
                key = content_key(VERSION, how, base, worn, cloned, prompt, row_seed)
                sample = Sample(
                    f"{condition}-{prompt.id}-{seed}", condition, *prompt, seed,
                    heard.clip if heard else None, worn, base, 0.0, False, key,
                )  # fmt: skip
                seconds = params.cap_seconds + params.cap_seconds_per_character * len(prompt.text)
                planned.append((sample, Request(prompt.text, (heard.turn,) if heard else (), row_seed, seconds)))
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
    batch: Sequence[tuple[Sample, Request]], voice: families.Params, adapter: Path, params: Params, speed: Speed
) -> Iterator[Files]:
    """Base samples and then tuned ones, as they come in the plan, so that each model is loaded once."""
    how = Speaking(params.temperature, params.top_k, params.batch)
    for worn in dict.fromkeys(sample.adapter for sample, _ in batch):
        rows = [row for row in batch if row[0].adapter == worn]
        model = families.load_once(voice, adapter if worn else None, params.precision)
        spoken = model.speak([request for _, request in rows], how)
        for sample, _ in rows:
            began = time.perf_counter()
            codes, ended = next(spoken)
            sound = model.decode(codes)
            speed.seconds += time.perf_counter() - began
            record = replace(sample, seconds=len(sound) / model.sample_rate, ended=ended)
            speed.samples, speed.speech_seconds = speed.samples + 1, speed.speech_seconds + record.seconds
            audible = sound if len(sound) else np.zeros(int(SILENCE * model.sample_rate), np.float32)
            yield {
                ".flac": audio.flac_bytes(np.clip(audible, -1, 1), model.sample_rate),
                ".json": f"{to_json(record)}\n".encode(),
            }


def main(
    prompts: Annotated[Path, "table of sentences, data/prompts.tsv"],
    dataset: Annotated[Path, "folder of train.jsonl and eval.jsonl, data/dataset"],
    clips: Annotated[Path, "folder of clips, data/clips"],
    codes: Annotated[Path, "folder of the clips' codes, data/codes"],
    adapter: Annotated[Path, "folder of the adapter, models/adapter"],
    out: Annotated[Path, "folder of samples, reports/samples"],
    speed: Annotated[Path, "how fast it went here, reports/speed.json"],
) -> None:
    params, voice = read("generate", Params), read("voice", families.Params)
    train, held_out = (read_jsonl(dataset / f"{name}.jsonl", Example) for name in ("train", "eval"))
    reference = choose_reference(train, clips, codes)
    written = read_prompts(prompts)
    spoken = written + true_prompts(held_out, reference.speaker, written, params.true_prompts)
    base, tuned = families.fingerprint(voice), families.adapter_fingerprint(adapter)
    planned = plan(spoken, params, base, tuned, reference)
    jobs, measured = [Job(sample.id, sample.key, (sample, request)) for sample, request in planned], Speed()
    compute = partial(speak, voice=voice, adapter=adapter, params=params, speed=measured)
    # All that is missing in one go, so that no slot is empty before the end.
    refresh(
        out, jobs, compute, suffixes=[".flac", ".json"], label="generate", batch=len(jobs), independent=True,
        engine=read("compute", batch.Params), gpu=True,
    )  # fmt: skip
    measured.write(speed)
    samples = [json.loads((out / f"{job.name}.json").read_bytes()) for job in jobs]
    print(f"generate: {sum(not s['ended'] for s in samples)} of {len(samples)} samples were stopped by the cap")


if __name__ == "__main__":
    run_stage(main)
