"""What the tiny Orpheus learns from: turns of text and sound, with the word that each code says.

A sequence is one to three turns of one voice. A base voice goes by its name or, as any other, by a random one: then
only what was heard before tells whose voice to take. Two sentences in five are spliced between words, anew all the
time: what comes next must be read, not guessed.

Reads   <work>/corpus.npy, <work>/corpus.jsonl, <work>/snac/
Writes  <work>/snac-codes.npy and .json, once per codec
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import snac_model
import torch
from corpus import RATE, Corpus, Utterance
from listener import STEP, Ear
from orpheus_model import LEVELS, SLOTS, Ids
from snac import SNAC
from torch import Tensor
from transformers import PreTrainedTokenizerFast

FRAME = snac_model.COARSE / RATE  # seconds
HEARD = RATE / STEP  # the listener's frames per second
MOMENTS = np.array([0.5, 0.25, 0.125, 0.375, 0.75, 0.625, 0.875])  # of the slots within a frame
SPLICED = 0.4  # of the sentences
FADE = 80  # samples of cross-fade where two pieces meet, 5 ms


@dataclass(frozen=True)
class Spoken:
    """An utterance as the model sees it."""

    voice: str
    text: str
    codes: np.ndarray  # (frames, 7)
    word: np.ndarray  # (frames, 7) number of the word there or, in a pause, of the next; after the last, their count
    phone: np.ndarray  # (frames, 7) what the listener hears there


@dataclass(frozen=True)
class Encoder:
    """What turns sound into what the model sees."""

    codec: SNAC
    ear: Ear

    def phones(self, sound: np.ndarray, frames: int) -> np.ndarray:
        """(frames, 7) phones, of the listener's frame nearest to each slot's moment."""
        padded = np.pad(sound, (0, frames * snac_model.COARSE - len(sound)))
        heard = self.ear.phones(torch.from_numpy(padded)[None])[0].argmax(-1).numpy()
        moments = (np.arange(frames)[:, None] + MOMENTS) * FRAME
        return heard[np.minimum((moments * HEARD).astype(int), len(heard) - 1)]


def recorded(
    encoder: Encoder, voice: str, text: str, sound: np.ndarray, ends: np.ndarray, random: np.random.Generator
) -> Spoken:
    """Sound as codes, with a little random silence and noise around it. `ends` are the words', in seconds."""
    edges = (int(random.uniform(0, 0.15) * RATE), int(random.uniform(0.05, 0.3) * RATE))
    sound = np.pad(sound * random.uniform(0.8, 1.25), edges)
    sound = (sound + random.normal(0, 10 ** random.uniform(-5, -3.3), len(sound))).astype(np.float32)
    codes = snac_model.encode(encoder.codec, sound)
    moments = (np.arange(len(codes))[:, None] + MOMENTS) * FRAME
    word = np.searchsorted(ends + edges[0] / RATE, moments, side="right")
    return Spoken(voice, text, codes, word, encoder.phones(sound, len(codes)))


def whole(encoder: Encoder, corpus: Corpus, row: Utterance, random: np.random.Generator) -> Spoken:
    return recorded(encoder, row.voice, row.text, corpus[row], np.array([end for _, end in row.words]), random)


def spliced(
    encoder: Encoder, corpus: Corpus, first: Utterance, second: Utterance, random: np.random.Generator
) -> Spoken:
    """The beginning of one utterance and the end of another of the same voice, cut between words."""
    one, two = first.text.split(), second.text.split()
    kept, skipped = int(random.integers(1, len(one))), int(random.integers(1, len(two)))
    leave = (first.words[kept - 1][1] + first.words[kept][0]) / 2  # seconds
    enter = (second.words[skipped - 1][1] + second.words[skipped][0]) / 2
    a, b = corpus[first][: int(leave * RATE) + FADE], corpus[second][int(enter * RATE) :]
    fade = np.linspace(1, 0, FADE, dtype=np.float32)
    joint = a[-FADE:] * fade + b[:FADE] * fade[::-1]
    ends = [end for _, end in first.words[:kept]] + [end - enter + leave for _, end in second.words[skipped:]]
    text = " ".join(one[:kept] + two[skipped:])
    sound = np.concatenate([a[:-FADE], joint, b[FADE:]])
    return recorded(encoder, first.voice, text, sound, np.minimum(ends, len(sound) / RATE), random)


