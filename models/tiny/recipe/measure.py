"""How figures are made: held-out recordings, word errors, intervals, the rows of quality.json and the README's table.

Reads   <work>/corpus.* (split heldout)
Writes  quality.json and, between two marks, README.md
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import torch
import whisper
from synthesise import RATE, VOICES, WORK
from whisper.normalizers import EnglishTextNormalizer

BASE = [name for name, voice in VOICES.items() if voice.seen]
UNSEEN = [name for name, voice in VOICES.items() if not voice.seen]
HEARING = {"temperature": 0.0, "condition_on_previous_text": False, "max_initial_timestamp": None, "fp16": False}
MARKS = ("<!-- quality -->\n", "<!-- /quality -->")
normalise = EnglishTextNormalizer()


def transcribe(model: Any, audio: np.ndarray, **more: Any) -> dict[str, Any]:
    torch.set_num_threads(1)  # two cost more than they bring at this size, and numba sets them anew
    return dict(whisper.transcribe(model, audio, **HEARING, **more))


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
    for line in (WORK / "corpus.jsonl").read_text().splitlines():
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


def publish(folder: Path, rows: Sequence[Row], afresh: bool) -> None:
    """Into quality.json, beside the rows that were not measured now unless `afresh`; and into the README."""
    path = folder / "quality.json"
    known = {} if afresh or not path.exists() else json.loads(path.read_text())
    known |= {result.what: asdict(result) for result in rows}
    path.write_text(json.dumps(known, indent=1) + "\n")
    lines = ["| what | goal | measured | 95 % interval | n |", "|---|---|---|---|---|"]
    for r in known.values():
        value = f"{r['value']}" if r["met"] else f"**{r['value']}** (missed)"
        lines.append(f"| {r['what']} | {r['goal']} | {value} | {r['low']} to {r['high']} | {r['n']} |")
    text = (folder / "README.md").read_text()
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    (folder / "README.md").write_text(before + MARKS[0] + "\n".join(lines) + "\n" + MARKS[1] + after)
