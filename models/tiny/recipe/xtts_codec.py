"""Trains the tiny XTTS' codec: mel frames as codes, 21.5 a second.

A code tells of the stretch of sound after its own, so that the language model's state at a place, which has heard the
codes before that place alone, knows what is to sound there. Whose voice it is the decoder is told, and the phone
recogniser teaches what is said: the codes are left to say the rest. The decoder is thrown away; nothing needs it.

Reads   <work>/corpus.npy, <work>/corpus.jsonl, <work>/listener.pt
Writes  <work>/xtts-codec.pt

Run:  python recipe/xtts_codec.py [--minutes 4]
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from corpus import WORK, keep
from timed_training import params, script, share_of_rate, train
from torch import Tensor, nn
from torch.nn import functional as F
from xtts_sounds import CHUNK, Features, Heard, Sounds, framed

from timbre.families.xtts.codec import CodecEncoder

WIDTH, DEPTH, CODES = 48, 32, 512
LENGTH, ROWS = 32, 48  # codes and rows of a batch
AHEAD = 1  # codes: the stretch of sound that a code tells of is so many after its own
PLAIN = 0.12  # share of the training before sounds are put in codes
WEIGHTS = {"features": 1.0, "phone": 0.5, "commit": 0.25}


class Guess(nn.Module):
    """What the codes up to now say of the sound: its features, and its phones."""

    def __init__(self, features: int, phones: int, voices: int, width: int = 160) -> None:
        super().__init__()
        self.first, self.voice = nn.Conv1d(DEPTH, width, 3), nn.Embedding(voices, width)
        self.second, self.third = nn.Conv1d(width, width, 3), nn.Conv1d(width, width, 1)
        self.features, self.phones = nn.Linear(width, features), nn.Linear(width, CHUNK * phones)

    def forward(self, codes: Tensor, voice: Tensor) -> tuple[Tensor, Tensor]:  # (B, T, DEPTH), (B)
        x = self.first(F.pad(codes.transpose(1, 2), (2, 0))) + self.voice(voice)[..., None]
        x = x + self.second(F.pad(F.gelu(x), (2, 0)))
        x = F.gelu(x + self.third(F.gelu(x))).transpose(1, 2)
        return self.features(x), self.phones(x).unflatten(-1, (CHUNK, -1))


class Book(nn.Module):
    """The codebook while it is learnt: means of what falls to each code; what nothing falls to begins anew."""

    def __init__(self, embed: Tensor) -> None:
        super().__init__()
        self.embed = embed  # (DEPTH, CODES), the encoder's own
        self.register_buffer("counts", torch.ones(CODES))
        self.register_buffer("sums", embed.T.clone())

    @torch.no_grad()
    def start(self, points: Tensor) -> None:
        centres = points[torch.randperm(len(points))[:CODES]].clone()
        for _ in range(12):
            nearest = (centres.square().sum(1) - 2 * points @ centres.T).argmin(1)
            sums = torch.zeros_like(centres).index_add_(0, nearest, points)
            counts = torch.bincount(nearest, minlength=CODES)
            centres = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], points[:CODES])
        self.embed.copy_(centres.T)
        self.sums.copy_(centres)
        self.counts.fill_(1.0)

    @torch.no_grad()
    def learn(self, points: Tensor, codes: Tensor) -> None:
        counts = torch.bincount(codes, minlength=CODES).float()
        self.counts.lerp_(counts, 0.02)
        self.sums.lerp_(torch.zeros_like(self.sums).index_add_(0, codes, points), 0.02)
        dead = (self.counts < 0.15).nonzero()[:, 0]
        self.sums[dead] = points[torch.randint(len(points), (len(dead),))]
        self.counts[dead] = 1.0
        self.embed.copy_((self.sums / self.counts[:, None]).T)


def stretch(heard: Heard, random: np.random.Generator) -> Heard:
    """So many frames of it, from anywhere."""
    frames, count = LENGTH * CHUNK, len(heard.mel)
    start = int(random.integers(max(1, count - frames + 1)))
    short = max(0, frames - count)
    mel = F.pad(heard.mel[start : start + frames], (0, 0, 0, short), value=float(heard.mel.min()))
    pitch, phone = (getattr(heard, n)[start : start + frames] for n in ("pitch", "phone"))
    pitch, phone = F.pad(pitch, (0, 0, 0, short)), F.pad(phone, (0, short))
    return Heard(heard.voice, heard.text, mel, pitch, phone, heard.ends, heard.row, heard.start)


class Course:
    def __init__(self, params: dict[str, Any]) -> None:
        torch.manual_seed(0)
        self.seconds, self.sounds = 60 * params["codec_minutes"], Sounds(params["utterances"])
        self.features = Features.known(self.sounds)
        self.names = list(self.sounds.of_voice)
        self.encoder = CodecEncoder(WIDTH, DEPTH, CODES)
        self.book = Book(self.encoder.codebook.embed)
        phones = int(self.sounds.phone.max()) + 1
        self.guess = Guess(len(self.features.scale), phones, len(self.names))
        self.learnt = [*self.encoder.parameters(), *self.guess.parameters()]
        self.optimiser = torch.optim.AdamW(self.learnt, 2e-3, betas=(0.9, 0.98), weight_decay=1e-3)
        self.random, self.step, self.spent, self.quantised = np.random.default_rng(0), 0, 0.0, False

    def batch(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mel frames, features, phones, voices."""
        voices = [self.names[int(i)] for i in self.random.integers(len(self.names), size=ROWS)]
        many = [stretch(framed(self.sounds.sentence(v, self.random), self.random), self.random) for v in voices]
        mel, pitch = torch.stack([h.mel for h in many]), torch.stack([h.pitch for h in many])
        phones = torch.stack([h.phone for h in many]).unflatten(1, (-1, CHUNK))
        numbers = torch.tensor([self.names.index(v) for v in voices])
        return mel / self.features.stats, self.features(mel, pitch), phones, numbers

    def points(self, mel: Tensor) -> Tensor:
        return self.encoder.encoder(mel.transpose(1, 2)).transpose(1, 2)

    def take(self) -> dict[str, Tensor]:
        done = min(1.0, self.spent / self.seconds)
        rate = 2e-3 * share_of_rate(self.step, done, 0.03)
        mel, features, phones, voices = self.batch()
        points, parts = self.points(mel), {}
        if done >= PLAIN and not self.quantised:
            with torch.no_grad():
                self.book.start(torch.cat([self.points(self.batch()[0]).flatten(0, 1) for _ in range(8)]))
            self.quantised = True
        said = points
        if self.quantised:
            codes = self.encoder.codebook(points.detach())
            chosen = self.book.embed.T[codes]
            parts["commit"] = (points - chosen).square().mean()
            said = points + (chosen - points).detach()
            if done < 0.85:
                self.book.learn(points.detach().flatten(0, 1), codes.flatten())
        guess, heard = self.guess(said, voices)
        parts["features"] = (guess[:, 2:-AHEAD] - features[:, 2 + AHEAD :]).square().mean()
        parts["phone"] = F.cross_entropy(heard[:, 2:-AHEAD].flatten(0, 2), phones[:, 2 + AHEAD :].flatten())
        loss = sum((WEIGHTS[name] * part for name, part in parts.items()), torch.zeros(()))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.learnt, 1.0)
        self.optimiser.step()
        if self.quantised:
            share = torch.bincount(codes.flatten(), minlength=CODES) / codes.numel()
            parts["perplexity"] = torch.exp(-(share * share.clamp_min(1e-9).log()).sum())
        parts["right"] = (heard[:, 2:-AHEAD].argmax(-1) == phones[:, 2 + AHEAD :]).float().mean()
        parts["variance"] = features.var()
        return {name: float(part.detach()) for name, part in parts.items()}

    def save(self) -> None:
        """As it is kept in the end, so that no code will differ."""
        keep(WORK / "xtts-codec.pt", copy.deepcopy(self.encoder).half().float().state_dict())


def main() -> None:
    asked = params("xtts", "codec_minutes", script(__doc__).parse_args())
    train(Course(asked))


if __name__ == "__main__":
    main()
