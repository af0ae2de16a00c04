"""Measures the tiny GPT-SoVITS on sentences that no training saw; `check.py` writes the rows down.

Whisper is the judge of words, the speaker encoder that of voices. It is loaded and speaks as anyone's does: by
timbre.families, from sovits/. What tuning brings is measured by the pipeline, in `reports/details.json`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from check_voices import Pair, Voices, listen, mean, worse
from measure import BASE, RATE, Heard, Row, hear, heldout, rate, row, sound
from synthesise import HERE

from timbre import audio, families
from timbre.core.sections import VoiceParams
from timbre.families import Request, Speaking, Turn
from timbre.families.protocol import Voice

SENTENCES = 60
SECONDS = 10.0  # what is longer ran away
REFERENCE = 3.2  # seconds, at least
HOW = Speaking(temperature=0.4, top_k=0, slots=8, top_p=0.9)  # as presets/tiny-sovits.yaml


def load() -> Voice:
    return families.load(VoiceParams("sovits", str(HERE / "sovits"), None))


def turn(voice: Voice, folder: Path, name: str, text: str, sounds: list[np.ndarray]) -> Turn:
    """A clip as the pipeline keeps it."""
    joined = np.concatenate([np.pad(one, (RATE // 20, RATE // 8)) for one in sounds]).astype(np.float32)
    path = folder / f"{name}.flac"
    path.write_bytes(audio.flac_bytes(joined, RATE))
    at_32 = audio.resample(joined, RATE, voice.sample_rate)
    return Turn(text, voice.encode([at_32])[0], clip=path)


def check_sovits(whisper: Any) -> list[Row]:
    voice, rows = load(), heldout()
    names = [BASE[i % len(BASE)] for i in range(SENTENCES)]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        return [*codes(whisper, voice, rows, names, folder), *spoken(whisper, voice, rows, names, folder)]


def at_16(voice: Voice, made: np.ndarray) -> np.ndarray:
    return audio.resample(made, voice.sample_rate, RATE)


def codes(whisper: Any, voice: Voice, rows: Any, names: list[str], folder: Path) -> list[Row]:
    """What the codes and stage 2 lose: recordings, said again from their own codes in their own style."""
    pairs: list[Pair] = []
    for number, name in enumerate(names):
        item = rows[name][number]
        clip = turn(voice, folder, f"{name}-{number}", item["text"], [sound(item)])
        again = at_16(voice, voice.resound(clip, None))
        before, after = (hear(item["text"], listen(whisper, one)) for one in (sound(item), again))
        pairs.append(Pair(before, after))
    return [
        row("SoVITS' codes and stage 2, word error rate", [p.after for p in pairs], rate, "<= 1"),
        row("SoVITS' codes and stage 2, word errors added", pairs, worse, "<= 0.06"),
    ]


def spoken(whisper: Any, voice: Voice, rows: Any, names: list[str], folder: Path) -> list[Row]:
    """Held-out sentences after a reference, as the family always speaks."""
    requests, pairs = [], list[Heard]()
    for number, name in enumerate(names):
        text, sounds, words = rows[name][number]["text"], list[np.ndarray](), list[str]()
        for item in rows[name][70 + number :]:
            sounds.append(sound(item))
            words.append(item["text"])
            if sum(map(len, sounds)) > REFERENCE * RATE:
                break
        reference = turn(voice, folder, f"reference-{number}", " ".join(words), sounds)
        requests.append(Request(text, (reference,), number, SECONDS))
    made = list(voice.speak(requests, HOW))
    sounds = [at_16(voice, one.sound) for one in made]
    pairs = [hear(request.text, listen(whisper, one)) for request, one in zip(requests, sounds, strict=True)]
    right = [float(a == b) for a, b in zip(Voices.enrol().name(sounds), names, strict=True)]
    return [
        row("SoVITS with a reference, base voices, word error rate", pairs, rate, "<= 1"),
        row("SoVITS with a reference, base voices, voice named", right, mean, ">= 0"),
        row("SoVITS' empty or endless sentences", [float(not one.ended) for one in made], mean, "<= 0.02"),
    ]


SOVITS_CHECKS = {"sovits": check_sovits}
