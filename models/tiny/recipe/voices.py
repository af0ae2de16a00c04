"""Other voices to hold the demo's against: two sentences of each that no training saw.

`evaluate` asks of every sample whether it is nearer to its speaker than to any of these. The demo's own voice is not
among them; the second voice that no model has heard, rasmus, is.

Reads   <work>/corpus.npy, <work>/corpus.jsonl (split heldout)
Writes  voices/<voice>/<number>.flac    16 kHz

Run:  python recipe/voices.py
"""

from __future__ import annotations

import shutil
from pathlib import Path

import soundfile
from listener import RATE, Corpus, Utterance

HERE = Path(__file__).resolve().parent.parent
TARGET = "marina"  # the demo's
EACH = 2  # sentences of a voice
WORDS = 8  # of a sentence, at least: a voice shows in what it says


def chosen(corpus: Corpus) -> dict[str, list[Utterance]]:
    """Voice → its sentences; the same ones for all, so that only the voice differs."""
    voices: dict[str, list[Utterance]] = {}
    for utterance in corpus.of("heldout"):
        if utterance.kind == "grammar" and len(utterance.words) >= WORDS and utterance.voice != TARGET:
            voices.setdefault(utterance.voice, []).append(utterance)
    return {voice: rows[:EACH] for voice, rows in voices.items()}


def main() -> None:
    corpus, folder = Corpus(), HERE / "voices"
    shutil.rmtree(folder, ignore_errors=True)
    for voice, rows in chosen(corpus).items():
        for number, utterance in enumerate(rows):
            path = folder / voice / f"{number}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, corpus[utterance], RATE, subtype="PCM_16", compression_level=1.0)
    size = sum(path.stat().st_size for path in folder.rglob("*.flac"))
    print(f"{len(list(folder.iterdir()))} voices, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
