"""Whisper hears every sample; word and character error rate, per sample and per condition.

Reads   reports/samples/<id>.json and .flac   what `generate` made: four conditions over the same prompts and seeds
Writes  reports/heard/<id>.json               what Whisper heard; keyed by the audio, so only new samples are heard
        reports/scores.csv                    a row per sample
        reports/wer.csv                       a row per condition, for `dvc plots`
        reports/metrics.json                  an object per condition, for `dvc metrics`

    python -m stages.evaluate --samples reports/samples --out reports/heard \\
        --scores reports/scores.csv --wer reports/wer.csv --metrics reports/metrics.json

A condition's rate is the errors of all its samples over the words (characters) of all its prompts, not the mean of the
samples' rates: a one-word prompt weighs one word. Both texts pass Whisper's English normaliser first, so that "5" and
"five" are the same word. A sample without sound has no words: it is not shown to Whisper, which invents some.
"""

from __future__ import annotations

import argparse
import csv
import functools
import io
import json
import typing
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import jiwer

from timbre import audio, whisper
from timbre.errors import DataError, raise_all, run
from timbre.mapping import Files, Job, content_key, file_sha256, refresh, write_atomic
from timbre.params import read
from timbre.records import Sample, from_json

VERSION = 1  # raise when the code gives other bytes for the same input
CONDITIONS: tuple[str, ...] = typing.get_args(typing.get_type_hints(Sample)["condition"])


@dataclass(frozen=True)
class Score:
    """A row of reports/scores.csv."""

    sample: str
    condition: str
    prompt: str
    seed: int
    wer: float  # errors / words
    cer: float  # wrong characters / characters
    errors: int  # words substituted, left out or added
    words: int  # of the prompt, after the normaliser
    seconds: float
    ended: bool  # by itself, not by the cap on its length
    silent: bool
    text: str
    heard: str  # as Whisper wrote it
    diff: str  # both texts after the normaliser, word by word, in the notation of wdiff: said [-left out-] {+added+}


@dataclass(frozen=True)
class Metric:
    """A condition's object in reports/metrics.json."""

    wer: float
    cer: float
    errors: int
    words: int
    samples: int
    seconds: float
    ended: float  # share of the samples that ended by themselves
    silent: int  # samples without sound


def read_samples(folder: Path) -> list[Sample]:
    """Every sample, in the order of conditions, prompts, seeds; refused unless each condition speaks the same."""
    samples = [from_json(path.read_text(encoding="utf-8"), Sample, str(path)) for path in folder.glob("*.json")]
    samples.sort(key=lambda s: (CONDITIONS.index(s.condition), s.prompt, s.seed))
    spoken = {name: {(s.prompt, s.seed) for s in samples if s.condition == name} for name in CONDITIONS}
    everything = set().union(*spoken.values())
    problems = [
        f"{folder}/{name}-{prompt}-{seed}.json: missing, while other conditions speak this prompt; run `dvc repro`"
        for name in CONDITIONS
        for prompt, seed in sorted(everything - spoken[name])
    ]
    problems += [
        f"{folder / s.id}.flac: missing; run `dvc repro`" for s in samples if not (folder / f"{s.id}.flac").exists()
    ]
    raise_all(DataError, problems or ([] if samples else [f"{folder}: no samples; run `dvc repro`"]))
    return samples


def hear(options: whisper.Params, paths: Sequence[Path]) -> Iterator[Files]:
    for path in paths:
        samples, _ = audio.read(path, whisper.SAMPLE_RATE)
        silent = audio.is_silent(samples)
        heard = "" if silent else whisper.transcribe(whisper.load(options), samples).text
        yield {".json": to_json({"key": _key(options, path), "heard": heard, "silent": silent}).encode()}


def _key(options: whisper.Params, path: Path) -> str:
    return content_key(VERSION, file_sha256(path), whisper.fingerprint(options))


def score(sample: Sample, heard: str, silent: bool) -> Score:
    said, understood = whisper.normalise(sample.text), whisper.normalise(heard)
    if not any(character.isalnum() for character in said):
        raise DataError(f"prompt {sample.prompt}: {sample.text!r} has no words to be heard; mend data/prompts.tsv")
    words, characters = jiwer.process_words(said, understood), jiwer.process_characters(said, understood)
    return Score(
        sample=sample.id,
        condition=sample.condition,
        prompt=sample.prompt,
        seed=sample.seed,
        wer=round(words.wer, 4),
        cer=round(characters.cer, 4),
        errors=words.substitutions + words.deletions + words.insertions,
        words=len(said.split()),
        seconds=round(sample.seconds, 3),
        ended=sample.ended,
        silent=silent,
        text=sample.text,
        heard=heard,
        diff=wdiff(words),
    )


def wdiff(words: jiwer.WordOutput) -> str:
    parts = []
    for chunk in words.alignments[0]:
        said = " ".join(words.references[0][chunk.ref_start_idx : chunk.ref_end_idx])
        heard = " ".join(words.hypotheses[0][chunk.hyp_start_idx : chunk.hyp_end_idx])
        if chunk.type == "equal":
            parts.append(said)
            continue
        parts += [f"[-{said}-]"] * bool(said) + [f"{{+{heard}+}}"] * bool(heard)
    return " ".join(parts)


def summarise(scores: Sequence[Score]) -> Metric:
    words = sum(s.words for s in scores)
    texts = [whisper.normalise(s.text) for s in scores]
    characters = jiwer.process_characters(texts, [whisper.normalise(s.heard) for s in scores])
    errors = sum(s.errors for s in scores)
    return Metric(
        wer=round(errors / words, 4),
        cer=round(characters.cer, 4),
        errors=errors,
        words=words,
        samples=len(scores),
        seconds=round(sum(s.seconds for s in scores), 2),
        ended=round(sum(s.ended for s in scores) / len(scores), 4),
        silent=sum(s.silent for s in scores),
    )


def write_tables(scores: Sequence[Score], table: Path, wer: Path, metrics: Path) -> None:
    summary = {name: summarise([s for s in scores if s.condition == name]) for name in CONDITIONS}
    rates = [{"condition": name, "wer": m.wer, "cer": m.cer} for name, m in summary.items()]
    write_atomic(table, to_csv([asdict(s) for s in scores], [f.name for f in fields(Score)]))
    write_atomic(wer, to_csv(rates, ["condition", "wer", "cer"]))
    write_atomic(metrics, to_json({name: asdict(m) for name, m in summary.items()}))


def to_csv(rows: Sequence[dict[str, object]], columns: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_json(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=Path, required=True, help="folder of generated samples")
    parser.add_argument("--out", type=Path, required=True, help="folder for what Whisper heard")
    parser.add_argument("--scores", type=Path, required=True, help="table with a row per sample")
    parser.add_argument("--wer", type=Path, required=True, help="table with a row per condition")
    parser.add_argument("--metrics", type=Path, required=True, help="the conditions' rates, for dvc metrics")
    args = parser.parse_args()
    options = read("whisper", whisper.Params)
    samples = read_samples(args.samples)
    paths = [args.samples / f"{s.id}.flac" for s in samples]
    jobs = [Job(s.id, _key(options, path), path) for s, path in zip(samples, paths, strict=True)]
    refresh(args.out, jobs, functools.partial(hear, options), suffixes=[".json"], label="evaluate")
    heard = {s.id: json.loads((args.out / f"{s.id}.json").read_text(encoding="utf-8")) for s in samples}
    scores = [score(s, heard[s.id]["heard"], heard[s.id]["silent"]) for s in samples]
    write_tables(scores, args.scores, args.wer, args.metrics)


if __name__ == "__main__":
    run(main)
