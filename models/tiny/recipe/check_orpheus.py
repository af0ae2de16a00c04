"""Measures the tiny SNAC and the tiny Orpheus on sentences that no training saw; `check.py` writes the rows down.

Whisper is the judge of words, the speaker encoder that of voices. All is loaded as anyone would: snac.SNAC and
transformers' from_pretrained on orpheus/. Tuning is rehearsed here with a LoRA of its own; the pipeline's figures are
in `reports/details.json`.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import snac_model
import torch
from check_voices import Pair, Voices, mean, voicing, worse
from corpus import Corpus
from measure import BASE, HEARING, UNSEEN, Row, hear, heldout, rate, recordings, row, sound
from orpheus import losses, speak, whole_loss
from orpheus_model import Ids
from orpheus_turns import Spoken, compose, recorded, stacked
from peft import LoraConfig, get_peft_model
from snac import SNAC
from synthesise import HERE, WORK
from transformers import AutoTokenizer, LlamaForCausalLM

SENTENCES = 60  # that Orpheus speaks without a reference, and again with one
LIMIT = 125  # coarse frames (10 s); what is longer ran away
TUNED = "marina"
CLIPS, STEPS = 107, 120  # of the rehearsal, as many as the demo has


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


def encoded(codec: SNAC, item: dict[str, Any], random: np.random.Generator) -> Spoken:
    return recorded(codec, item["voice"], item["text"], sound(item), np.array([b for _, b in item["words"]]), random)


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
    random = np.random.default_rng(0)
    for what, which in (("base", BASE), ("unseen", UNSEEN)):
        names = [which[i % len(which)] for i in range(SENTENCES)]
        references = [[encoded(codec, rows[name][70 + i], random)] for i, name in enumerate(names)]
        cloned, _ = say(model, words, codec, texts, ["voice"] * SENTENCES, references)
        right = [float(a == b) for a, b in zip(voices.name(cloned), names, strict=True)]
        heard = [hear(text, listen(whisper, made)) for text, made in zip(texts, cloned, strict=True)]
        out.append(row(f"Orpheus with a reference, {what} voices, voice named", right, mean, ">= 0"))
        out.append(row(f"Orpheus with a reference, {what} voices, word error rate", heard, rate, "<= 1"))
    return out


class Clips:
    """What `compose` takes its sentences from: those of one voice."""

    def __init__(self, spoken: list[Spoken]) -> None:
        self.spoken = {TUNED: spoken}


def check_tuned(whisper: Any) -> list[Row]:
    """A LoRA on a voice that no training saw, before and after."""
    model, words, codec = load()
    ids, random = Ids.of(words, codec.codebook_size), np.random.default_rng(0)
    corpus, rows, voices = Corpus(WORK), heldout(), Voices.enrol()
    clips = [u for u in corpus.of("unseen") if u.voice == TUNED][:CLIPS]
    spoken = [recorded(codec, TUNED, u.text, corpus[u], np.array([b for _, b in u.words]), random) for u in clips]
    texts = [item["text"] for item in rows[TUNED][:SENTENCES]]
    before, _ = say(model, words, codec, texts, [TUNED] * SENTENCES, [])
    tuned = tune(model, words, ids, Clips(spoken), random)
    after, ended = say(tuned, words, codec, texts, [TUNED] * SENTENCES, [])
    heard = [
        [hear(t, listen(whisper, made)) for t, made in zip(texts, sounds, strict=True)] for sounds in (before, after)
    ]
    right = [float(name == TUNED) for name in voices.name(after)]
    return [
        row("Orpheus tuned on an unseen voice, voice named", right, mean, ">= 0.8"),
        row("Orpheus tuned on an unseen voice, word error rate", heard[1], rate, "<= 1"),
        row(
            "Orpheus tuned, word errors added to the base's",
            [Pair(a, b) for a, b in zip(*heard, strict=True)],
            worse,
            "<= 0.05",
        ),
        row("Orpheus tuned, empty or endless sentences", [float(not e) for e in ended], mean, "<= 0.02"),
    ]


def tune(model: Any, words: Any, ids: Ids, clips: Clips, random: np.random.Generator, batch: int = 8) -> Any:
    torch.manual_seed(0)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    peft = get_peft_model(
        model, LoraConfig(r=32, lora_alpha=32, use_rslora=True, lora_dropout=0.05, target_modules=targets)
    )
    inner = peft.get_base_model()
    optimiser = torch.optim.AdamW([p for p in peft.parameters() if p.requires_grad], 1e-3, betas=(0.9, 0.98))
    began = time.time()
    peft.train()
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 10) * (1 - step / STEPS)
        rows = [compose(words, ids, clips, random, simple=True, known=1.0) for _ in range(batch)]
        loss = whole_loss(losses(inner, ids, *stacked(rows, ids)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 20 == 0:
            print(f"  tuning: step {step}, loss {loss.item():.3f}, {time.time() - began:.0f} s", file=sys.stderr)
    return inner.eval()


ORPHEUS_CHECKS = {"snac": check_snac, "orpheus": check_orpheus, "tuned": check_tuned}
