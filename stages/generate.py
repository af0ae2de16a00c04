"""Every prompt in four conditions: base and tuned, each with and without a reference clip to clone from.

    python -m stages.generate --prompts data/prompts.tsv --dataset data/dataset --clips data/clips --codes data/codes \\
        --adapter models/adapter --out reports/samples

Reads   data/prompts.tsv                        id and text of sentences that are in no training clip
        data/dataset/train.jsonl, data/clips, data/codes    to choose the reference clip from
        models/adapter
Writes  reports/samples/<condition>-<prompt>-<seed>.flac and .json (Sample)

A sample is made anew when its own text, seed, model or reference changes: after another training the samples of the
base stay. The reference is the first of the training clips of 5 to 10 s that is not clipped, in the order of their ids'
hashes, so that other clips can come and go; where no clip is that long or short, the clips next to it stand in.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, cast

import numpy as np

from timbre import audio, families
from timbre.errors import DataError, raise_all, run
from timbre.families import Request, Turn
from timbre.mapping import Files, Job, content_key, refresh
from timbre.params import read
from timbre.records import Example, Sample, check_id, read_jsonl, to_json

VERSION = 1  # raise when the code gives other bytes for the same input
CONDITIONS = ("base", "base_clone", "tuned", "tuned_clone")
REFERENCE_SECONDS = (5.0, 10.0)  # enough to tell a voice by, and room left to speak in
CLIPPED = 0.999  # of full scale: a microphone or editor that ran out of room
SILENCE = 0.1  # seconds in the file of a sample that says nothing, so that every player opens it


@dataclass(frozen=True)
class Params:
    seeds: list[int]
    temperature: float
    top_k: int
    cap_seconds: float
    cap_seconds_per_character: float
    batch: int  # samples
    precision: Literal["auto", "fp32", "bf16"]

    def __post_init__(self) -> None:
        wrong = [
            f"{name}: {getattr(self, name)} is not {least} or more"
            for name, least in {"temperature": 0, "top_k": 0, "cap_seconds_per_character": 0, "batch": 1}.items()
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
    turn: Turn


def prompts(path: Path) -> dict[str, str]:
    """id → text; all mistakes at once."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    found: dict[str, str] = {}
    wrong = [] if lines[:1] == ["id\ttext"] else [f"{path}:1: expected the header `id<tab>text`"]
    for number, line in enumerate(lines[1:], 2):
        identifier, tab, text = line.partition("\t")
        try:
            check_id(identifier)
        except DataError as error:
            wrong.append(f"{path}:{number}: {error}")
        if not tab or "\t" in text or not text.strip():
            wrong.append(f"{path}:{number}: expected an id, one tab and a text")
        if identifier in found:
            wrong.append(f"{path}:{number}: the id {identifier} is there twice")
        found[identifier] = text.strip()
    if not found:
        wrong.append(f"{path}: holds no prompt")
    raise_all(DataError, wrong)
    return found


def choose_reference(examples: Sequence[Example], clips: Path, codes: Path) -> Reference:
    """The clip that is cloned from; see the module's docstring for the rule."""
    low, high = REFERENCE_SECONDS

    def rank(example: Example) -> tuple[float, str]:
        outside = max(low - example.seconds, 0.0, example.seconds - high)
        return round(outside, 2), hashlib.sha256(example.id.encode()).hexdigest()

    ranked = sorted(examples, key=rank)
    if not ranked:
        raise DataError("data/dataset/train.jsonl: no clips to clone from; add recordings")
    clean = (e for e in ranked if audio.peak(audio.read(clips / f"{e.id}.flac")[0]) < CLIPPED)
    chosen = next(clean, ranked[0])  # where all are clipped, so is the voice
    try:
        return Reference(chosen.id, Turn(chosen.text, np.load(codes / f"{chosen.id}.npy")))
    except OSError as error:
        raise DataError(f"{chosen.id}: no codes of this clip in {codes}; `dvc repro encode` makes them") from error


