"""A long text sentence by sentence: whether tone and pace drift, beside the same sentences spoken alone.

    dvc pull                           # or `make`: it speaks with the voice of this repository
    python -m benchmarks.long_text --minutes 3

The tuned voice clones the reference clip and speaks sentences of data/prompts.tsv, one after the other, until the text
is long enough. `in a row` each sentence also hears the last 12 s before it (`generate.heard_before`), `alone` nothing.
Similarity is the cosine to the mean of the speaker's held-out clips, over all that is said in 15 s. Pace is characters
a second of speech, pauses left out, against the speaker's own. The words are counted as `evaluate` counts them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks import table
from benchmarks.table import ResultTable, TimedRow
from timbre import asr, audio, synthesis
from timbre.audio import Samples, delivery
from timbre.core.params import read
from timbre.core.records import Example, read_jsonl
from timbre.evaluation import speaker_encoder, word_errors
from timbre.evaluation.speaker_encoder import KnownVoices, centre
from timbre.families import Voice
from timbre.project.prompts import read_prompts
from timbre.synthesis.narration import Narration, manner_of, narrated, passages
from timbre.synthesis.reference import DATASET

HEARD_BEFORE = 12.0  # seconds, as in the presets of models that learnt from dialogues
CLIPS = Path("data/clips")
PART = 15.0  # seconds
RATE = speaker_encoder.SAMPLE_RATE
WAYS = {"in a row": True, "alone": False}  # whether a sentence hears those before it


@dataclass(frozen=True)
class SaidSentence:
    text: str
    start: float  # seconds
    sound: Samples  # at RATE


@dataclass(frozen=True)
class OwnVoice:
    """The speaker, by clips that nobody learnt from."""

    known: KnownVoices
    pace: float  # characters a second of speech


def main() -> None:
    table.run("long_text", __doc__, arguments, measure)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    settings = read()
    voice, own, encoder = synthesis.load(), own_voice(), speaker_encoder.load(settings.speaker)
    parts: dict[str, list[dict[str, float]]] = {}
    rows = []
    for name, joined in tqdm(WAYS.items(), unit="way", leave=False, disable=None):
        began = time.perf_counter()
        said = spoken(voice, 60 * options.minutes, options.seed, joined)
        took = time.perf_counter() - began
        parts[name] = list(measured(said, own, encoder))
        rows.append(summary(name, took, said, parts[name]))
    yield ResultTable(f"a text of {options.minutes:g} minutes", rows, rate="s of sound a second")
    shown: list[TimedRow] = []
    for number, across in enumerate(zip(*parts.values(), strict=False)):
        named = zip(parts, across, strict=True)
        extra: dict[str, float | str] = {f"{key}, {way}": value for way, part in named for key, value in part.items()}
        shown.append(TimedRow(f"{PART * number:g}–{PART * (number + 1):g} s", extra=extra))
    yield ResultTable("similarity and pace", shown)


def own_voice() -> OwnVoice:
    rows = read_jsonl(DATASET / "eval.jsonl", Example)
    encoder = speaker_encoder.load(read().speaker)
    sounds = [audio.read(CLIPS / f"{row.id}.flac", RATE)[0] for row in rows]
    characters = sum(len(row.text) for row in rows)
    pace = characters / sum(delivery.speech_seconds(sound, RATE) for sound in sounds)
    return OwnVoice(KnownVoices(centre([encoder.embed(sound) for sound in sounds])), pace)


def spoken(voice: Voice, seconds: float, seed: int, joined: bool) -> list[SaidSentence]:
    texts = [prompt.text for prompt in read_prompts(Path("data/prompts.tsv")) if prompt.kind == "domain"]
    # more sentences than are needed: the loop ends when there is enough sound
    parts = passages(" ".join(islice(cycle(texts), int(seconds))))
    how = replace(read().generate, heard_before=HEARD_BEFORE if joined else 0.0)
    script = Narration(parts, manner_of(voice, how, seed=seed, reference=synthesis.reference_clip()))
    sounds: dict[int, list[Samples]] = {}
    samples = 0
    for piece in narrated(voice, script):
        sounds.setdefault(script.number, []).append(piece)
        samples += len(piece)
        if samples >= seconds * voice.sample_rate:
            break
    whole = [(parts[number].text, np.concatenate(pieces)) for number, pieces in sounds.items()]
    starts = np.cumsum([0, *(len(sound) for _, sound in whole)]) / voice.sample_rate
    return [
        SaidSentence(text, float(start), audio.resample(sound, voice.sample_rate, RATE))
        for (text, sound), start in zip(whole[:-1], starts, strict=False)  # the last was broken off
    ]


def measured(
    said: Sequence[SaidSentence], own: OwnVoice, encoder: speaker_encoder.AnyVoiceEncoder
) -> Iterator[dict[str, float]]:
    """Of each 15 s: the sentences that begin there."""
    for number in range(int(said[-1].start // PART) + 1):
        part = [sentence for sentence in said if sentence.start // PART == number]
        sound = np.concatenate([sentence.sound for sentence in part])
        characters = sum(len(sentence.text) for sentence in part)
        yield {
            "similarity": own.known.similarity(encoder.embed(sound)),
            "pace": characters / delivery.speech_seconds(sound, RATE) / own.pace,
        }


def summary(name: str, took: float, said: Sequence[SaidSentence], parts: Sequence[dict[str, float]]) -> TimedRow:
    texts = asr.texts(read().whisper, [sentence.sound for sentence in said])
    readings = [word_errors.compare(sentence.text, text) for sentence, text in zip(said, texts, strict=True)]
    minute = round(60 / PART)
    extra: dict[str, float | str] = {}
    for key in ("similarity", "pace"):
        values = [part[key] for part in parts]
        extra[f"{key}: mean"] = f"{statistics.mean(values):.3f}"
        extra[f"{key}: least–most"] = f"{min(values):.3f}–{max(values):.3f}"
        drift = statistics.mean(values[-minute:]) - statistics.mean(values[:minute])
        extra[f"{key}: last minute less first"] = f"{drift:+.3f}"
    extra["word errors"] = f"{sum(one.errors for one in readings)} of {sum(one.words for one in readings)}"
    return TimedRow(name, [took], amount=sum(len(sentence.sound) for sentence in said) / RATE, extra=extra)


if __name__ == "__main__":
    main()
