"""What the tiny GPT-SoVITS learns from: utterances with their codes, phones, and which phone each code says.

Two rows in five are spliced between words, of codes: what comes next must be read and cannot be guessed.

Reads   <work>/corpus.npy, <work>/corpus.jsonl, <work>/sovits-hubert.pt, <work>/listener.pt
Writes  <work>/sovits-clips.npz, once per HuBERT
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from corpus import RATE, WORK, Corpus, Utterance
from listener import STEP, Ear, words_of
from sovits_hubert import Hearing
from torch import Tensor

from timbre import audio
from timbre.families.sovits.spectrogram import RATE as OUT
from timbre.families.sovits.text import IDS, ids
from timbre.families.sovits.text import word as phones_of

CODE = 640  # samples at 16 kHz
EDGES = ((0.0, 0.2), (0.05, 0.35))  # seconds of near-silence before and after
STOP = IDS["."]


@dataclass(frozen=True)
class Clip:
    """An utterance as the model sees it."""

    row: Utterance
    codes: np.ndarray  # (M) int
    word: np.ndarray  # (M) number of the word there or, in a pause, of the next; after the last, their count
    within: np.ndarray  # (M) how far the word is there, 0 to 1
    heard: np.ndarray  # (M) the listener's phone

    @property
    def words(self) -> list[str]:
        return words_of(self.row.text)


def sound_of(corpus: Corpus, row: Utterance) -> tuple[np.ndarray, float]:
    """At 16 kHz, the same each time: a little silence around it, louder or softer, some noise. And what is before."""
    random = np.random.default_rng(int(hashlib.sha256(row.id.encode()).hexdigest()[:8], 16))
    edges = [int(random.uniform(*edge) * RATE) for edge in EDGES]
    sound = np.pad(corpus[row] * random.uniform(0.7, 1.3), edges)
    sound += random.normal(0, 10 ** random.uniform(-5, -3.3), len(sound))
    return sound.astype(np.float32), edges[0] / RATE


def sound_out(corpus: Corpus, row: Utterance) -> Tensor:
    """At 32 kHz."""
    return torch.from_numpy(audio.resample(sound_of(corpus, row)[0], RATE, OUT))


@torch.no_grad()
def codes_of(hearing: Hearing, sound: np.ndarray) -> np.ndarray:
    states = hearing.hubert(torch.from_numpy(sound)[None]).last_hidden_state.transpose(1, 2)
    return hearing.nearest(hearing.ssl_proj(states)[0].T).numpy()


def clip_of(hearing: Hearing, ear: Ear, corpus: Corpus, row: Utterance) -> Clip:
    sound, before = sound_of(corpus, row)
    codes = codes_of(hearing, sound)
    times = (np.arange(len(codes)) + 0.5) * CODE / RATE
    starts, ends = np.array(row.words).T + before
    word = np.searchsorted(ends, times, side="right")
    here = np.minimum(word, len(ends) - 1)
    within = np.clip((times - starts[here]) / np.maximum(ends - starts, 1e-3)[here], 0, 1)
    heard = ear.phones(torch.from_numpy(sound)[None])[0].argmax(-1).numpy()
    at = np.minimum((times * RATE / STEP).astype(int), len(heard) - 1)
    return Clip(row, codes, word, within, heard[at])


def load_hearing(work: Path = WORK) -> Hearing:
    state = torch.load(work / "sovits-hubert.pt", weights_only=True)["model"]
    hearing = Hearing(state["states_head.bias"].shape[0])
    hearing.load_state_dict(state)
    return hearing.eval()


def clips(per_voice: int, work: Path = WORK) -> dict[str, list[Clip]]:
    """Of each voice; kept on disk until HuBERT changes."""
    corpus, path = Corpus(work), work / "sovits-clips.npz"
    chosen: dict[str, list[Utterance]] = {}
    for row in corpus.of("train"):
        if len(mine := chosen.setdefault(row.voice, [])) < per_voice:
            mine.append(row)
    rows = [row for mine in chosen.values() for row in mine]
    hearing = load_hearing(work)
    weights = b"".join(weight.numpy().tobytes() for weight in hearing.state_dict().values())
    key = hashlib.sha256(weights + " ".join(row.id for row in rows).encode()).hexdigest()
    kept = np.load(path) if path.exists() else None
    if kept is None or str(kept["key"]) != key:
        ear, made, began = Ear.load(work), list[Clip](), time.time()
        for row in rows:
            made.append(clip_of(hearing, ear, corpus, row))
            if len(made) % 500 == 0:
                print(f"{len(made)} of {len(rows)} clips have codes, after {time.time() - began:.0f} s", flush=True)
        parts = {name: np.concatenate([getattr(clip, name) for clip in made]) for name in ("codes", "word", "heard")}
        within = np.concatenate([clip.within for clip in made]).astype(np.float32)
        lengths = np.array([len(clip.codes) for clip in made])
        np.savez(path, key=key, lengths=lengths, within=within, **{n: p.astype(np.int16) for n, p in parts.items()})
        kept = np.load(path)
    cuts = np.cumsum(kept["lengths"])[:-1]
    pieces = [np.split(kept[name], cuts) for name in ("codes", "word", "within", "heard")]
    out: dict[str, list[Clip]] = {}
    for row, *parts in zip(rows, *pieces, strict=True):
        codes, word, within, heard = parts
        out.setdefault(row.voice, []).append(Clip(row, codes.astype(int), word.astype(int), within, heard.astype(int)))
    return out


@dataclass(frozen=True)
class Said:
    """A row for stage 1."""

    phones: list[int]
    codes: np.ndarray  # (M)
    first: np.ndarray  # (M) the first of the phones that may be what the code says,
    last: np.ndarray  # (M) and the last
    heard: np.ndarray  # (M)


def said(words: list[str], codes: np.ndarray, word: np.ndarray, within: np.ndarray, heard: np.ndarray) -> Said:
    counts = [len(phones_of(one)) for one in words]
    starts = np.cumsum([0, *counts])
    phones = ids(" ".join(words) + ".")
    shift = len(phones) - starts[-1] - 1  # a short text begins with a full stop
    here = np.minimum(word, len(words) - 1)
    place = starts[here] + within * np.array(counts)[here] + shift
    after = word >= len(words)
    first = np.where(after, len(phones) - 1, np.clip(np.floor(place - 0.7), starts[here] + shift, None))
    last = np.where(after, len(phones) - 1, np.clip(np.floor(place + 0.7), None, starts[here + 1] - 1 + shift))
    return Said(phones, codes, first.astype(int), last.astype(int), heard)


def whole(clip: Clip) -> Said:
    return said(clip.words, clip.codes, clip.word, clip.within, clip.heard)


def spliced(first: Clip, second: Clip, random: np.random.Generator) -> Said:
    """The beginning of one utterance and the end of another of the same voice, cut between words."""
    one, two = first.words, second.words
    kept, skipped = int(random.integers(1, len(one))), int(random.integers(1, len(two)))
    a, b = int((first.word < kept).sum()), int((second.word < skipped).sum())
    word = np.concatenate((first.word[:a], second.word[b:] - skipped + kept))
    pairs = [(getattr(first, name)[:a], getattr(second, name)[b:]) for name in ("codes", "within", "heard")]
    codes, within, heard = (np.concatenate(pair) for pair in pairs)
    return said([*one[:kept], *two[skipped:]], codes, word, within, heard)


def joined(rows: list[Said]) -> Said:
    """One after the other, as a reference and what is said after it."""
    starts = np.cumsum([0, *(len(row.phones) for row in rows)])
    phones = [phone for row in rows for phone in row.phones]
    return Said(
        phones, np.concatenate([row.codes for row in rows]),
        np.concatenate([row.first + start for row, (start, _) in zip(rows, pairwise(starts), strict=True)]),
        np.concatenate([row.last + start for row, (start, _) in zip(rows, pairwise(starts), strict=True)]),
        np.concatenate([row.heard for row in rows]),
    )  # fmt: skip
