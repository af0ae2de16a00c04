"""Goes on training the codec's decoder alone: the encoder and its codes stay, so nothing made of codes grows stale.

Reads   <work>/codec/, the corpus
Writes  <work>/codec-polish.pt (resumable) and <work>/codec/ again

Run:  python recipe/codec_polish.py [--minutes 15]
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from codec import Losses, crops
from codec_model import DELAY, fixed, latents, sounds
from corpus import HERE, WORK, Corpus, keep
from listener import Ear
from torch import nn
from torch.nn import functional as F
from transformers import MimiModel

WEIGHTS = (0.2, 0.4, 2.0, 2.0, 0.5)  # wave, complex STFT, magnitude, mel, energy
HEARD = 0.3  # of the distance between what the listener hears in the original and in the decoded


def train(minutes: float, work: Path = WORK, rate: float = 8e-4) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    corpus, ear = Corpus(work), Ear.load(work).net.to(device).requires_grad_(False)
    rows, path = corpus.of("train"), work / "codec-polish.pt"
    model, losses = MimiModel.from_pretrained(work / "codec").to(device), Losses().to(device)
    names = {n for n, _ in model.named_parameters() if n.startswith("decoder.") or "output_proj" in n} - fixed(model)
    model.requires_grad_(False)
    learnt = {n: p.requires_grad_() for n, p in model.named_parameters() if n in names}
    average = {n: p.detach().clone() for n, p in learnt.items()}
    groups = [
        {"params": [p for n, p in learnt.items() if ("transformer" in n) == inner], "share": 1.0 if inner else 0.4}
        for inner in (True, False)
    ]
    optimiser = torch.optim.AdamW(groups, rate, betas=(0.85, 0.98), weight_decay=1e-4)
    spent, step = 0.0, 0
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        for name, weight in state["model"].items():
            learnt[name].data.copy_(weight)
        optimiser.load_state_dict(state["optimiser"])
        spent, step, average = state["spent"], state["step"], state["average"]
    random, means = np.random.default_rng(1000 + step), np.zeros(6)
    total, last, saved = minutes * 60, time.time(), time.time()
    while spent < total:
        now = rate * min(1, (step + 1) / 100) * (0.02 + 0.98 * (1 + math.cos(math.pi * spent / total)) / 2)
        for group in optimiser.param_groups:
            group["lr"] = now * group["share"]
        sound = crops(corpus, rows, random, 8, 1.0).to(device)
        with torch.no_grad():
            codes = model.quantizer.encode(latents(model, sound, half=False)).transpose(0, 1)
        made, true = sounds(model, model.quantizer.decode(codes))[:, DELAY:], sound[:, :-DELAY]
        with torch.no_grad():
            wanted = ear(ear.mels(true)).softmax(-1)
        heard = F.kl_div(ear(ear.mels(made)).log_softmax(-1), wanted, reduction="none").sum(-1).mean()
        parts = [*losses(made, true), heard]
        loss = sum(w * p for w, p in zip((*WEIGHTS, HEARD), parts, strict=True))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learnt.values(), 2.0)
        optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(average.values()), [learnt[n] for n in average], 0.005)
        means += [p.item() for p in parts]
        step, spent, last = step + 1, spent + time.time() - last, time.time()
        if step % 50 == 0:
            what = ("wave", "complex", "magnitude", "mel", "energy", "heard")
            told = "  ".join(f"{n} {m:.3f}" for n, m in zip(what, means / 50, strict=True))
            print(f"step {step}  {told}  {(total - spent) / 60:.1f} min left", flush=True)
            means[:] = 0
        if time.time() - saved > 120 or spent >= total:
            state = {"model": learnt, "average": average, "optimiser": optimiser.state_dict()}
            keep(path, {**state, "spent": spent, "step": step})
            saved = time.time()
    for name, weight in learnt.items():
        weight.data.copy_(average[name])
    model.cpu().save_pretrained(work / "codec")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, help="of computing, in all; default: params.yaml")
    args = parser.parse_args()
    train(args.minutes or yaml.safe_load((HERE / "params.yaml").read_text())["codec"]["polish_minutes"])


if __name__ == "__main__":
    main()
