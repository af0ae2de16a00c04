"""Measures the tiny voice stack on sentences that no training saw, and writes quality.json.

Reads   <work>/corpus.* (split heldout), whisper.pt, csm/, orpheus/, xtts/, speaker/ as anyone would:
        whisper.load_model, transformers' classes, snac.SNAC and timbre.families.
Writes  quality.json: a row per figure with its number of items, its 95 % interval (bootstrap) and its goal; the
        same as a table in README.md.

Run:  python recipe/check.py                   (some rows only:  python recipe/check.py whisper silence)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import whisper
from check_orpheus import ORPHEUS_CHECKS
from check_sovits import SOVITS_CHECKS
from check_voices import VOICE_CHECKS
from check_xtts import XTTS_CHECKS
from measure import BASE, UNSEEN, Heard, Row, hear, heldout, publish, rate, recordings, row, transcribe
from synthesise import HERE, RATE
from whisper_windows import noise


def check_whisper(model: Any) -> list[Row]:
    heard: dict[str, list[Heard]] = {}
    times: list[float] = []
    for voice, rows in heldout().items():
        for recording in recordings(rows, voice):
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
        items = [item for name in names for item in heard[name]]
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
    return [
        row(
            "Whisper's word times, median error of starts in s",
            errors or [9.0],
            lambda t: float(np.median(t)),
            "<= 0.15",
        )
    ]


def check_silence(model: Any) -> list[Row]:
    rng = np.random.default_rng(77)  # not the noises of training, whose seed is another
    texts = []
    for number in range(40):
        seconds = rng.uniform(5, 60)
        level = 10 ** rng.uniform(-2, 0.5)
        silent = number % 4 == 3
        audio = np.zeros(int(seconds * RATE)) if silent else noise(number % 4, rng, seconds) * level
        texts.append(float(bool(transcribe(model, audio.astype(np.float32))["text"].strip())))
    return [row("clips without speech in which Whisper writes text", texts, lambda t: sum(t) / len(t), "<= 0")]


CHECKS: dict[str, Callable[[Any], list[Row]]] = {
    "whisper": check_whisper,
    "words": check_words,
    "silence": check_silence,
}


def main() -> None:
    checks = CHECKS | VOICE_CHECKS | ORPHEUS_CHECKS | SOVITS_CHECKS | XTTS_CHECKS
    parser = argparse.ArgumentParser(description="Measure the tiny voice stack.")
    parser.add_argument("checks", nargs="*", help=f"of {', '.join(checks)}; all by default")
    parser.add_argument("--whisper", type=Path, default=HERE / "whisper.pt")
    args = parser.parse_args()
    if unknown := set(args.checks) - set(checks):
        parser.error(f"no check {', '.join(sorted(unknown))}; there are {', '.join(checks)}")
    model, rows = whisper.load_model(str(args.whisper), device="cpu"), []
    for name in args.checks or checks:
        torch.set_num_threads(1)  # two cost more than they bring at this size, and numba sets them anew
        rows += checks[name](model)
    publish(HERE, rows, afresh=not args.checks)


if __name__ == "__main__":
    main()
