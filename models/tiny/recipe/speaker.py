"""Trains the tiny speaker encoder: sounds of one voice get embeddings of high cosine, of two voices low.

It learns to tell apart many more voices than there are: every base voice at several playing speeds is a class of its
own, so that it has a scale for voices it has never heard. Half of what it hears went through the codec.

Reads   <work>/corpus.npy, <work>/corpus.jsonl, <work>/codec/
Writes  <work>/speaker.pt (resumable) and the folder given by --out (WavLMForXVector with its feature extractor)

Run:  python recipe/speaker.py [--steps 2500] [--out speaker]
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soxr
import torch
import yaml
from codec_model import bands, round_trip
from corpus import HERE, RATE, WORK, Corpus, Utterance, keep
from torch import Tensor
from transformers import MimiModel, Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForXVector

SPEEDS = (0.84, 0.92, 1.0, 1.09, 1.19)
CONFIG = dict(  # noqa: C408
    hidden_size=96, num_hidden_layers=1, num_attention_heads=4, intermediate_size=192, conv_dim=[128, 96, 96],
    conv_kernel=[400, 3, 3], conv_stride=[80, 2, 2], num_feat_extract_layers=3, feat_extract_norm="layer",
    conv_bias=True, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, tdnn_dim=[96, 96, 96, 96, 256],
    tdnn_kernel=[5, 3, 3, 1, 1], tdnn_dilation=[1, 2, 3, 1, 1], xvector_output_dim=128, apply_spec_augment=False,
    layerdrop=0.0, hidden_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0, final_dropout=0.0,
    max_bucket_distance=100, num_buckets=64,
    initializer_range=0.1,  # of narrow layers: at 0.02 five of them in a row leave nothing
)  # fmt: skip
SECONDS = 1.6  # of each training crop


def pool(corpus: Corpus, codec: MimiModel, per_class: int = 24) -> tuple[list[str], list[list[np.ndarray]]]:
    """For each class (voice and speed) some sounds, every other one through the codec."""
    names, sounds, began = [], [], time.time()
    voices: dict[str, list[Utterance]] = {}
    for u in corpus.of("train"):
        voices.setdefault(u.voice, []).append(u)
    for voice, rows in voices.items():
        for number, speed in enumerate(SPEEDS):
            mine = []
            for i, u in enumerate(rows[number * per_class : (number + 1) * per_class]):
                sound = soxr.resample(corpus[u], RATE * speed, RATE).astype(np.float32)
                mine.append(round_trip(codec, sound) if i % 2 else sound)
            names.append(f"{voice}×{speed}")
            sounds.append(mine)
            left = (time.time() - began) / len(names) * (len(voices) * len(SPEEDS) - len(names))
            print(f"prepared {names[-1]}, {left:.0f} s left", flush=True)
    return names, sounds


def batch(sounds: list[list[np.ndarray]], random: np.random.Generator, size: int) -> tuple[Tensor, Tensor]:
    """Random crops with random levels, noise floors and spectral tilts; their classes."""
    length = int(random.uniform(0.6, 1.2) * SECONDS * RATE)
    labels, out = random.integers(len(sounds), size=size), []
    for label in labels:
        sound = sounds[label][int(random.integers(len(sounds[label])))]
        start = int(random.integers(max(1, len(sound) - length + 1)))
        piece = np.pad(sound[start : start + length], (0, max(0, length - len(sound) + start)))
        piece = piece + random.normal(0, 10 ** random.uniform(-5, -2.7), length)
        tilt = random.uniform(-0.3, 0.3)
        piece = piece - tilt * np.pad(piece, (1, 0))[:-1]
        out.append((piece - piece.mean()) / (piece.std() + 1e-7))
    return torch.from_numpy(np.stack(out).astype(np.float32)), torch.from_numpy(labels)


@torch.no_grad()
def embed(model: WavLMForXVector, sounds: Sequence[np.ndarray]) -> Tensor:
    """Unit embeddings (sounds, 128)."""
    made = []
    for sound in sounds:
        values = torch.from_numpy(np.asarray(sound, np.float32))[None]
        values = (values - values.mean()) / (values.std() + 1e-7)
        made.append(model(values).embeddings[0])
    return torch.nn.functional.normalize(torch.stack(made), dim=-1)


def name_voices(model: WavLMForXVector, corpus: Corpus, codec: MimiModel, each: int = 20) -> dict[str, float]:
    """Share of held-out recordings through the codec that are nearest to their own voice, per voice."""
    voices: dict[str, list[Utterance]] = {}
    for u in corpus.of("heldout"):
        voices.setdefault(u.voice, []).append(u)
    enrolled = {v: embed(model, [corpus[u] for u in rows[:10]]).mean(0) for v, rows in voices.items()}
    centres = torch.nn.functional.normalize(torch.stack(list(enrolled.values())), dim=-1)
    found = {}
    for number, (voice, rows) in enumerate(voices.items()):
        tests = embed(model, [round_trip(codec, corpus[u]) for u in rows[10 : 10 + each]])
        found[voice] = ((tests @ centres.T).argmax(1) == number).float().mean().item()
    return found


def train(steps: int, out: Path, work: Path = WORK, rate: float = 1e-3) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    corpus, codec = Corpus(work), MimiModel.from_pretrained(work / "codec").eval()
    names, sounds = pool(corpus, codec)
    model = WavLMForXVector(WavLMConfig(**CONFIG, num_labels=len(names))).to(device)
    model.objective.scale = 20.0
    with torch.no_grad():  # it starts with ears: tones of 25 ms, which the activation rectifies
        first = model.wavlm.feature_extractor.conv_layers[0].conv
        first.weight.copy_(bands(first.out_channels, first.kernel_size[0])[:, None] / 8)
    average = copy.deepcopy(model)
    optimiser = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.01)
    step, path = 0, work / "speaker.pt"
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    random, began, first, mean = np.random.default_rng(step), time.time(), step, 0.0
    model.train()
    while step < steps:
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 100) * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)
        model.objective.margin = 0.2 * min(1, 2 * step / steps)  # what is wanted from the start is never learnt
        values, labels = batch(sounds, random, 16)
        loss = model(values.to(device), labels=labels.to(device)).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        with torch.no_grad():
            for kept, weight in zip(average.parameters(), model.parameters(), strict=True):
                kept.lerp_(weight, max(0.005, 1 / (step + 1)))
        mean += loss.item()
        if step % 50 == 0:
            left = (time.time() - began) / (step - first) * (steps - step)
            print(f"step {step}  loss {mean / 50:.3f}  {left / 60:.1f} min left", flush=True)
            mean = 0.0
        if step % 250 == 0 or step == steps:
            state = {"model": model.state_dict(), "average": average.state_dict(), "step": step}
            keep(path, {**state, "optimiser": optimiser.state_dict()})
    average.eval().cpu()
    average.half().save_pretrained(out)
    Wav2Vec2FeatureExtractor(do_normalize=True, sampling_rate=RATE).save_pretrained(out)
    config = (out / "config.json").read_text().replace('"dtype": "float16"', '"dtype": "float32"')
    (out / "config.json").write_text(config)
    shares = name_voices(WavLMForXVector.from_pretrained(out).eval(), corpus, codec)
    print({voice: round(share, 2) for voice, share in shares.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, help="default: params.yaml")
    parser.add_argument("--out", type=Path, default=HERE / "speaker")
    args = parser.parse_args()
    steps = args.steps or yaml.safe_load((HERE / "params.yaml").read_text())["speaker"]["steps"]
    train(steps, args.out)


if __name__ == "__main__":
    main()