def fingerprint(codec: SNAC) -> str:
    """Of what makes codes: the decoder may change without making them stale."""
    makers = sorted(name for name in codec.state_dict() if not name.startswith("decoder."))
    return hashlib.sha256(b"".join(codec.state_dict()[name].numpy().tobytes() for name in makers)).hexdigest()


def encode_rows(work: Path, encoder: Encoder, rows: list[Utterance]) -> list[Spoken]:
    """Utterances as codes, kept on disk until the codec or the choice of utterances changes."""
    store, index, corpus = work / "snac-codes.npy", work / "snac-codes.json", Corpus(work)
    key = {"codec": fingerprint(encoder.codec), "rows": [row.id for row in rows]}
    kept = json.loads(index.read_text()) if index.exists() else {}
    if kept.get("key") != key:
        random, began, spoken = np.random.default_rng(0), time.time(), []
        for number, row in enumerate(rows):
            spoken.append(whole(encoder, corpus, row, random))
            if number % 500 == 499:
                left = (time.time() - began) / (number + 1) * (len(rows) - number - 1)
                print(f"encoded {number + 1} of {len(rows)} utterances, {left:.0f} s left", flush=True)
        np.save(store, np.concatenate([np.stack([s.codes, s.word, s.phone]) for s in spoken], 1).astype(np.int16))
        kept = {"key": key, "lengths": [len(s.codes) for s in spoken]}
        index.write_text(json.dumps(kept))
    pieces = np.split(np.load(store), np.cumsum(kept["lengths"])[:-1], axis=1)
    return [Spoken(row.voice, row.text, *piece) for row, piece in zip(rows, pieces, strict=True)]


class Pool:
    """The utterances that sequences are made of; `refresh` exchanges some for new ones."""

    def __init__(self, work: Path, encoder: Encoder, per_voice: int, limit: int = 1500) -> None:
        self.encoder, self.corpus, self.limit = encoder, Corpus(work), limit
        self.rows: dict[str, list[Utterance]] = {}
        for row in self.corpus.of("train"):
            self.rows.setdefault(row.voice, []).append(row)
        first = [row for rows in self.rows.values() for row in rows[:per_voice]]
        self.spoken: dict[str, list[Spoken]] = {voice: [] for voice in self.rows}
        for spoken in encode_rows(work, encoder, first):
            self.spoken[spoken.voice].append(spoken)

    def refresh(self, count: int, random: np.random.Generator) -> None:
        """Adds utterances, spliced ones among them; where a voice has enough, in place of older ones."""
        for _ in range(count):
            voice = str(random.choice(list(self.rows)))
            first, second = (self.rows[voice][int(i)] for i in random.integers(len(self.rows[voice]), size=2))
            new = (
                spliced(self.encoder, self.corpus, first, second, random)
                if random.random() < SPLICED * 1.5  # the first utterances are whole
                else whole(self.encoder, self.corpus, first, random)
            )
            known = self.spoken[voice]
            if len(known) < self.limit:
                known.append(new)
            else:
                known[int(random.integers(len(known)))] = new


@dataclass(frozen=True)
class TokenRow:
    ids: np.ndarray  # (positions,)
    reads: np.ndarray  # (positions,) index of the text that the code here says; -1 where there is none
    phones: np.ndarray  # (positions,) what is heard in the code here; -1 where there is none
    places: np.ndarray  # (positions,) where the row stands; not 0, 1, 2 … once codes are left out

    @classmethod
    def joined(cls, parts: list[TokenRow]) -> TokenRow:
        starts = np.cumsum([0, *(len(p.ids) for p in parts)])[:-1]
        reads = [np.where(p.reads < 0, -1, p.reads + start) for p, start in zip(parts, starts, strict=True)]
        ids, phones = (np.concatenate([getattr(p, name) for p in parts]) for name in ("ids", "phones"))
        return cls(ids, np.concatenate(reads), phones, np.arange(len(ids)))

    def of_levels(self, ids: Ids, levels: int) -> TokenRow:
        """With the codes of the first levels alone, all else at its place: shorter, and the words are in it."""
        slot = (self.ids - ids.audio) // ids.codes
        kept = (self.ids < ids.audio) | np.isin(slot, np.flatnonzero(np.array(LEVELS) < levels))
        reads = np.where(self.reads < 0, -1, (kept.cumsum() - 1)[self.reads])
        return TokenRow(self.ids[kept], reads[kept], self.phones[kept], self.places[kept])


