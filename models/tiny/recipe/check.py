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
import torch
import whisper
from codec_model import round_trip
from speaker import embed
from synthesise import HERE, RATE, VOICES, WORK
from transformers import WavLMForXVector
from whisper.normalizers import EnglishTextNormalizer
from whisper_windows import noise

BASE = [name for name, voice in VOICES.items() if voice.seen]
UNSEEN = [name for name, voice in VOICES.items() if not voice.seen]
HEARING = {"temperature": 0.0, "condition_on_previous_text": False, "max_initial_timestamp": None, "fp16": False}
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


def check_whisper(model: Any, voices: list[str] | None = None, limit: int = 99) -> list[Row]:
    heard: dict[str, list[Heard]] = {}
    times: list[float] = []
    for voice, rows in heldout().items():
        if voices and voice not in voices:
            continue
        for recording in recordings(rows, voice)[:limit]:
            result = transcribe(model, recording.audio)
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
            result = transcribe(model, recording.audio, word_timestamps=True)
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
        audio = (
            np.zeros(int(seconds * RATE), np.float32) if number % 4 == 3 else noise(number % 4, rng, seconds) * level
        )
        texts.append(float(bool(transcribe(model, audio.astype(np.float32))["text"].strip())))
    return [row("clips without speech in which Whisper writes text", texts, lambda t: sum(t) / len(t), "<= 0")]


def voiced(audio: np.ndarray) -> np.ndarray:
    """How periodic each 40 ms is: the autocorrelation's peak between 60 and 400 Hz; frames with sound only."""
    frames = np.lib.stride_tricks.sliding_window_view(audio, 640)[::160]
    frames = frames - frames.mean(1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(frames, 2048)) ** 2
    correlation = np.fft.irfft(spectrum)[:, :640]
    peak = correlation[:, RATE // 400 : RATE // 60].max(1) / np.maximum(correlation[:, 0], 1e-9)
    return np.where(correlation[:, 0] > 640 * 0.01**2, peak, np.nan)


def level(audio: np.ndarray) -> float:
    return 10 * float(np.log10(np.mean(audio**2) + 1e-12))  # dB


def csm() -> Any:
    """The base voice, loaded as the pipeline loads it."""
    sys.path.insert(0, str(HERE.parent.parent))
    from timbre.families.csm import load

    return load(str(HERE / "csm"), None, None, "fp32")


def check_codec(model: Any) -> list[Row]:
    """Four recordings of each voice, before and after the codec."""
    codec = csm().base.codec_model
    pairs: list[tuple[Heard, Heard]] = []
    periodicity: list[tuple[float, float]] = []
    levels: list[float] = []
    for voice, rows in heldout().items():
        for recording in recordings(rows, voice)[:4]:
            truth, coded = " ".join(s[2] for s in recording.sentences), round_trip(codec, recording.audio)
            texts = [transcribe(model, sound)["text"] for sound in (recording.audio, coded)]
            pairs.append((hear(truth, texts[0]), hear(truth, texts[1])))
            before, after = voiced(recording.audio), voiced(coded)
            speech = before > 0.6  # voiced speech, of the original
            periodicity.append((float(np.nansum(after[speech])), float(before[speech].sum())))
            levels.append(abs(level(coded) - level(recording.audio)))
        print(
            f"  {voice}: {rate([a for a, _ in pairs[-4:]]):.3f} -> {rate([b for _, b in pairs[-4:]]):.3f}", flush=True
        )
    return [
        row(
            "codec: word error rate added",
            pairs,
            lambda p: rate([b for _, b in p]) - rate([a for a, _ in p]),
            "<= 0.05",
        ),
        row("codec: periodicity kept", periodicity, lambda p: sum(b for b, _ in p) / sum(a for _, a in p), ">= 0.8"),
        row("codec: change of level in dB, median", levels, lambda x: float(np.median(x)), "<= 2"),
    ]


def speak(voice: Any, texts: list[str], references: list[dict[str, Any] | None]) -> list[tuple[np.ndarray, bool]]:
    """The sentences as the pipeline has them spoken: sound, and whether it ended by itself."""
    from timbre.families import Request, Turn

    requests = []
    for number, (text, reference) in enumerate(zip(texts, references, strict=True)):
        context = (Turn(reference["text"], voice.encode([sound(reference)])[0]),) if reference else ()
        requests.append(Request(text, context, number, 12.0))
    spoken = [one for at in range(0, len(requests), 32) for one in voice.speak(requests[at : at + 32], 0.6, 0)]
    return [(voice.decode(one.codes) if len(one.codes) else np.zeros(0, np.float32), one.ended) for one in spoken]


def check_csm(model: Any) -> list[Row]:
    """Held-out sentences, spoken without a reference, beside true ones through the codec."""
    voice = csm()
    rng = random.Random(5)
    rows = [rng.choice([r[number] for name, r in heldout().items() if name in BASE]) for number in range(128)]
    made = speak(voice, [item["text"] for item in rows], [None] * len(rows))
    pairs = []
    for item, (audio, _) in zip(rows, made, strict=True):
        coded = round_trip(voice.base.codec_model, sound(item))
        said = transcribe(model, audio)["text"] if len(audio) else ""
        pairs.append((hear(item["text"], transcribe(model, coded)["text"]), hear(item["text"], said)))
    odd = [float(not ended or len(audio) < 0.3 * RATE) for audio, ended in made]
    return [
        row("base CSM: word error rate, zero-shot", [b for _, b in pairs], rate, "<= 1"),
        row(
            "base CSM: added to the codec's",
            pairs,
            lambda p: rate([b for _, b in p]) - rate([a for a, _ in p]),
            "<= 0.08",
        ),
        row("base CSM: runaway or empty", odd, lambda x: sum(x) / len(x), "<= 0.02"),
    ]


def check_clone(_: Any) -> list[Row]:
    """Does the speaker encoder name the voice among all: of true recordings, of clones from one sentence?"""
    voice, encoder = csm(), WavLMForXVector.from_pretrained(HERE / "speaker").eval()
    codec, rows = voice.base.codec_model, heldout()
    names = list(rows)
    centres = torch.stack([embed(encoder, [sound(item) for item in rows[name][:12]]).mean(0) for name in names])

    def named(audio: np.ndarray) -> str:
        if len(audio) < 0.3 * RATE:
            return ""
        return names[int((embed(encoder, [audio]) @ torch.nn.functional.normalize(centres, dim=-1).T).argmax())]

    true = [float(named(round_trip(codec, sound(item))) == name) for name in names for item in rows[name][12:20]]
    asked = [(name, rows[name][20 + n], rows[name][40 + n]) for name in BASE for n in range(8)]
    made = speak(voice, [text["text"] for _, _, text in asked], [reference for _, reference, _ in asked])
    cloned = [float(named(audio) == name) for (name, _, _), (audio, _) in zip(asked, made, strict=True)]
    return [
        row("speaker: true recordings through the codec named", true, lambda x: sum(x) / len(x), ">= 0.95"),
        row("base CSM + reference: voice named, base voices", cloned, lambda x: sum(x) / len(x), ">= 0.6"),
    ]


CHECKS: dict[str, Callable[[Any], list[Row]]] = {
    "whisper": check_whisper,
    "words": check_words,
    "silence": check_silence,
    "codec": check_codec,
    "csm": check_csm,
    "clone": check_clone,
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
