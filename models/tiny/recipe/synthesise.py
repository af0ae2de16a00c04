"""Synthesises the corpus on which the tiny voice stack is trained: harbour announcements in a dozen voices.

Reads   params.yaml (section synthesise); needs Debian's flite and espeak-ng.
Writes  <work>/corpus.npy    int16, 16 kHz, all utterances end to end
        <work>/corpus.jsonl  a line per utterance: id, voice, split, kind, text, offset, samples, start, end
                             and words: [start, end] of each word in seconds, as the synthesiser says
        corpus.json          what git keeps of it: counts, words, voices and the hash of the samples
With --demo FOLDER it writes the demo's recordings and their truth (<work>/demo_truth.json) instead.

<work> is $TIMBRE_TINY_WORK or ~/.cache/timbre-tiny. Run:  python recipe/synthesise.py
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml
from corpus import HERE, WORK
from engines import EDGE, RATE, Voice, speak

# Chosen to sound unlike each other: every later number rests on that.
SLOTS: dict[str, tuple[str, ...]] = {
    "name": ("Marlow", "Penzance", "Dublin", "Whitby", "Valencia", "Oslo"),
    "num": ("three", "five", "seven", "twelve", "twenty"),
    "veh": ("ferry", "train"),
    "place": ("pier", "platform"),
    "spot": ("harbour", "station", "bridge", "lighthouse"),
    "thing": ("luggage", "coffee", "music"),
    "people": ("passengers",),
    "adj": ("night", "early", "golden", "quiet", "green", "orange", "foggy"),
    "verb": ("departs", "arrives", "stops", "waits", "returns", "follows"),
    "who": ("captain",),
    "small": ("the", "to", "from", "with", "after", "under", "please", "again"),
}
WORDS = tuple(word for slot in SLOTS.values() for word in slot)
TEMPLATES = (
    "the {adj} {veh} to {name} departs from {place} {num}",
    "the {adj} {veh} to {name} departs after {num}",
    "the {adj} {veh} from {name} arrives after {num}",
    "the {veh} from {name} waits under the {adj} {spot}",
    "the {veh} returns from {name} after {num} with {people}",
    "{veh} {num} to {name} stops after the {spot}",
    "the {adj} captain returns to the {spot} with {thing}",
    "the captain stops the {adj} {veh} again",
    "{thing} to {place} {num} please",
    "{num} {people} from {name} to {name} please",
    "the {adj} {thing} follows the {veh} to {name}",
    "{thing} with the captain after {num}",
    "{thing} from the {spot} follows the {adj} {veh}",
    "{name} again after the {adj} {spot}",
    "{thing} again please",
    "{people} with {thing} to {place} {num} please",
    "the {spot} waits",
)


VOICES: dict[str, Voice] = {
    "mira": Voice("flite", "slt"),
    "nele": Voice("flite", "slt", 0.8),
    "pia": Voice("flite", "slt", 1.15),
    "ralf": Voice("flite", "rms"),
    "ruben": Voice("flite", "rms", 1.2),
    "angus": Voice("flite", "awb"),
    "ailsa": Voice("flite", "awb", 1.2),
    "kalle": Voice("flite", "kal16"),
    "edda": Voice("espeak", "en-us"),
    "femke": Voice("espeak", "gmw/en+f2"),
    "marina": Voice("flite", "slt", 0.9, seen=False),  # the demo's target, between mira and nele
    "rasmus": Voice("flite", "rms", 1.1, seen=False),
}


@dataclass(frozen=True)
class Job:
    id: str
    voice: str
    split: str  # train, heldout (sentences held out) or unseen (voices held out)
    kind: str  # grammar or random
    text: str
    tempo: float


def sentence(words: list[str]) -> str:
    return words[0][0].upper() + " ".join(words)[1:] + "."


def is_heldout(text: str) -> bool:
    """One sentence in 25 is held out, whatever voice speaks it."""
    return hashlib.sha256(text.encode()).digest()[0] < 10


def draw(rng: random.Random, kind: str, heldout: bool) -> str:
    while True:
        if kind == "grammar":
            template = rng.choice(TEMPLATES)
            words = [rng.choice(SLOTS[w[1:-1]]) if w[0] == "{" else w for w in template.split()]
        else:
            words = [rng.choice(WORDS)]
            for _ in range(rng.randint(2, 7)):
                words.append(rng.choice([w for w in WORDS if w != words[-1]]))
        text = sentence(words)
        if is_heldout(text) == heldout:
            return text


def jobs(params: dict[str, Any]) -> Iterator[Job]:
    def job(voice: str, split: str, kind: str, text: str, number: int) -> Job:
        tempo = 1 + random.Random(f"{params['seed']} {voice} {split} {number}").uniform(-1, 1) * params["jitter"]
        return Job(f"{voice}-{split}-{number:04d}", voice, split, kind, text, tempo)

    rng = random.Random(params["seed"])
    kinds = [rng.random() < params["random_share"] for _ in range(params["heldout_sentences"])]
    heldout = [(k, draw(rng, k, True)) for k in ("random" if r else "grammar" for r in kinds)]
    for voice, how in VOICES.items():
        rng = random.Random(f"{params['seed']} {voice}")
        split, count = ("train", params["train_per_voice"]) if how.seen else ("unseen", params["unseen_per_voice"])
        for number in range(count):
            kind = "random" if rng.random() < params["random_share"] else "grammar"
            yield job(voice, split, kind, draw(rng, kind, False), number)
        for number, (kind, text) in enumerate(heldout):
            yield job(voice, "heldout", kind, text, number)


def render(job: Job, level: float) -> tuple[np.ndarray, list[list[float]]]:
    audio, words = speak(VOICES[job.voice], job.text, job.tempo, level)
    return np.round(audio * 32767).astype(np.int16), words


def corpus(params: dict[str, Any], workers: int) -> None:
    todo = list(jobs(params))
    rows: list[str] = []
    pieces: list[np.ndarray] = []
    offset, began = 0, time.time()
    with ProcessPoolExecutor(workers) as pool:
        made = pool.map(render, todo, [params["level"]] * len(todo), chunksize=16)
        for job, (audio, words) in zip(todo, made, strict=True):
            place = {"offset": offset, "samples": len(audio), "start": EDGE / RATE, "end": (len(audio) - EDGE) / RATE}
            rows.append(json.dumps({**asdict(job), **place, "words": words}))
            pieces.append(audio)
            offset += len(audio)
            if len(rows) % 500 == 0:
                left = (time.time() - began) / len(rows) * (len(todo) - len(rows))
                print(f"{len(rows)}/{len(todo)} utterances, {left:.0f} s left", file=sys.stderr, flush=True)
    WORK.mkdir(parents=True, exist_ok=True)
    whole = np.concatenate(pieces)
    with open(WORK / "corpus.npy.tmp", "wb") as file:
        np.save(file, whole)
    os.replace(WORK / "corpus.npy.tmp", WORK / "corpus.npy")
    (WORK / "corpus.jsonl").write_text("\n".join(rows) + "\n")
    manifest = {
        "sha256": hashlib.sha256(whole.tobytes()).hexdigest(),  # of the samples: word times of espeak-ng vary by 20 ms
        "utterances": len(rows),
        "hours": round(offset / RATE / 3600, 2),
        "words": sorted(WORDS, key=str.lower),
        "voices": {name: asdict(voice) for name, voice in VOICES.items()},
    }
    (HERE / "corpus.json").write_text(json.dumps(manifest, indent=1) + "\n")


def demo(params: dict[str, Any], folder: Path, voice: str = "marina") -> None:
    """Three recordings as a person would make them: sentences, pauses, a longer pause now and then, room noise."""
    folder.mkdir(parents=True, exist_ok=True)
    truth = {}
    for title in ("harbour-morning", "harbour-noon", "harbour-night"):
        rng = random.Random(f"{params['seed']} {title}")
        parts: list[np.ndarray] = [np.zeros(int(0.6 * RATE), np.float32)]
        rows, length = [], len(parts[0])
        while length < params["demo_minutes"] * 60 * RATE:
            kind = "random" if rng.random() < 0.1 else "grammar"
            text = draw(rng, kind, heldout=rng.random() < 0.1)
            tempo = 1 + rng.uniform(-1, 1) * params["jitter"]
            audio, _ = speak(VOICES[voice], text, tempo, params["level"])
            rows.append({"start": (length + EDGE) / RATE, "end": (length + len(audio) - EDGE) / RATE, "text": text})
            pause = rng.uniform(1.5, 3.0) if rng.random() < 0.1 else rng.uniform(0.3, 1.2)
            parts += [audio, np.zeros(int((pause - 0.1) * RATE), np.float32)]
            length += len(audio) + len(parts[-1])
        sound = np.concatenate(parts)
        sound += np.random.default_rng(len(sound)).normal(0, 2e-4, len(sound)).astype(np.float32)
        soundfile.write(folder / f"{title}.flac", sound, RATE, subtype="PCM_16")
        truth[title] = rows
    WORK.mkdir(parents=True, exist_ok=True)
    (WORK / "demo_truth.json").write_text(json.dumps(truth, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--demo", type=Path, help="write the demo's recordings there instead of the corpus")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    params = yaml.safe_load((HERE / "params.yaml").read_text())["synthesise"]
    if args.demo:
        demo(params, args.demo)
    else:
        corpus(params, args.workers)


if __name__ == "__main__":
    main()
