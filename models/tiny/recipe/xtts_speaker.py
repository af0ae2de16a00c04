"""Trains the tiny XTTS' speaker encoder: the vector that its vocoder is told a voice by.

As speaker.py does, it tells every base voice at several playing speeds from all others, so that it has a scale for
voices that it has never heard.

Reads   <work>/xtts-sounds.pt, <work>/corpus.npy
Writes  <work>/xtts-speaker.pt

Run:  python recipe/xtts_speaker.py [--steps 600]
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import numpy as np
import soxr
import torch
import yaml
from corpus import HERE, RATE, WORK, keep
from torch import Tensor, nn
from torch.nn import functional as F
from xtts_sounds import Sounds

from timbre.families.xtts.speaker import SpeakerEncoder

WIDTHS, VECTOR = (8, 16, 24, 32), 64
SECONDS, ROWS = 1.6, 24  # of a crop; crops of a batch
SCALE, MARGIN = 16.0, 0.15  # of the cosines, and by how much the right one must lead


def crops(sounds: Sounds, random: np.random.Generator, names: list[str]) -> tuple[Tensor, Tensor]:
    """Stretches at random levels with noise and a tilt, (ROWS, samples) at 16 kHz; the numbers of their voices."""
    length, out, labels = int(random.uniform(0.7, 1.3) * SECONDS * RATE), [], random.integers(len(names), size=ROWS)
    for label in labels:
        row = int(random.choice(sounds.of_voice[names[int(label)]]))
        speed, sound = float(sounds.speeds[row]), sounds.corpus[sounds.rows[row]]
        start = int(random.integers(max(1, len(sound) - int(length * speed))))
        sound = sound[start : start + int(length * speed) + 8]
        piece = sound if speed == 1 else soxr.resample(sound, RATE * speed, RATE, quality="MQ")
        piece = np.pad(piece[:length], (0, max(0, length - len(piece)))) * random.uniform(0.5, 1.5)
        piece = piece + random.normal(0, 10 ** random.uniform(-5, -3), length)
        out.append(piece - random.uniform(-0.3, 0.3) * np.pad(piece, (1, 0))[:-1])
    return torch.from_numpy(np.stack(out).astype(np.float32)), torch.from_numpy(labels)


def train(params: dict[str, Any]) -> None:
    torch.manual_seed(0)
    sounds, random, steps = Sounds(params["utterances"]), np.random.default_rng(0), params["speaker_steps"]
    names = list(sounds.of_voice)
    encoder, centres = SpeakerEncoder(WIDTHS, VECTOR), nn.Parameter(torch.randn(len(names), VECTOR))
    weights = [*encoder.parameters(), centres]
    optimiser = torch.optim.AdamW(weights, 2e-3, weight_decay=0.01)
    began, lost, right = time.time(), 0.0, 0.0
    for step in range(1, steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1, step / 50) * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)
        sound, labels = crops(sounds, random, names)
        with torch.autocast("cpu", torch.bfloat16):
            vectors = encoder(sound).float()
        cosines = vectors @ F.normalize(centres, dim=1).T
        lead = MARGIN * min(1, 2 * step / steps) * F.one_hot(labels, len(names))
        loss = F.cross_entropy(SCALE * (cosines - lead), labels)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        lost, right = lost + loss.item() / 50, right + (cosines.argmax(1) == labels).float().mean().item() / 50
        if step % 50 == 0:
            left = (time.time() - began) / step * (steps - step)
            print(f"step {step}  loss {lost:.3f}  right {right:.2f}  {left:.0f} s left", flush=True)
            lost = right = 0.0
            keep(WORK / "xtts-speaker.pt", encoder.state_dict())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, help="default: params.yaml")
    args = parser.parse_args()
    torch.set_num_threads(1)
    params = yaml.safe_load((HERE / "params.yaml").read_text())["xtts"]
    train(params | ({"speaker_steps": args.steps} if args.steps else {}))


if __name__ == "__main__":
    main()
