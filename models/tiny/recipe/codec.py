"""Trains the tiny Mimi codec: from a linear transform codec to a good one, whose codebook 0 carries the phones.

Reads   <work>/corpus.npy, <work>/corpus.jsonl, <work>/listener.pt (the teacher of codebook 0)
Writes  <work>/codec.pt (resumable) and <work>/codec/ (MimiModel.save_pretrained)

Run:  python recipe/codec.py [--minutes 30]
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from codec_model import CONFIG, DELAY, Codebooks, export, fixed, latents, sounds, start_linear
from corpus import HERE, RATE, WORK, Corpus, keep
from listener import Ear, mel_filters
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import MimiConfig, MimiModel

# share of the time, learning rate, then weights: wave, complex STFT, magnitude, mel, energy; and is it quantised?
STAGES = (
    (0.10, 1.2e-3, (1.0, 2.0, 1.0, 1.0, 0.0), False),
    (0.32, 1.2e-3, (0.5, 1.0, 2.0, 1.0, 0.0), True),
    (0.15, 1.2e-3, (0.1, 0.2, 2.0, 2.0, 0.0), True),
    (0.43, 1.0e-3, (0.2, 0.4, 2.0, 2.0, 0.5), True),  # cosine to 4 %
)


class Losses(nn.Module):
    """Distances between two sounds (batch, samples): wave, complex STFT, magnitude, mel, energy."""

    SIZES = ((1024, 80), (512, 64), (256, 32))  # FFT length, mel bands; hop is a quarter

    def __init__(self) -> None:
        super().__init__()
        for size, bands in self.SIZES:
            self.register_buffer(f"mel{size}", mel_filters(size, bands))
            self.register_buffer(f"window{size}", torch.hann_window(size))

    def forward(self, made: Tensor, true: Tensor) -> tuple[Tensor, ...]:
        spectral, magnitude, mel = [], [], []
        both = torch.cat([made, true])
        for size, _ in self.SIZES:
            window = getattr(self, f"window{size}")
            spectrum = torch.stft(both, size, size // 4, size, window, return_complex=True) / window.sum() * 2
            power = torch.view_as_real(spectrum).square().sum(-1) + 1e-9
            small = power.pow(0.15)  # |X|^0.3
            a, b = small.chunk(2)
            magnitude.append((a - b).abs().mean())
            if size >= 512:
                compressed = torch.view_as_real(spectrum) * (small / power.sqrt())[..., None]
                a, b = compressed.chunk(2)
                spectral.append((a - b).abs().mean())
            bands = torch.log(getattr(self, f"mel{size}") @ power + 1e-6)
            a, b = bands.chunk(2)
            mel.append((a - b).abs().mean())
        a, b = torch.log(both.unfold(1, 320, 160).square().mean(2) + 1e-6).chunk(2)
        energy = (a - b).abs().mean()
        parts = [torch.stack(x).mean() for x in (spectral, magnitude, mel)]
        return (made - true).abs().mean() / 0.08, 2 * parts[0], 4 * parts[1], parts[2], energy


def crops(corpus: Corpus, rows: list[Any], random: np.random.Generator, count: int, seconds: float) -> Tensor:
    """Random pieces of random utterances, now and then quieter or starting in silence."""
    length, out = int(seconds * RATE), []
    for _ in range(count):
        sound = corpus[rows[int(random.integers(len(rows)))]]
        start = int(random.integers(-length // 4, max(1, len(sound) - length // 2)))
        piece = sound[max(0, start) : start + length]
        piece = np.pad(piece, (max(0, -start), 0))
        piece = np.pad(piece, (0, length - len(piece))) * random.uniform(0.6, 1.3)
        out.append(piece + random.normal(0, 10 ** random.uniform(-5, -3.3), length))
    return torch.from_numpy(np.stack(out).astype(np.float32))


def train(minutes: float, work: Path = WORK) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    corpus, ear, random = Corpus(work), Ear.load(work), np.random.default_rng(0)
    ear.net.to(device)
    rows = corpus.of("train")
    model = MimiModel(MimiConfig(**CONFIG)).to(device)
    head = nn.Linear(64, 2 * ear.net.head.out_features).to(device)  # codebook 0 to two posteriors of the listener
    books, losses = Codebooks(model), Losses().to(device)
    inner = [p for n, p in model.named_parameters() if "transformer" in n] + list(head.parameters())
    frozen = fixed(model)
    outer = [p for n, p in model.named_parameters() if "transformer" not in n and n not in frozen]
    groups = [{"params": inner, "share": 1.0}, {"params": outer, "share": 0.4}]
    optimiser = torch.optim.AdamW(groups, 1e-3, betas=(0.85, 0.98), weight_decay=1e-4)
    spent, step, quantised, average = 0.0, 0, False, {}
    path = work / "codec.pt"
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        head.load_state_dict(state["head"])
        optimiser.load_state_dict(state["optimiser"])
        spent, step, quantised, average = state["spent"], state["step"], state["quantised"], state["average"]
        random = np.random.default_rng(step)
    else:
        start_linear(model, crops(corpus, rows, random, 400, 2.0))
    average = average or {n: p.detach().clone() for n, p in model.named_parameters()}
    total, last, saved = minutes * 60, time.time(), time.time()
    while spent < total:
        done, stage = spent / total, 0
        while stage < len(STAGES) - 1 and done >= sum(s[0] for s in STAGES[: stage + 1]):
            stage += 1
        share, rate, weights, quantise = STAGES[stage]
        within = (done - sum(s[0] for s in STAGES[:stage])) / share
        last_stage = stage == len(STAGES) - 1
        rate *= (0.04 + 0.96 * (1 + math.cos(math.pi * within)) / 2) if last_stage else min(1, (step + 1) / 100)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["share"]
        if quantise and not quantised:
            with torch.no_grad():
                many = [crops(corpus, rows, random, 50, 2.0)[:, None].to(device) for _ in range(6)]
                books.start(torch.cat([latents(model, some[:, 0]) for some in many]))
            quantised = True
        sound = crops(corpus, rows, random, 8, 1.0).to(device)
        latent = latents(model, sound)
        if quantised:
            codes, semantic, commitment = books(latent)
        else:
            semantic = books.parts[0].input_proj(latent).transpose(1, 2)
            codes = books.parts[0].output_proj(semantic.transpose(1, 2))
            codes = codes + books.parts[1].output_proj(books.parts[1].input_proj(latent))
            commitment = torch.zeros((), device=device)
        made = sounds(model, codes)
        parts = losses(made[:, DELAY:], sound[:, :-DELAY])
        # Frame k decodes to sound around 640 k - 80: it is taught the listener's frames 2k - 1 and 2k.
        with torch.no_grad():
            target = ear.net(ear.net.mels(sound)).softmax(-1)
            target = F.pad(target, (0, 0, 1, 0))[:, : 2 * semantic.shape[1]].reshape(*semantic.shape[:2], 2, -1)
        guess = head(semantic).view(target.shape).log_softmax(-1)
        teaching = -(target * guess).sum(-1)[:, 1:].mean()
        loss = sum(w * p for w, p in zip(weights, parts, strict=True)) + 0.1 * commitment + 0.5 * teaching
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimiser.step()
        with torch.no_grad():
            for name, weight in model.named_parameters():
                average[name].lerp_(weight, 0.005)
        step, spent, last = step + 1, spent + time.time() - last, time.time()
        if step % 50 == 0:
            right = (guess.argmax(-1) == target.argmax(-1))[:, 1:].float().mean()
            names = ("wave", "complex", "magnitude", "mel", "energy")
            told = "  ".join(f"{n} {p.item():.3f}" for n, p in zip(names, parts, strict=True))
            told += f"  commit {commitment.item():.2f}  teach {teaching.item():.2f}  right {right:.2f}"
            print(f"step {step}  {told}  {(total - spent) / 60:.1f} min left", flush=True)
        if time.time() - saved > 120 or spent >= total:
            state = {"model": model.state_dict(), "head": head.state_dict(), "optimiser": optimiser.state_dict()}
            state |= {"spent": spent, "step": step, "quantised": quantised, "average": average}
            keep(path, state)
            if quantised:
                export(model.cpu(), {k: v.cpu() for k, v in average.items()}, work / "codec")
                model.to(device)
            saved = time.time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, help="of computing, in all; default: params.yaml")
    args = parser.parse_args()
    minutes = args.minutes or yaml.safe_load((HERE / "params.yaml").read_text())["codec"]["minutes"]
    train(minutes)


if __name__ == "__main__":
    main()
