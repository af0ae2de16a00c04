"""Measures the tiny XTTS on sentences that no training saw; `check.py` writes the rows down.

Whisper is the judge of words, the speaker encoder that of voices. It is loaded by `timbre.families`, as the pipeline
loads it and as it loads the real one. What tuning brings is measured by the pipeline, in `reports/details.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import soxr
from check_orpheus import listen
from check_voices import Pair, Voices, mean, worse
from corpus import HERE, RATE
from measure import BASE, UNSEEN, Row, hear, heldout, rate, row, sound

from timbre import families
from timbre.core.sections import VoiceParams
from timbre.families import Request, Speaking, Turn
from timbre.families.xtts.hearing import Identity

SENTENCES = 60  # that it speaks as a stock speaker, and again with a reference
LIMIT = 10.0  # seconds; what is longer ran away
HOW = Speaking(temperature=0.6, top_k=0, slots=6, top_p=0.9)


def load() -> Any:
    return families.load(VoiceParams("xtts", str(HERE / "xtts"), None))


def turn(voice: Any, item: dict[str, Any]) -> Turn:
    """A recording as the family hears it."""
    heard = soxr.resample(np.pad(sound(item), (0, RATE // 10)), RATE, voice.hearing_rate).astype(np.float32)
    return Turn(item["text"], voice.encode([heard])[0])


def low(voice: Any, samples: np.ndarray) -> np.ndarray:
    return np.asarray(soxr.resample(samples, voice.sample_rate, RATE), np.float32)


def as_stock(voice: Any, name: str, texts: Sequence[str]) -> list[Any]:
    voice.identity = Identity(*voice.stock[name])
    return list(voice.speak([Request(text, (), 0, LIMIT) for text in texts], HOW))


def check_xtts(whisper: Any) -> list[Row]:
    """What its codes keep, then as a stock speaker, then with a reference: the words, and whose voice."""
    voice, rows, voices = load(), heldout(), Voices.enrol()
    texts = [item["text"] for item in rows[BASE[0]][:SENTENCES]]
    names = [BASE[i % len(BASE)] for i in range(SENTENCES)]
    true = [rows[name][i] for i, name in enumerate(names)]
    before = [hear(item["text"], listen(whisper, sound(item))) for item in true]
    coded = []
    for item, name in zip(true, names, strict=True):
        said = voice.resound(turn(voice, item), turn(voice, rows[name][80]))
        coded.append(hear(item["text"], listen(whisper, low(voice, said))))
    spoken: list[Any] = [None] * SENTENCES
    for name in BASE:
        mine = [i for i in range(SENTENCES) if names[i] == name]
        for i, one in zip(mine, as_stock(voice, name, [texts[i] for i in mine]), strict=True):
            spoken[i] = one
    plain = [low(voice, one.sound) for one in spoken]
    heard = [hear(text, listen(whisper, made)) for text, made in zip(texts, plain, strict=True)]
    right = [float(a == b) for a, b in zip(voices.name(plain), names, strict=True)]
    ended = [float(not one.ended or len(one.sound) < 0.3 * voice.sample_rate) for one in spoken]
    added = [Pair(a, b) for a, b in zip(before, coded, strict=True)]
    beyond = [Pair(a, b) for a, b in zip(coded, heard, strict=True)]
    out = [
        row("XTTS' codes spoken by its states, word error rate", coded, rate, "<= 1"),
        row("XTTS' codes spoken by its states, word errors added", added, worse, "<= 0.06"),
        row("XTTS as a stock speaker, word error rate", heard, rate, "<= 1"),
        row("XTTS as a stock speaker, word errors beyond its codes'", beyond, worse, "<= 0.08"),
        row("XTTS as a stock speaker, the voice asked for is named", right, mean, ">= 0"),
        row("XTTS' empty or endless sentences", ended, mean, "<= 0.02"),
    ]
    for what, which in (("base", BASE), ("unseen", UNSEEN)):
        names = [which[i % len(which)] for i in range(SENTENCES)]
        known = {name: (turn(voice, rows[name][70]), turn(voice, rows[name][71])) for name in which}
        requests = [Request(text, known[name], 0, LIMIT) for text, name in zip(texts, names, strict=True)]
        cloned = [low(voice, one.sound) for one in voice.speak(requests, HOW)]
        right = [float(a == b) for a, b in zip(voices.name(cloned), names, strict=True)]
        heard = [hear(text, listen(whisper, made)) for text, made in zip(texts, cloned, strict=True)]
        out.append(row(f"XTTS with a reference, {what} voices, voice named", right, mean, ">= 0"))
        out.append(row(f"XTTS with a reference, {what} voices, word error rate", heard, rate, "<= 1"))
    return out


XTTS_CHECKS = {"xtts": check_xtts}
