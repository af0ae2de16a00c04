"""An ear for the recipe: a small phone recogniser that shares nothing with the tiny Whisper.

It serves twice. Its phone probabilities teach the codec's first codebook what was said (as WavLM teaches Mimi's),
and its word search, which knows the words but no grammar, measures intelligibility without guessing.

Reads   <work>/corpus.npy, <work>/corpus.jsonl;  flite for the words' pronunciations.
Writes  <work>/listener.pt (resumable; `done` in it once trained)

Run:  python recipe/listener.py [--minutes 5]
"""

from __future__ import annotations

import argparse
import math
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from corpus import HERE, RATE, WORK, Corpus, Utterance, keep
from torch import Tensor, nn

HOP = 160  # 10 ms; the net halves it: 50 posteriors a second
MELS = 64
STEP = 2 * HOP  # samples per posterior
SILENCE = 0  # the class beside the phones


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def lexicon(words: Sequence[str]) -> dict[str, list[str]]:
    """Flite's phones for each word."""
    found = {}
    for word in sorted(set(words)):
        command = ["flite", "-ps", "-t", word, "-o", "none"]
        phones = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        found[word] = [phone for phone in phones if phone != "pau"]
    return found


def mel_filters(n_fft: int, mels: int, rate: int = RATE) -> Tensor:
    """Triangular filters (mels, n_fft / 2 + 1), HTK mel scale."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, mels + 2) / 2595) - 1)
    bins = np.linspace(0, rate / 2, n_fft // 2 + 1)
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return torch.tensor(np.maximum(0, np.minimum(rise, fall)), dtype=torch.float32)


class Listener(nn.Module):
    """Log-mels through convolutions that see 0.25 s each way, to phone scores; class 0 is silence."""

    def __init__(self, phones: int, width: int = 192, layers: int = 5) -> None:
        super().__init__()
        self.register_buffer("filters", mel_filters(512, MELS), persistent=False)
        self.register_buffer("window", torch.hann_window(400), persistent=False)
        self.register_buffer("log_prior", torch.full((phones + 1,), -np.log(phones + 1)))
        self.first = nn.Conv1d(MELS, width, 5, stride=2, padding=2)
        self.convs = nn.ModuleList(nn.Conv1d(width, width, 5, padding=2) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers + 1))
        self.head = nn.Linear(width, phones + 1)

    def mels(self, sound: Tensor) -> Tensor:
        """(batch, samples) to (batch, mels, samples / 160), level removed."""
        spectrum = torch.stft(sound, 512, HOP, 400, self.window, return_complex=True).abs()[..., :-1]
        logs = torch.log(self.filters @ spectrum.square() + 1e-5)
        return logs - logs.amax((1, 2), keepdim=True)

    def forward(self, mels: Tensor) -> Tensor:
        """Scores (batch, frames at 50 Hz, classes)."""
        hidden = self.norms[0](self.first(mels / 4 + 1).transpose(1, 2))
        for conv, norm in zip(self.convs, self.norms[1:], strict=True):
            step = conv(torch.nn.functional.gelu(hidden).transpose(1, 2)).transpose(1, 2)
            hidden = norm(hidden + torch.nn.functional.dropout(step, 0.1, self.training))
        return self.head(hidden)


@dataclass
class Ear:
    """A trained listener with its words. `Ear.load().words(sound)` hears; `.phones(sound)` gives posteriors."""

    net: Listener
    lexicon: dict[str, list[str]]

    @property
    def inventory(self) -> list[str]:
        return sorted({phone for phones in self.lexicon.values() for phone in phones})

    @classmethod
    def load(cls, work: Path = WORK) -> Ear:
        state = torch.load(work / "listener.pt", map_location="cpu", weights_only=True)
        words = state["lexicon"]
        ear = cls(Listener(len({p for phones in words.values() for p in phones})), words)
        ear.net.load_state_dict(state["average"])
        ear.net.eval()
        return ear

    @torch.no_grad()
    def phones(self, sound: Tensor) -> Tensor:
        """Posteriors (batch, frames at 50 Hz, classes) of (batch, samples)."""
        return self.net(self.net.mels(sound)).softmax(-1)

    def words(self, sound: np.ndarray, penalty: float = 8.0) -> list[str]:
        """The most likely string of known words; any word may follow any, with or without silence between."""
        posteriors = self.phones(torch.from_numpy(np.ascontiguousarray(sound, np.float32))[None])[0]
        scores = (posteriors.clamp_min(1e-6).log() - 0.5 * self.net.log_prior).numpy()
        number = {phone: i + 1 for i, phone in enumerate(self.inventory)}
        names = ["", *sorted(self.lexicon)]  # the empty word is silence
        states = [[SILENCE]] + [[number[phone] for phone in self.lexicon[name]] for name in names[1:]]
        label = np.array([state for word in states for state in word])
        tail = np.cumsum([len(word) for word in states]) - 1
        head = tail - [len(word) - 1 for word in states]
        score = np.full(len(label), -np.inf)
        score[head] = scores[0, label[head]]
        trail = np.full(len(label), -1)  # index into `history` of the words before
        history: list[tuple[int, int]] = []  # (word, the entry before it)
        cost = np.where(np.arange(len(names)) == 0, 1.0, penalty)
        for frame in scores[1:]:
            best = int(score[tail].argmax())
            history.append((best, int(trail[tail[best]])))
            before, behind = np.roll(score, 1), np.roll(trail, 1)
            before[head], behind[head] = score[tail[best]] - cost, len(history) - 1
            moved = before > score
            score, trail = np.where(moved, before, score) + frame[label], np.where(moved, behind, trail)
        entry_word = int(score[tail].argmax())
        heard, entry = [entry_word], int(trail[tail[entry_word]])
        while entry >= 0:
            word, entry = history[entry]
            heard.append(word)
        return [names[word] for word in heard[::-1] if word]


def first_guess(utterance: Utterance, phones: Sequence[Sequence[int]], frames: int) -> Tensor:
    """Frame labels with each word's phones spread evenly over its time."""
    labels = torch.full((frames,), SILENCE)
    for (start, end), word in zip(utterance.words, phones, strict=True):
        edges = np.linspace(start, end, len(word) + 1) * RATE / STEP
        for phone, a, b in zip(word, edges[:-1], edges[1:], strict=True):
            labels[round(a) : max(round(a) + 1, round(b))] = phone
    return labels