def plan(
    texts: dict[str, str], params: Params, base: str, adapter: str, reference: Reference
) -> list[tuple[Sample, Request]]:
    """All samples to be made, the base's first; seconds and end are not known yet."""
    how = {name: value for name, value in asdict(params).items() if name not in ("seeds", "batch")}
    planned = []
    for condition in CONDITIONS:
        heard = reference if condition.endswith("clone") else None
        worn = adapter if condition.startswith("tuned") else None
        for prompt, text in texts.items():
            for seed in params.seeds:
                cloned = [heard.clip, heard.turn.text] if heard else None
                row_seed = int(content_key(seed, prompt, condition), 16) % 2**63
                key = content_key(VERSION, how, base, worn, cloned, text, row_seed)
                sample = Sample(
                    f"{condition}-{prompt}-{seed}", cast("Literal['base']", condition), prompt, text, seed,
                    heard.clip if heard else None, worn, base, 0.0, False, key,
                )  # fmt: skip
                seconds = params.cap_seconds + params.cap_seconds_per_character * len(text)
                planned.append((sample, Request(text, (heard.turn,) if heard else (), row_seed, seconds)))
    return planned


def speak(
    batch: Sequence[tuple[Sample, Request]], voice: families.Params, adapter: Path, params: Params
) -> Iterator[Files]:
    """A batch holds base and tuned samples at most once: the base's come first in the plan."""
    for worn in dict.fromkeys(sample.adapter for sample, _ in batch):
        rows = [row for row in batch if row[0].adapter == worn]
        model = families.load_once(voice, adapter if worn else None, params.precision)
        spoken = model.speak([request for _, request in rows], params.temperature, params.top_k)
        for (sample, _), (codes, ended) in zip(rows, spoken, strict=True):
            sound = model.decode(codes)
            record = asdict(sample) | {"seconds": len(sound) / model.sample_rate, "ended": ended}
            if not len(sound):
                sound = np.zeros(int(SILENCE * model.sample_rate), np.float32)
            yield {
                ".flac": audio.flac_bytes(np.clip(sound, -1, 1), model.sample_rate),
                ".json": f"{to_json(Sample(**record))}\n".encode(),
            }


def main() -> None:
    parser = argparse.ArgumentParser(description="Every prompt in four conditions.")
    parser.add_argument("--prompts", type=Path, required=True, help="table of sentences, data/prompts.tsv")
    parser.add_argument("--dataset", type=Path, required=True, help="folder of train.jsonl, data/dataset")
    parser.add_argument("--clips", type=Path, required=True, help="folder of clips, data/clips")
    parser.add_argument("--codes", type=Path, required=True, help="folder of the clips' codes, data/codes")
    parser.add_argument("--adapter", type=Path, required=True, help="folder of the adapter, models/adapter")
    parser.add_argument("--out", type=Path, required=True, help="folder of samples, reports/samples")
    args = parser.parse_args()
    params, voice = read("generate", Params), read("voice", families.Params)
    reference = choose_reference(read_jsonl(args.dataset / "train.jsonl", Example), args.clips, args.codes)
    base, adapter = families.fingerprint(voice), families.adapter_fingerprint(args.adapter)
    planned = plan(prompts(args.prompts), params, base, adapter, reference)
    jobs = [Job(sample.id, sample.key, (sample, request)) for sample, request in planned]
    compute = partial(speak, voice=voice, adapter=args.adapter, params=params)
    refresh(args.out, jobs, compute, suffixes=[".flac", ".json"], label="generate", batch=params.batch)
    samples = [json.loads((args.out / f"{job.name}.json").read_bytes()) for job in jobs]
    print(f"generate: {sum(not s['ended'] for s in samples)} of {len(samples)} samples were stopped by the cap")


if __name__ == "__main__":
    run(main)
