"""Measures the tiny voice stack on sentences that no training saw, and writes quality.json.

Reads   <work>/corpus.* (split heldout), whisper.pt, csm/, speaker/ as anyone would: whisper.load_model and
        transformers' classes.
Writes  quality.json: a row per figure with its number of items, its 95 % interval (bootstrap) and its goal.

Run:  python recipe/check.py                   (some rows only:  python recipe/check.py whisper silence)
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import whisper
from synthesise import HERE, RATE, VOICES, WORK
from whisper.normalizers import EnglishTextNormalizer
from whisper_windows import noise

BASE = [name for name, voice in VOICES.items() if voice.seen]
UNSEEN = [name for name, voice in VOICES.items() if not voice.seen]
HEARING = {"temperature": 0.0, "condition_on_previous_text": False, "max_initial_timestamp": None, "fp16": False}
normalise = EnglishTextNormalizer()


@dataclass(frozen=True)
class Row:
    what: str
    value: float
    low: float  # of the 95 % interval
    high: float
    n: int
    goal: str
    met: bool


def interval(items: Sequence[Any], measure: Callable[[list[Any]], float], draws: int = 1000) -> tuple[float, float]:
    rng = random.Random(0)
    values = sorted(measure([rng.choice(items) for _ in items]) for _ in range(draws))
    return values[int(0.025 * draws)], values[int(0.975 * draws) - 1]


def row(what: str, items: Sequence[Any], measure: Callable[[list[Any]], float], goal: str) -> Row:
    """`goal` reads like '<= 0.05'."""
    value = measure(list(items))
    low, high = interval(items, measure)
    limit = float(goal.split()[1])
    met = value <= limit if goal.startswith("<=") else value >= limit
    result = Row(what, round(value, 4), round(low, 4), round(high, 4), len(items), goal, met)
    print(f"{result.what}: {result.value} ({result.low} to {result.high}, n {result.n}), goal {goal}", flush=True)
    return result


@dataclass(frozen=True)
class Heard:
    """Word errors of one item, so that rates over many weigh each word the same."""

    errors: int
    words: int


def hear(truth: str, heard: str) -> Heard:
    a, b = normalise(truth), normalise(heard)
    out = jiwer.process_words(a, b)
    return Heard(out.substitutions + out.deletions + out.insertions, len(a.split()))


def rate(items: list[Heard]) -> float:
    return sum(item.errors for item in items) / max(1, sum(item.words for item in items))


def heldout() -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for line in open(WORK / "corpus.jsonl"):
        item = json.loads(line)
        if item["split"] == "heldout":
            rows.setdefault(item["voice"], []).append(item)
    return rows


def sound(item: dict[str, Any]) -> np.ndarray:
    pcm = np.load(WORK / "corpus.npy", mmap_mode="r")
    return pcm[item["offset"] : item["offset"] + item["samples"]].astype(np.float32) / 32768


@dataclass(frozen=True)
class Recording:
    audio: np.ndarray
    sentences: list[tuple[float, float, str]]
    words: list[tuple[float, float]]


def recordings(rows: list[dict[str, Any]], seed: str) -> list[Recording]:
    """The sentences put together to recordings of 20 to 30 s with pauses of 0.3 to 1.2 s."""
    rng = random.Random(seed)
    made, parts, sentences, words, at = [], [np.zeros(RATE // 2, np.float32)], [], [], 0.5
    aim = rng.uniform(20, 26)
    for item in rows:
        parts.append(sound(item))
        sentences.append((at + item["start"], at + item["end"], item["text"]))
        words += [(at + a, at + b) for a, b in item["words"]]
        pause = np.zeros(int(rng.uniform(0.2, 1.1) * RATE), np.float32)
        parts.append(pause)
        at += (len(parts[-2]) + len(pause)) / RATE
        if at > aim:
            audio = np.concatenate(parts)
            audio += np.random.default_rng(len(made)).normal(0, 2e-4, len(audio)).astype(np.float32)
            made.append(Recording(audio, sentences, words))
            parts, sentences, words, at = [np.zeros(RATE // 2, np.float32)], [], [], 0.5
            aim = rng.uniform(20, 26)
    return made


def check_whisper(model: Any, voices: list[str] | None = None, limit: int = 99) -> list[Row]:
    heard: dict[str, list[Heard]] = {}
    times: list[float] = []
    for voice, rows in heldout().items():
        if voices and voice not in voices:
            continue
        for recording in recordings(rows, voice)[:limit]:
            result = model.transcribe(recording.audio, **HEARING)
            heard.setdefault(voice, []).append(hear(" ".join(s[2] for s in recording.sentences), result["text"]))
            for a, b, _ in recording.sentences:
                overlap = [(min(b, s["end"]) - max(a, s["start"]), s) for s in result["segments"]]
                if overlap and max(overlap, key=lambda o: o[0])[0] > 0:
                    best = max(overlap, key=lambda o: o[0])[1]
                    times += [abs(best["start"] - a), abs(best["end"] - b)]
        print(f"  {voice}: {rate(heard[voice]):.3f}", file=sys.stderr, flush=True)
    out = []
    for what, names, goal in (("base voices", BASE, "<= 0.05"), ("unseen voices", UNSEEN, "<= 0.15")):
        items = [item for name in names for item in heard.get(name, [])]
        if items:
            out.append(row(f"Whisper's word error rate, {what}", items, rate, goal))
    out.append(row("Whisper's segment times, median error in s", times, lambda t: float(np.median(t)), "<= 0.15"))
    return out


def check_words(model: Any) -> list[Row]:
    """Word timestamps, on recordings whose every word was heard right."""
    errors: list[float] = []
    rows = heldout()
    for voice in ("mira", "angus", "marina", "edda"):
        for recording in recordings(rows[voice], voice)[:6]:
            result = model.transcribe(recording.audio, word_timestamps=True, **HEARING)
            words = [word for segment in result["segments"] for word in segment["words"]]
            truth = " ".join(s[2] for s in recording.sentences)
            if "".join(word["word"] for word in words).strip() == truth:
                errors += [abs(w["start"] - a) for w, (a, _) in zip(words, recording.words, strict=True)]
    return [row("word times, median error of starts in s", errors or [9.0], lambda t: float(np.median(t)), "<= 0.15")]


def check_silence(model: Any) -> list[Row]:
    rng = np.random.default_rng(77)  # not the noises of training, whose seed is another
    texts = []
    for number in range(40):
        seconds = rng.uniform(5, 60)
        level = 10 ** rng.uniform(-2, 0.5)
        audio = np.zeros(int(seconds * RATE), np.float32) if number % 4 == 3 else noise(number % 4, rng, seconds) * level
        texts.append(float(bool(model.transcribe(audio.astype(np.float32), **HEARING)["text"].strip())))
    return [row("clips without speech in which Whisper writes text", texts, lambda t: sum(t) / len(t), "<= 0")]


CHECKS: dict[str, Callable[[Any], list[Row]]] = {
    "whisper": check_whisper,
    "words": check_words,
    "silence": check_silence,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the tiny voice stack.")
    parser.add_argument("checks", nargs="*", help=f"of {', '.join(CHECKS)}; all by default")
    parser.add_argument("--whisper", type=Path, default=HERE / "whisper.pt")
    args = parser.parse_args()
    model = whisper.load_model(str(args.whisper), device="cpu")
    path = HERE / "quality.json"
    rows = json.loads(path.read_text()) if path.exists() and args.checks else {}
    for name in args.checks or CHECKS:
        for result in CHECKS[name](model):
            rows[result.what] = {k: v for k, v in vars(result).items() if k != "what"}
    path.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
