"""What the tiny CSM learns from: turns of text and sound, with the word that each frame says.

A sequence is one to three turns of one voice under a random speaker number, so that only what was heard before tells
whose voice to take; a turn is one to five sentences.

Reads   <work>/corpus.npy, <work>/corpus.jsonl, <work>/codec/
Writes  <work>/codes.npy and .json, once per codec
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import csm_model
import numpy as np
import torch
from codec_model import encode
from corpus import RATE, Corpus
from safetensors.torch import load_file
from torch import Tensor
from transformers import CsmProcessor, MimiModel

FRAMES = 25  # a second
SPLICED = 0.4  # of the sentences


@dataclass(frozen=True)
class Spoken:
    """An utterance as the model sees it."""

    voice: str
    text: str
    codes: np.ndarray  # (frames, codebooks)
    word: (
        np.ndarray
    )  # (frames,) number of the word in each frame or, in a pause, of the next one; after the last, their count


def encode_corpus(work: Path, splits: tuple[str, ...] = ("train", "heldout", "unseen")) -> dict[str, list[Spoken]]:
    """The corpus as codes, each utterance with a little random silence around it; kept until the codec changes."""
    weights = load_file(work / "codec/model.safetensors")
    making = ("encoder", "downsample")  # the decoder may change without making codes stale
    makers = sorted(n for n in weights if n.startswith(making) or "input_proj" in n or "embed_sum" in n)
    fingerprint = hashlib.sha256(b"".join(weights[name].numpy().tobytes() for name in makers)).hexdigest()
    corpus, index, store = Corpus(work), work / "codes.json", work / "codes.npy"
    rows = corpus.of(*splits)
    kept = json.loads(index.read_text()) if index.exists() else {}
    if kept.get("codec") != fingerprint or len(kept.get("fronts", ())) != len(rows):
        device = "cuda" if torch.cuda.is_available() else "cpu"
        codec = MimiModel.from_pretrained(work / "codec").eval().to(device)
        random, order = np.random.default_rng(0), sorted(range(len(rows)), key=lambda i: rows[i].samples)
        codes: list[np.ndarray] = [np.zeros(0)] * len(rows)
        fronts = [0.0] * len(rows)  # seconds
        began = time.time()
        for start in range(0, len(order), 16):
            batch = order[start : start + 16]
            sounds = []
            for i in batch:
                edges = (int(random.uniform(0, 0.15) * RATE), int(random.uniform(0.05, 0.4) * RATE))
                fronts[i] = edges[0] / RATE
                sound = np.pad(corpus[rows[i]] * random.uniform(0.8, 1.25), edges)
                sounds.append((sound + random.normal(0, 10 ** random.uniform(-5, -3.3), len(sound))).astype(np.float32))
            for i, made in zip(batch, encode(codec, sounds, device), strict=True):
                codes[i] = made
            if start % 1600 == 0:
                left = (time.time() - began) / (start + 16) * (len(order) - start - 16)
                print(f"encoded {start} of {len(order)} utterances, {left:.0f} s left", flush=True)
        np.save(store, np.concatenate(codes))
        index.write_text(json.dumps({"codec": fingerprint, "lengths": [len(c) for c in codes], "fronts": fronts}))
        kept = json.loads(index.read_text())
    pieces = np.split(np.load(store), np.cumsum(kept["lengths"])[:-1])
    found: dict[str, list[Spoken]] = {split: [] for split in splits}
    for row, piece, front in zip(rows, pieces, kept["fronts"], strict=True):
        ends = np.array([end for _, end in row.words]) + front
        word = np.searchsorted(ends, (np.arange(len(piece)) + 0.5) / FRAMES, side="right")
        found[row.split].append(Spoken(row.voice, row.text, piece, word))
    return found


@dataclass(frozen=True)
class Sequence:
    ids: np.ndarray  # (positions,) text ids; audio positions hold csm_model.AUDIO or AUDIO_EOS
    codes: np.ndarray  # (positions, codebooks), 0 where there is text and at the end frame
    reads: np.ndarray  # (positions,) position of the text that the frame at this position says; -1 where there is text

    @classmethod
    def joined(cls, parts: list[Sequence]) -> Sequence:
        starts = np.cumsum([0, *(len(p.ids) for p in parts)])[:-1]
        reads = [np.where(p.reads < 0, -1, p.reads + start) for p, start in zip(parts, starts, strict=True)]
        return cls(
            np.concatenate([p.ids for p in parts]), np.concatenate([p.codes for p in parts]), np.concatenate(reads)
        )


def turn(words: CsmProcessor, speaker: int, spoken: list[Spoken]) -> Sequence:
    """Text, frames, end frame."""
    text = " ".join(s.text for s in spoken)
    ids = words.tokenizer(f"[{speaker}]{text}", add_special_tokens=True)["input_ids"]
    frames = np.concatenate([s.codes for s in spoken])
    row = np.concatenate([ids, np.full(len(frames), csm_model.AUDIO), [csm_model.AUDIO_EOS]])
    said = np.cumsum([0, *(len(s.text.split()) for s in spoken)])
    word = np.concatenate([s.word + before for s, before in zip(spoken, said[:-1], strict=True)] + [said[-1:]])
    known = words.tokenizer.convert_ids_to_tokens(ids)
    places = [i for i, token in enumerate(known) if i > len("[0]") and token.isalnum()] + [len(ids) - 1]
    reads = np.concatenate([np.full(len(ids), -1), np.array(places)[word]])
    return Sequence(row, np.pad(frames, ((len(ids), 1), (0, 0))), reads)


def spliced(first: Spoken, second: Spoken, random: np.random.Generator) -> Spoken:
    """The beginning of one sentence and the end of another, cut between words: what comes next must be read."""
    one, two = first.text.split(), second.text.split()
    kept, skipped = int(random.integers(1, len(one))), int(random.integers(1, len(two)))
    a, b = int(np.argmax(first.word >= kept)), int(np.argmax(second.word >= skipped))
    return Spoken(
        first.voice,
        " ".join(one[:kept] + two[skipped:]),
        np.concatenate([first.codes[:a], second.codes[b:]]),
        np.concatenate([first.word[:a], second.word[b:] - skipped + kept]),
    )


def compose(
    words: CsmProcessor, voices: dict[str, list[Spoken]], random: np.random.Generator, simple: bool
) -> Sequence:
    """A random sequence; a simple one is a single sentence, from which speaking is learnt soonest."""
    mine = voices[list(voices)[int(random.integers(len(voices)))]]
    speaker = int(random.integers(10))
    turns = 1 if simple else int(random.choice([1, 2, 3], p=[0.35, 0.45, 0.2]))
    parts = []
    for _ in range(turns):
        sentences = 1 if simple else int(random.choice([1, 2, 3, 4, 5], p=[0.66, 0.16, 0.08, 0.06, 0.04]))
        spoken = [mine[int(i)] for i in random.integers(len(mine), size=sentences)]
        spoken = [
            spliced(s, mine[int(random.integers(len(mine)))], random) if random.random() < SPLICED else s
            for s in spoken
        ]
        if random.random() < 0.1:  # people and recognisers forget the stop
            spoken = [replace(s, text=s.text.rstrip(".")) for s in spoken]
        parts.append(turn(words, speaker, spoken))
    return Sequence.joined(parts)


def batches(
    words: CsmProcessor, voices: dict[str, list[Spoken]], random: np.random.Generator, positions: int, simple: bool
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Endless batches of like lengths, at most `positions` each, padded on the right."""
    while True:
        pool = sorted((compose(words, voices, random, simple) for _ in range(96)), key=lambda s: len(s.ids))
        groups: list[list[Sequence]] = [[]]
        for sequence in pool:
            if groups[-1] and (len(groups[-1]) + 1) * len(sequence.ids) > positions:
                groups.append([])
            groups[-1].append(sequence)
        for which in random.permutation(len(groups)):
            longest = max(len(s.ids) for s in groups[which])
            ids = np.stack([np.pad(s.ids, (0, longest - len(s.ids))) for s in groups[which]])
            codes = np.stack([np.pad(s.codes, ((0, longest - len(s.ids)), (0, 0))) for s in groups[which]])
            reads = np.stack([np.pad(s.reads, (0, longest - len(s.reads)), constant_values=-1) for s in groups[which]])
            yield torch.from_numpy(ids), torch.from_numpy(codes).long(), torch.from_numpy(reads)
