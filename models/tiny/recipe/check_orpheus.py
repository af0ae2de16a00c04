"""Measures the tiny SNAC and the tiny Orpheus on sentences that no training saw; `check.py` writes the rows down.

Whisper is the judge of words, the speaker encoder that of voices. All is loaded as anyone would: snac.SNAC and
transformers' from_pretrained on orpheus/. What tuning brings is measured by the pipeline, in `reports/details.json`.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import snac_model
from check_voices import Pair, Voices, mean, voicing, worse
from listener import Ear
from measure import BASE, HEARING, UNSEEN, Row, hear, heldout, rate, recordings, row, sound
from orpheus import speak
from orpheus_model import Ids
from orpheus_turns import Encoder, Spoken, recorded
from snac import SNAC
from synthesise import HERE
from transformers import AutoTokenizer, LlamaForCausalLM

SENTENCES = 60  # that Orpheus speaks without a reference, and again with one
LIMIT = 125  # coarse frames (10 s); what is longer ran away


def load() -> tuple[Any, Any, SNAC]:
    folder = HERE / "orpheus"
    return (
        LlamaForCausalLM.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
        SNAC.from_pretrained(folder / "snac"),
    )


def listen(whisper: Any, audio: np.ndarray) -> str:
    return str(whisper.transcribe(audio.astype(np.float32), **HEARING)["text"])


def check_snac(whisper: Any) -> list[Row]:
    codec, pairs, kept = load()[2], [], []
    for voice, rows in heldout().items():
        mine = []
        for recording in recordings(rows, voice)[:3]:
            made, truth = snac_model.round_trip(codec, recording.audio), " ".join(s[2] for s in recording.sentences)
            mine.append(Pair(hear(truth, listen(whisper, recording.audio)), hear(truth, listen(whisper, made))))
            before, after = voicing(recording.audio), voicing(made)
            voiced = before > 0.6
            kept.append(float(np.nan_to_num(after[voiced]).sum() / before[voiced].sum()))
        print(
            f"  {voice}: {rate([p.before for p in mine]):.3f}, coded {rate([p.after for p in mine]):.3f}",
            file=sys.stderr,
        )
        pairs += mine
    return [
        row("SNAC's round trip, word error rate", [p.after for p in pairs], rate, "<= 1"),
        row("SNAC's round trip, word errors added", pairs, worse, "<= 0.06"),
        row("SNAC's round trip, share of the voicing kept", kept, mean, ">= 0.75"),
    ]


def say(
    model: Any, words: Any, codec: SNAC, texts: list[str], names: list[str], references: list[list[Spoken]]
) -> tuple[list[np.ndarray], list[bool]]:
    """Sounds, and which ended by themselves and are not empty."""
    sounds, good, ids = [], [], Ids.of(words, codec.codebook_size)
    for start in range(0, len(texts), 30):
        part = slice(start, start + 30)
        for codes in speak(model, words, ids, texts[part], names[part], references[part], limit=LIMIT, seed=start):
            sounds.append(snac_model.decode(codec, codes if len(codes) else np.zeros((1, 7), np.int64)))
            good.append(4 < len(codes) < LIMIT)
    return sounds, good


def encoded(encoder: Encoder, item: dict[str, Any], random: np.random.Generator) -> Spoken:
    return recorded(encoder, item["voice"], item["text"], sound(item), np.array([b for _, b in item["words"]]), random)


def check_orpheus(whisper: Any) -> list[Row]:
    """Without a reference, then with one: whether it says the words, and in whose voice."""
    model, words, codec = load()
    rows = heldout()
    texts = [item["text"] for item in rows[BASE[0]][:SENTENCES]]
    names = [BASE[i % len(BASE)] for i in range(SENTENCES)]
    plain, ended = say(model, words, codec, texts, names, [])
    heard = [hear(text, listen(whisper, made)) for text, made in zip(texts, plain, strict=True)]
    true = [rows[name][i] for i, name in enumerate(names)]
    coded = [hear(item["text"], listen(whisper, snac_model.round_trip(codec, sound(item)))) for item in true]
    voices = Voices.enrol()
    right = [float(a == b) for a, b in zip(voices.name(plain), names, strict=True)]
    pairs = [Pair(a, b) for a, b in zip(coded, heard, strict=True)]
    out = [
        row("Orpheus without a reference, word error rate", heard, rate, "<= 1"),
        row("Orpheus without a reference, word errors beyond SNAC's", pairs, worse, "<= 0.08"),
        row("Orpheus without a reference, the voice asked for is named", right, mean, ">= 0"),
        row("Orpheus' empty or endless sentences", [float(not e) for e in ended], mean, "<= 0.02"),
    ]
    random, encoder = np.random.default_rng(0), Encoder(codec, Ear.load())
    for what, which in (("base", BASE), ("unseen", UNSEEN)):
        names = [which[i % len(which)] for i in range(SENTENCES)]
        references = [[encoded(encoder, rows[name][70 + i], random)] for i, name in enumerate(names)]
        cloned, _ = say(model, words, codec, texts, ["voice"] * SENTENCES, references)
        right = [float(a == b) for a, b in zip(voices.name(cloned), names, strict=True)]
        heard = [hear(text, listen(whisper, made)) for text, made in zip(texts, cloned, strict=True)]
        out.append(row(f"Orpheus with a reference, {what} voices, voice named", right, mean, ">= 0"))
        out.append(row(f"Orpheus with a reference, {what} voices, word error rate", heard, rate, "<= 1"))
    return out


ORPHEUS_CHECKS = {"snac": check_snac, "orpheus": check_orpheus}