def word_spans(utterance: Utterance, phones: Sequence[Sequence[int]], frames: int) -> list[tuple[float, float]]:
    """For silence, every phone, silence: the frames in which it must lie, a phone's being its word's."""
    times = [(a * RATE / STEP, b * RATE / STEP) for a, b in utterance.words]
    inner = [time for time, word in zip(times, phones, strict=True) for _ in word]
    return [(0.0, times[0][0]), *inner, (times[-1][1], float(frames))]


def align(scores: Tensor, targets: Sequence[Sequence[int]], spans: Sequence[Sequence[tuple[float, float]]]) -> Tensor:
    """The best way (batch, frames) through each row's labels in order, each near its span (frames); Viterbi."""
    frames = scores.shape[1]
    pad = torch.nn.utils.rnn.pad_sequence
    states = pad([torch.tensor(t) for t in targets], batch_first=True)
    near = pad([torch.tensor(s) for s in spans], batch_first=True)[:, None]  # (batch, 1, states, 2)
    local = scores.gather(2, states[:, None].expand(-1, frames, -1))  # (batch, frames, states)
    moment = torch.arange(frames)[None, :, None]
    local = local - 20 * ((moment < near[..., 0] - 2) | (moment > near[..., 1] + 2))
    best = torch.full(states.shape, -torch.inf)
    best[:, 0] = local[:, 0, 0]
    moves = []
    for frame in range(1, frames):
        before = torch.nn.functional.pad(best[:, :-1], (1, 0), value=-torch.inf)
        moves.append(before > best)
        best = torch.maximum(before, best) + local[:, frame]
    at = torch.tensor([len(t) - 1 for t in targets])
    path = [at]
    for move in reversed(moves):
        at = at - move.gather(1, at[:, None])[:, 0].long()
        path.append(at)
    return states.gather(1, torch.stack(path[::-1], 1))