def prompt(words: PreTrainedTokenizerFast, ids: Ids, name: str, text: str) -> np.ndarray:
    """What asks for speech."""
    human = [ids.start_of_human, *words(f"{name}: {text}")["input_ids"], ids.end_of_text, ids.end_of_human]
    return np.array([*human, ids.start_of_ai, ids.start_of_speech])


def turn(words: PreTrainedTokenizerFast, ids: Ids, name: str, spoken: list[Spoken]) -> TokenRow:
    """Prompt, codes, end."""
    asked = prompt(words, ids, name, " ".join(s.text for s in spoken))
    codes = np.concatenate([s.codes for s in spoken]).astype(np.int64)
    audio = (codes + ids.audio + ids.codes * np.arange(SLOTS)).reshape(-1)
    said = np.cumsum([0, *(len(s.text.split()) for s in spoken)])
    word = np.concatenate([s.word.reshape(-1) + before for s, before in zip(spoken, said[:-1], strict=True)])
    tokens = words.convert_ids_to_tokens(asked)
    colon = tokens.index(":")
    places = [i for i, token in enumerate(tokens) if i > colon and token.isalnum()] + [len(asked) - 4]
    reads = np.array(places)[np.concatenate([word, said[-1:]])]
    row = np.concatenate([asked, audio, [ids.end_of_speech, ids.end_of_ai]])
    before, heard = np.full(len(asked), -1), np.concatenate([s.phone.reshape(-1) for s in spoken])
    return TokenRow(
        row, np.concatenate([before, reads, [-1]]), np.concatenate([before, heard, [-1, -1]]), np.arange(len(row))
    )


def nobody(random: np.random.Generator) -> str:
    """A name that tells nothing."""
    return "".join(random.choice(list("aeiou" if n % 2 else "bdfgklmnprstvw")) for n in range(random.integers(4, 8)))


@dataclass(frozen=True)
class Lesson:
    """What the batches of a part of the training hold."""

    levels: int  # of codes: 1 is the coarse ones alone
    simple: bool  # single sentences, from which speaking is learnt soonest
    positions: int  # of a batch, at most
    rows: int  # that are sorted by length at once


def compose(
    words: PreTrainedTokenizerFast, ids: Ids, pool: Pool, random: np.random.Generator, simple: bool, known: float = 0.6
) -> TokenRow:
    """A random sequence; a simple one is a single sentence, from which speaking is learnt soonest.

    `known` is the share of single turns that go by the voice's name.
    """
    voice = str(random.choice(list(pool.spoken)))
    mine = pool.spoken[voice]
    turns = 1 if simple else int(random.choice([1, 2, 3], p=[0.35, 0.5, 0.15]))
    name = voice if random.random() < (known if turns == 1 else 0.15) else nobody(random)
    parts = []
    for _ in range(turns):
        sentences = 1 if simple else int(random.choice([1, 2, 3], p=[0.85, 0.11, 0.04]))
        spoken = [mine[int(i)] for i in random.integers(len(mine), size=sentences)]
        if random.random() < 0.1:  # people and recognisers forget the stop
            spoken = [replace(s, text=s.text.rstrip(".")) for s in spoken]
        parts.append(turn(words, ids, name, spoken))
    return TokenRow.joined(parts)


class Batch(NamedTuple):
    """Rows of like lengths, padded on the right."""

    ids: Tensor
    reads: Tensor
    phones: Tensor
    places: Tensor


def stacked(rows: list[TokenRow], ids: Ids) -> Batch:
    longest = max(len(r.ids) for r in rows)

    def padded(part: str, fill: int) -> Tensor:
        parts = [getattr(r, part) for r in rows]
        return torch.tensor(np.stack([np.pad(p, (0, longest - len(p)), constant_values=fill) for p in parts])).long()

    return Batch(padded("ids", ids.pad), padded("reads", -1), padded("phones", -1), padded("places", 0))


def batches(
    words: PreTrainedTokenizerFast, ids: Ids, pool: Pool, random: np.random.Generator, how: Lesson
) -> Iterator[Batch]:
    """Endless batches of like lengths."""
    while True:
        rows = [compose(words, ids, pool, random, how.simple) for _ in range(how.rows)]
        if how.levels < 3:
            rows = [row.of_levels(ids, how.levels) for row in rows]
        rows = sorted(rows, key=lambda r: len(r.ids))
        groups: list[list[TokenRow]] = [[]]
        for row in rows:
            if groups[-1] and (len(groups[-1]) + 1) * len(row.ids) > how.positions:
                groups.append([])
            groups[-1].append(row)
        for which in random.permutation(len(groups)):
            yield stacked(groups[which], ids)
