"""Trains the tiny HuBERT and the semantic codes that stage 2 makes of its states: what is said, 25 times a second.

The phone recogniser (listener.py) teaches both: a head guesses its posteriors from the states, and another from the
codes, each of which stands for two of its frames. The first layer starts as a bank of filters with four phases each,
whose rectified sum is the loudness of a band; from a random start it takes far longer to hear anything.

Reads   <work>/corpus.npy, <work>/corpus.jsonl, <work>/listener.pt
Writes  <work>/sovits-hubert.pt (resumable), of which sovits.py makes chinese-hubert-base/ and the quantiser

Run:  python recipe/sovits_hubert.py [--minutes 5]
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
from codec import crops
from corpus import HERE, RATE, WORK, Corpus, keep
from listener import Ear
from torch import Tensor, nn
from transformers import HubertConfig, HubertModel

WIDTH = 192
HUBERT: dict[str, Any] = dict(  # noqa: C408
    hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512, vocab_size=32,
    conv_dim=(256, 256), conv_kernel=(320, 2), conv_stride=(160, 2), conv_bias=True, feat_extract_norm="layer",
    num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, do_stable_layer_norm=False,
    hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0, layerdrop=0.0,
    final_dropout=0.0, apply_spec_augment=False, mask_time_prob=0.0,
)  # fmt: skip
SECONDS, STATES = 2.02, 100  # of a crop
ROWS = 24  # crops of a batch
CODES = 1024
QUANTISED = 0.2  # share of the training after which codes are chosen
FADE = 0.99  # of the codes' moving averages


@torch.no_grad()
def filters(model: HubertModel) -> None:
    """Writes the bank of filters into the first convolution: 64 bands of four phases, spaced as mels."""
    conv = model.feature_extractor.conv_layers[0].conv
    count, _, length = conv.weight.shape
    mels = np.linspace(2595 * np.log10(1 + 60 / 700), 2595 * np.log10(1 + 7600 / 700), count // 4)
    pitch = 700 * (10 ** (mels / 2595) - 1)  # Hz
    times = (np.arange(length) - length / 2) / RATE
    width = np.minimum(1.0, 2 / (np.gradient(pitch) * length / RATE))  # shorter where bands are wider
    window = np.exp(-0.5 * (times[None] * RATE / length * 5 / width[:, None]) ** 2)
    phases = np.arange(4)[:, None, None] * np.pi / 2
    bank = window * np.cos(2 * np.pi * pitch[None, :, None] * times + phases)
    bank *= 6 / np.sqrt(np.square(bank).sum(-1, keepdims=True))
    conv.weight.copy_(torch.tensor(bank.reshape(count, 1, length)))
    conv.bias.zero_()
    conv.requires_grad_(False)


class Hearing(nn.Module):
    """HuBERT, the quantiser, and the heads that are thrown away."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.hubert = HubertModel(HubertConfig(**HUBERT, attn_implementation="eager"))  # faster than sdpa at 100 states
        self.ssl_proj = nn.Conv1d(WIDTH, WIDTH, 2, stride=2)
        self.register_buffer("codebook", torch.randn(CODES, WIDTH))
        self.register_buffer("usage", torch.full((CODES,), 1 / CODES))
        self.states_head = nn.Linear(WIDTH, classes)
        self.codes_head = nn.Sequential(nn.Linear(WIDTH, 256), nn.GELU(), nn.Linear(256, 2 * classes))

    def forward(self, sound: Tensor, posteriors: Tensor, quantised: bool) -> dict[str, Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            states = self.hubert(sound).last_hidden_state
            rows = self.ssl_proj(states.transpose(1, 2)).transpose(1, 2)
            guess = self.states_head(states).float().log_softmax(-1)
        rows, commitment = rows.float(), torch.zeros(())
        if quantised:
            chosen = self.chosen(rows.detach())
            commitment = (rows - chosen).square().mean() / chosen.var()
            rows = rows + (chosen - rows).detach()
        with torch.autocast("cpu", torch.bfloat16):
            coded = self.codes_head(rows).float()
        coded = coded.view(len(coded), -1, guess.shape[2]).log_softmax(-1)
        with torch.no_grad():
            right = (coded.argmax(-1) == posteriors.argmax(-1)).float().mean()
        return {
            "states": -(posteriors * guess).sum(-1).mean(), "codes": -(posteriors * coded).sum(-1).mean(),
            "commit": commitment, "right": right,
        }  # fmt: skip

    def nearest(self, rows: Tensor) -> Tensor:
        return (self.codebook.square().sum(1) - 2 * rows @ self.codebook.T).argmin(-1)

    @torch.no_grad()
    def chosen(self, rows: Tensor) -> Tensor:
        """The codes nearest to (batch, codes, width); the codebook follows what chose them."""
        flat = rows.flatten(0, 1)
        which = self.nearest(flat)
        found = self.codebook[which].view_as(rows)
        if self.training:
            counts = torch.bincount(which, minlength=CODES) / len(flat)
            sums = torch.zeros_like(self.codebook).index_add_(0, which, flat) / len(flat)
            share = FADE * self.usage + (1 - FADE) * counts
            moved = self.codebook * (FADE * self.usage)[:, None] + (1 - FADE) * sums
            self.codebook.copy_(moved / share.clamp_min(1e-9)[:, None])
            self.usage.copy_(share)
            dead = (share < 0.03 / CODES).nonzero()[:, 0][:32]
            self.codebook[dead] = flat[torch.randperm(len(flat))[: len(dead)]]
            self.usage[dead] = 0.2 / CODES
        return found

    @torch.no_grad()
    def start_codes(self, sounds: list[Tensor]) -> None:
        """k-means."""
        states = [self.hubert(sound).last_hidden_state.transpose(1, 2) for sound in sounds]
        rows = torch.cat([self.ssl_proj(some).transpose(1, 2).flatten(0, 1) for some in states])
        self.codebook.copy_(rows[torch.randperm(len(rows))[:CODES]])
        for _ in range(8):
            which = self.nearest(rows)
            counts = torch.bincount(which, minlength=CODES).float()
            means = torch.zeros_like(self.codebook).index_add_(0, which, rows) / counts.clamp_min(1)[:, None]
            spare = rows[torch.randperm(len(rows))[:CODES]]
            self.codebook.copy_(torch.where(counts[:, None] > 0, means, spare))
        self.usage.copy_(counts / counts.sum())


@torch.no_grad()
def taught(ear: Ear, sound: Tensor, states: int) -> Tensor:
    """The listener's posteriors at each state's middle, which lies three quarters between two of its frames."""
    with torch.autocast("cpu", torch.bfloat16):
        found = ear.net(ear.net.mels(sound)).float().softmax(-1)
    found = torch.cat((found, found[:, -1:]), 1)
    return 0.25 * found[:, :states] + 0.75 * found[:, 1 : states + 1]


def train(minutes: float, work: Path = WORK) -> None:
    torch.manual_seed(0)
    corpus, ear, path = Corpus(work), Ear.load(work), work / "sovits-hubert.pt"
    rows, step, spent, quantised = corpus.of("train"), 0, 0.0, False
    model = Hearing(ear.net.head.out_features)
    filters(model.hubert)
    optimiser = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], 2e-3, betas=(0.9, 0.98), weight_decay=0.01
    )
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent, quantised = state["step"], state["spent"], state["quantised"]
    random, saved, sums = np.random.default_rng(step), time.time(), {}
    model.train()
    while spent < minutes * 60:
        began = time.process_time()
        done = spent / (minutes * 60)
        if done > QUANTISED and not quantised:
            model.start_codes([crops(corpus, rows, random, ROWS, SECONDS) for _ in range(12)])
            quantised = True
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 100) * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
        sound = crops(corpus, rows, random, ROWS, SECONDS)
        parts = model(sound, taught(ear, sound, STATES), quantised)
        optimiser.zero_grad()
        (parts["states"] + parts["codes"] + 0.25 * parts["commit"]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step, spent = step + 1, spent + time.process_time() - began
        sums = {name: sums.get(name, 0.0) + part.item() / 50 for name, part in parts.items()}
        if step % 50 == 0:
            used = float((-(model.usage * model.usage.clamp_min(1e-9).log()).sum()).exp())
            told = "  ".join(f"{name} {value:.3f}" for name, value in sums.items())
            print(f"step {step}  {told}  codes used {used:.0f}  {minutes * 60 - spent:.0f} s left", flush=True)
            sums = {}
        if time.time() - saved > 60 or spent >= minutes * 60:
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
            keep(path, {**state, "step": step, "spent": spent, "quantised": quantised})
            saved = time.time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, help="of computing, in all; default: params.yaml")
    args = parser.parse_args()
    torch.set_num_threads(1)
    train(args.minutes or yaml.safe_load((HERE / "params.yaml").read_text())["sovits"]["hubert_minutes"])


if __name__ == "__main__":
    main()