def augment(mels: Tensor, generator: torch.Generator) -> Tensor:
    """A random tilt of the spectrum, a noise floor, and masked bands and moments."""
    batch, bands, frames = mels.shape
    tilt = torch.randn(batch, 1, 1, generator=generator) * torch.linspace(-1, 1, bands)[None, :, None]
    floor = -4 - 7 * torch.rand(batch, 1, 1, generator=generator)
    mels = torch.logaddexp(mels + tilt, floor + torch.randn(mels.shape, generator=generator) * 0.5)
    for row in range(batch):
        band = int(torch.randint(0, bands - 8, (1,), generator=generator))
        mels[row, band : band + 8] = -6
        moment = int(torch.randint(0, max(1, frames - 10), (1,), generator=generator))
        mels[row, :, moment : moment + 10] = -6
    return mels


def train(minutes: float) -> None:
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    corpus = Corpus()
    train_set = corpus.of("train")
    words = lexicon([w for u in train_set for w in words_of(u.text)])
    number = {p: i + 1 for i, p in enumerate(sorted({p for phones in words.values() for p in phones}))}
    net = Listener(len(number))
    average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99))
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3, betas=(0.9, 0.98), weight_decay=0.01)
    spent, step, path = 0.0, 0, WORK / "listener.pt"
    if path.exists():
        state = torch.load(path, weights_only=True)
        if state["done"]:
            return
        net.load_state_dict(state["net"])
        average.module.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        spent, step = state["spent"], state["step"]

    def save(done: bool) -> None:
        state = {"net": net.state_dict(), "average": average.module.state_dict(), "optimiser": optimiser.state_dict()}
        keep(path, {**state, "lexicon": words, "spent": spent, "step": step, "done": done})

    generator = torch.Generator().manual_seed(step)
    last = time.time()
    while spent < minutes * 60:
        done = spent / (minutes * 60)
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(1, (step + 1) / 100) * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
        length = train_set[int(random.integers(len(train_set)))].samples
        near = [train_set[int(i)] for i in random.integers(len(train_set), size=64)]
        batch = sorted(near, key=lambda u: abs(u.samples - length))[:16]  # of like length
        longest = max(u.samples for u in batch)
        sound = torch.stack([torch.from_numpy(np.pad(corpus[u], (0, longest - u.samples))) for u in batch])
        with torch.no_grad():
            mels = augment(net.mels(sound), generator)
        logits = net(mels).log_softmax(-1)
        phones = [[[number[p] for p in words[w]] for w in words_of(u.text)] for u in batch]
        if step < 200:
            labels = torch.stack([first_guess(u, p, logits.shape[1]) for u, p in zip(batch, phones, strict=True)])
        else:
            flat = [[SILENCE, *(p for word in spoken for p in word), SILENCE] for spoken in phones]
            spans = [word_spans(u, p, logits.shape[1]) for u, p in zip(batch, phones, strict=True)]
            labels = align(logits.detach() - 0.5 * net.log_prior, flat, spans)
        loss = torch.nn.functional.nll_loss(logits.transpose(1, 2), labels)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            share = torch.bincount(labels.flatten(), minlength=len(number) + 1) / labels.numel()
            net.log_prior.copy_((0.99 * net.log_prior.exp() + 0.01 * share).log())
        average.update_parameters(net)
        average.module.log_prior.copy_(net.log_prior)
        step, spent, last = step + 1, spent + time.time() - last, time.time()
        if step % 50 == 0:
            right = (logits.argmax(-1) == labels).float().mean()
            told = f"step {step}  loss {loss.item():.3f}  right {right:.2f}"
            print(f"{told}  {minutes * 60 - spent:.0f} s left", flush=True)
            save(False)
    save(True)


def word_errors(ear: Ear, corpus: Corpus, utterances: Sequence[Utterance]) -> dict[str, Any]:
    import jiwer

    truth, heard = {}, {}
    for u in utterances:
        truth.setdefault(u.voice, []).append(" ".join(words_of(u.text)))
        heard.setdefault(u.voice, []).append(" ".join(ear.words(corpus[u])))
    return {voice: round(jiwer.wer(truth[voice], heard[voice]), 3) for voice in truth}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, help="of computing, in all; default: params.yaml")
    args = parser.parse_args()
    train(args.minutes or yaml.safe_load((HERE / "params.yaml").read_text())["listener"]["minutes"])
    ear, corpus = Ear.load(), Corpus()
    per_voice: dict[str, list[Utterance]] = {}
    for u in corpus.of("heldout"):
        per_voice.setdefault(u.voice, []).append(u)
    print(word_errors(ear, corpus, [u for rows in per_voice.values() for u in rows[:12]]), file=sys.stderr)


if __name__ == "__main__":
    main()
