"""Measures codec, speaker encoder and CSM on sentences that no training saw; `check.py` writes the rows down.

Whisper is the judge of words, the speaker encoder that of voices (enrolled with true recordings). All is loaded as
anyone would: from_pretrained on csm/ and speaker/.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from codec_model import round_trip
from csm import speak
from csm_turns import Spoken, encode_corpus
from measure import BASE, HEARING, UNSEEN, Heard, Row, hear, heldout, rate, recordings, row, sound
from speaker import embed
from synthesise import HERE, RATE, WORK
from transformers import CsmForConditionalGeneration, CsmProcessor, WavLMForXVector

SENTENCES = 60  # that the CSM speaks without a reference, and again with references
LIMIT = 250  # frames (10 s); what is longer ran away


@dataclass(frozen=True)
class Pair:
    """The same words before and after something was done to their sound."""

    before: Heard
    after: Heard


def worse(pairs: list[Pair]) -> float:
    return rate([p.after for p in pairs]) - rate([p.before for p in pairs])


def mean(items: list[float]) -> float:
    return float(np.mean(items))


def load() -> tuple[Any, Any]:
    model = CsmForConditionalGeneration.from_pretrained(HERE / "csm").eval()
    return model, CsmProcessor.from_pretrained(HERE / "csm")


def listen(whisper: Any, audio: np.ndarray) -> str:
    return str(whisper.transcribe(audio.astype(np.float32), **HEARING)["text"])


def voicing(audio: np.ndarray) -> np.ndarray:
    """Per 20 ms the best normalised autocorrelation at 57 to 400 Hz; NaN where it is quiet."""
    frames = np.lib.stride_tricks.sliding_window_view(audio, 640)[::320]
    frames = frames - frames.mean(1, keepdims=True)
    echo = np.fft.irfft(np.abs(np.fft.rfft(frames, 2048)) ** 2)[:, :640] / (1 - np.arange(640) / 640)
    best = echo[:, 40:280].max(1) / (echo[:, 0] + 1e-9)
    return np.where((frames**2).mean(1) < 0.03**2, np.nan, best)


def check_codec(whisper: Any) -> list[Row]:
    codec, pairs, kept, level = load()[0].codec_model, [], [], []
    for voice, rows in heldout().items():
        mine = []
        for recording in recordings(rows, voice)[:3]:
            made, truth = round_trip(codec, recording.audio), " ".join(s[2] for s in recording.sentences)
            mine.append(Pair(hear(truth, listen(whisper, recording.audio)), hear(truth, listen(whisper, made))))
            before, after = voicing(recording.audio), voicing(made)
            voiced = before > 0.6
            kept.append(float(np.nan_to_num(after[voiced]).sum() / before[voiced].sum()))
            level.append(float(10 * np.log10(np.mean(made**2) / np.mean(recording.audio**2))))
        print(
            f"  {voice}: {rate([p.before for p in mine]):.3f}, coded {rate([p.after for p in mine]):.3f}",
            file=sys.stderr,
        )
        pairs += mine
    return [
        row("codec's round trip, word error rate", [p.after for p in pairs], rate, "<= 1"),
        row("codec's round trip, word errors added", pairs, worse, "<= 0.05"),
        row("codec's round trip, share of the voicing kept", kept, mean, ">= 0.8"),
        row("codec's round trip, level lost in dB", level, lambda x: abs(mean(x)), "<= 2"),
    ]


@dataclass(frozen=True)
class Voices:
    """The speaker encoder with every voice enrolled by ten true recordings."""

    model: Any
    names: list[str]
    centres: torch.Tensor

    @classmethod
    def enrol(cls) -> Voices:
        model, rows = WavLMForXVector.from_pretrained(HERE / "speaker").eval(), heldout()
        centres = [embed(model, [sound(item) for item in items[:10]]).mean(0) for items in rows.values()]
        return cls(model, list(rows), torch.nn.functional.normalize(torch.stack(centres), dim=-1))

    def name(self, sounds: Sequence[np.ndarray]) -> list[str]:
        long = [np.pad(s, (0, max(0, RATE - len(s)))) for s in sounds]
        return [self.names[int(i)] for i in (embed(self.model, long) @ self.centres.T).argmax(1)]


def check_speaker(whisper: Any) -> list[Row]:
    voices, codec, right = Voices.enrol(), load()[0].codec_model, []
    for voice, rows in heldout().items():
        named = voices.name([round_trip(codec, sound(item)) for item in rows[10:30]])
        right += [float(name == voice) for name in named]
        print(f"  {voice}: {mean([float(name == voice) for name in named]):.2f}", file=sys.stderr)
    return [row("true recordings through the codec whose voice is named", right, mean, ">= 0.95")]


def say(
    model: Any, words: Any, texts: list[str], references: list[list[Spoken]]
) -> tuple[list[np.ndarray], list[bool]]:
    """Sounds, and which ended by themselves and are not empty."""
    sounds, good = [], []
    for start in range(0, len(texts), 20):
        for codes in speak(model, words, texts[start : start + 20], references[start : start + 20], 0.6, LIMIT, start):
            frames = torch.from_numpy(codes[: max(1, len(codes))].astype(np.int64)).T[None]
            with torch.no_grad():
                empty = torch.zeros(1, model.config.num_codebooks, 1, dtype=torch.long)
                made = model.codec_model.decode(frames if len(codes) else empty).audio_values[0, 0].numpy()
            sounds.append(made)
            good.append(8 < len(codes) < LIMIT)
    return sounds, good


def check_csm(whisper: Any) -> list[Row]:
    """Without a reference, then with one of a sentence pair: whether it says the words, and in whose voice."""
    model, words = load()
    spoken: dict[str, list[Spoken]] = {}
    for item in encode_corpus(WORK)["heldout"]:
        spoken.setdefault(item.voice, []).append(item)
    texts = [item.text for item in spoken[BASE[0]][:SENTENCES]]
    plain, ended = say(model, words, texts, [[]] * len(texts))
    heard = [hear(text, listen(whisper, made)) for text, made in zip(texts, plain, strict=True)]
    codec = [
        hear(t, listen(whisper, round_trip(model.codec_model, sound(i)))) for t, i in zip(texts, mixed(), strict=True)
    ]
    rows = [
        row("CSM without a reference, word error rate", heard, rate, "<= 1"),
        row(
            "CSM without a reference, word errors beyond the codec's",
            [Pair(a, b) for a, b in zip(codec, heard, strict=True)],
            worse,
            "<= 0.08",
        ),
        row("CSM's empty or endless sentences", [float(not e) for e in ended], mean, "<= 0.02"),
    ]
    voices = Voices.enrol()
    for what, names, goal in (("base", BASE, ">= 0.6"), ("unseen", UNSEEN, ">= 0")):
        which = [names[i % len(names)] for i in range(len(texts))]
        references = [pair(spoken[name], 70 + i) for i, name in enumerate(which)]
        cloned, _ = say(model, words, texts, references)
        right = [float(name == true) for name, true in zip(voices.name(cloned), which, strict=True)]
        heard = [hear(text, listen(whisper, made)) for text, made in zip(texts, cloned, strict=True)]
        rows.append(row(f"CSM with a reference, {what} voices, voice named", right, mean, goal))
        rows.append(row(f"CSM with a reference, {what} voices, word error rate", heard, rate, "<= 1"))
    return rows


def mixed() -> list[dict[str, Any]]:
    """The sentences of `check_csm` as true recordings, the base voices in turn."""
    rows = heldout()
    return [rows[BASE[i % len(BASE)]][i] for i in range(SENTENCES)]


def pair(items: list[Spoken], at: int) -> list[Spoken]:
    return [items[at % len(items)], items[(at + 1) % len(items)]]


VOICE_CHECKS = {"codec": check_codec, "speaker": check_speaker, "csm": check_csm}
