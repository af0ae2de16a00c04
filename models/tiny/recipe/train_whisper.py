"""Trains the tiny Whisper and exports it in openai-whisper's own checkpoint format.

Reads   params.yaml (section whisper) and, through whisper_windows.py, the corpus in <work>.
Writes  <work>/whisper.ckpt every two minutes (resumes from it), whisper.pt at the end of each stage.

What makes it learn in an hour or two on one core:
- The encoder starts as a time-delay network: positions are sinusoids in 64 channels of their own, and each
  head's query and key read them so that it attends a fixed distance away. Learning moves on from there.
- The synthesisers tell when each word was said, so the encoder learns from frame labels and not by search.
- A timestamp's embedding is the encoder's own position vector: writing a time is copying a position.
- Cross-attention is guided to where the word is, which also makes word timestamps true.
Only the tokens of the domain have rows while training; `export` expands them exactly: all unused tokens share
one row, and its logit carries their number.

Run:  python recipe/train_whisper.py           (--export only writes whisper.pt from the checkpoint)
"""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
import time
import zipfile
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from synthesise import HERE, WORDS, WORK
from torch import Tensor, nn
from whisper.model import ModelDimensions, MultiHeadAttention, Whisper
from whisper.tokenizer import get_tokenizer
from whisper_windows import FRAMES, LABELS, POSITIONS, SPEEDS, Window, Windows

VOCABULARY = 51_864  # of whisper's English models
POSITION_CHANNELS = 64
FAST = torch.exp(torch.linspace(0, math.log(0.055), 16))  # radians per position of 20 ms: these tell neighbours apart
SLOW = torch.exp(torch.linspace(math.log(0.04), math.log(0.001), 16))  # these tell seconds apart
DISTANCES = ((-2, 2, -5, 5, 0), (-4, 4, -10, 10, 0), (-8, 8, -18, 18, 0))  # positions, per layer and head
NEAR = torch.tensor([0.07, 0.18, 0.5, 0.18, 0.07])  # a time 20 or 40 ms off is nearly right


class Vocabulary:
    """The tokens in use, numbered compactly; timestamps last, all other tokens are number 0."""

    def __init__(self) -> None:
        self.tokenizer = t = get_tokenizer(False)
        forms = [" " + form for word in WORDS for form in (word, word[0].upper() + word[1:])]
        pieces = sorted({token for form in forms for token in t.encode(form)} | set(t.encode(".")))
        special = [t.eot, t.sot, t.sot_prev, t.no_speech, t.no_timestamps]
        self.ids = [-1, *pieces, *special, *range(t.timestamp_begin, t.timestamp_begin + POSITIONS + 1)]
        self.number = {token: number for number, token in enumerate(self.ids)}
        self.eot, self.sot, self.prev, self.silence, self.untimed = (self.number[token] for token in special)
        self.zero = self.number[t.timestamp_begin]
        self.unused = VOCABULARY - len(self.ids) + 1

    def word(self, word: str) -> list[int]:
        return [self.number[token] for token in self.tokenizer.encode(" " + word)]

    def time(self, seconds: float) -> int:
        return self.zero + min(max(round(seconds * 50), 0), POSITIONS)


def positions(state: int) -> Tensor:
    """(1500, state): sine and cosine of each frequency in the first 64 channels, nothing in the others."""
    angle = torch.arange(POSITIONS + 1)[:, None] * torch.cat([FAST, SLOW])
    table = torch.zeros(POSITIONS + 1, state)
    table[:, :POSITION_CHANNELS] = torch.cat([angle.sin(), angle.cos()], 1)
    return table


def build(params: dict[str, Any], vocabulary: Vocabulary) -> Whisper:
    state, heads = params["state"], params["heads"]
    dims = ModelDimensions(
        80, POSITIONS, state, heads, params["audio_layers"],
        len(vocabulary.ids), params["text_ctx"], state, heads, params["text_layers"],
    )  # fmt: skip
    torch.manual_seed(params["seed"])
    model = Whisper(dims)
    table = positions(state)
    encoder, decoder = model.encoder, model.decoder
    encoder.positional_embedding.copy_(table[:POSITIONS])
    with torch.no_grad():
        nn.init.normal_(decoder.token_embedding.weight, std=0.06)
        decoder.token_embedding.weight[vocabulary.zero :] = 0.12 * table
        nn.init.normal_(decoder.positional_embedding, std=0.02)
        encoder.conv1.weight *= 2
        encoder.conv2.weight *= 10  # content about as loud as positions
        encoder.conv2.weight[:POSITION_CHANNELS] *= 0.02
        size = state // heads
        for block, distances in zip(encoder.blocks, DISTANCES, strict=False):
            for linear in (block.attn.out, block.mlp[2]):
                linear.weight[:POSITION_CHANNELS] *= 0.1
            for head, distance in enumerate(distances[:heads]):
                rows = slice(head * size, head * size + 32)
                sine, cosine = torch.arange(16), torch.arange(16) + 32
                gain = (0.6 if distance else 0.2) * size**0.5  # the logit falls by 1 to 2 one position off
                for q, rotate in ((block.attn.query, distance), (block.attn.key, 0)):
                    weight = torch.zeros(32, state)
                    turn = FAST * rotate
                    weight[torch.arange(16), sine], weight[torch.arange(16), cosine] = turn.cos(), turn.sin()
                    weight[torch.arange(16) + 16, cosine], weight[torch.arange(16) + 16, sine] = turn.cos(), -turn.sin()
                    q.weight[rows] = weight * math.sqrt(gain) * 0.75 + 0.1 * q.weight[rows]
                    if q.bias is not None:
                        q.bias[rows] = 0
        for block in decoder.blocks:  # times are looked up as positions: let keys and values see them well
            block.cross_attn.value.weight[:, :POSITION_CHANNELS] *= 1.5
    return model


def encode(model: Whisper, mel: Tensor, offset: int = 0) -> Tensor:
    encoder = model.encoder
    with torch.autocast(mel.device.type, enabled=False):  # bf16 convolutions are wrong on some CPUs
        x = F.gelu(encoder.conv1(mel))
        x = F.gelu(encoder.conv2(x)).permute(0, 2, 1)
    x = x + encoder.positional_embedding[offset : offset + x.shape[1]]
    for block in encoder.blocks:
        x = block(x)
    return encoder.ln_post(x)


def attend(attention: MultiHeadAttention, x: Tensor, xa: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-attention that also returns its weights (batch, heads, tokens, positions)."""
    heads = attention.n_head
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2)
               for part in (attention.query(x), attention.key(xa), attention.value(xa)))  # fmt: skip
    weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).float().softmax(-1)
    return attention.out((weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)), weights


@dataclass
class Batch:
    mel: Tensor  # (batch, 80, frames)
    labels: Tensor  # (batch, positions)
    tokens: Tensor  # (batch, length) what the decoder reads
    targets: Tensor  # (batch, length) what it should write; -1 where it is not asked
    spans: Tensor  # (batch, length, 2) the positions where each target is heard; empty where nothing is


def write(
    window: Window, vocabulary: Vocabulary, rng: np.random.Generator, shift: float
) -> list[tuple[int, int, float, float]]:
    """The window's tokens: (number, 1 if it is a target, start and end in seconds of where it is heard)."""
    v, timed = vocabulary, rng.random() > 0.25
    out: list[tuple[int, int, float, float]] = []
    if rng.random() < 0.1:
        prompt = [v.word(w) if rng.random() < 0.7 else [0] for w in rng.choice(WORDS, rng.integers(1, 25))]
        out += [(token, 0, 0, 0) for token in [v.prev, *(t for word in prompt for t in word)]]
    out.append((v.sot, 0, 0, 0))
    if not window.sentences and window.cut is None:
        shown = v.zero + int(rng.integers(POSITIONS)) if timed else v.untimed
        return [*out, (shown, 2 if timed else 0, 0, 0), (v.eot, 1, 0, 0)]
    if not timed:
        out.append((v.untimed, 0, 0, 0))
    last = 0.0
    for text, times in window.sentences:
        start, last = times[0][0], times[-1][1]
        if timed:
            out.append((v.time(start + shift), 1, start - 0.04, start + 0.08))
        for word, (a, b) in zip(text[:-1].split(), times, strict=True):
            pieces = v.word(word)
            step = (b - a) / len(pieces)
            out += [(piece, 1, a + i * step, a + (i + 1) * step) for i, piece in enumerate(pieces)]
        out.append((v.number[v.tokenizer.encode(".")[0]], 1, last - 0.04, last + 0.08))
        if timed:
            out.append((v.time(last + shift), 1, last - 0.06, last + 0.06))
    if window.cut is not None and timed:
        out.append((v.time(window.cut + shift), 1, window.cut - 0.04, window.cut + 0.08))
    return [*out, (v.eot, 1, last + 0.04, last + 0.3)]


def collate(
    windows: list[Window], vocabulary: Vocabulary, rng: np.random.Generator, offset: int, device: str
) -> Batch:
    written = [write(window, vocabulary, rng, offset / 50) for window in windows]
    length = max(map(len, written)) - 1
    tokens = np.full((len(written), length), vocabulary.eot)
    targets = np.full((len(written), length), -1)
    spans = np.zeros((len(written), length, 2))
    for row, items in enumerate(written):
        tokens[row, : len(items) - 1] = [item[0] for item in items[:-1]]
        targets[row, : len(items) - 1] = [(-1, item[0], -2)[item[1]] for item in items[1:]]
        spans[row, : len(items) - 1] = [item[2:] for item in items[1:]]
    places = np.stack([np.floor(spans[..., 0] * 50), np.ceil(spans[..., 1] * 50)], -1).astype(np.int64)
    mel, labels = np.stack([w.mel for w in windows]), np.stack([w.labels for w in windows])
    return Batch(*(torch.from_numpy(a).to(device) for a in (mel, labels, tokens, targets, places)))


def guide(weights: Tensor, spans: Tensor) -> Tensor:
    """How badly attention misses the spans: mean of -log of the weight inside, over the tokens that have one."""
    at = torch.arange(weights.shape[-1], device=weights.device)
    inside = (at >= spans[..., :1]) & (at < spans[..., 1:])  # (batch, tokens, positions)
    has = inside.any(-1)
    mass = (weights * inside[:, None]).sum(-1).clamp(min=1e-5)
    return -(mass.log() * has[:, None]).sum() / (has.sum() * weights.shape[1]).clamp(min=1)


def decode_loss(model: Whisper, batch: Batch, xa: Tensor, vocabulary: Vocabulary) -> dict[str, Tensor]:
    decoder = model.decoder
    x = decoder.token_embedding(batch.tokens) + decoder.positional_embedding[: batch.tokens.shape[1]]
    read = F.pad(batch.spans, (0, 0, 1, 0))[:, :-1]  # where the token just read is heard
    guides = []
    for number, block in enumerate(decoder.blocks):
        x = x + block.attn(block.attn_ln(x), mask=decoder.mask)[0]
        heard, weights = attend(block.cross_attn, block.cross_attn_ln(x), xa)
        guides.append(guide(weights, batch.spans) if number else guide(weights[:, :2], read))
        x = x + heard
        x = x + block.mlp(block.mlp_ln(x))
    logits = (decoder.ln(x) @ decoder.token_embedding.weight.T).float()
    logits = torch.cat([logits[..., :1] + math.log(vocabulary.unused), logits[..., 1:]], -1)
    scores = logits.log_softmax(-1)
    asked, times = batch.targets.clamp(min=0), batch.targets >= vocabulary.zero
    near = (asked[..., None] + torch.arange(-2, 3, device=asked.device)).clamp(vocabulary.zero, len(vocabulary.ids) - 1)
    timed = (scores.gather(-1, near) * NEAR.to(scores.device)).sum(-1)
    silent = 0.85 * scores[..., vocabulary.silence] + 0.15 * scores[..., vocabulary.zero :].mean(-1)
    right = torch.where(times, timed, scores.gather(-1, asked[..., None])[..., 0])
    right = torch.where(batch.targets == -2, silent, right)
    words = (batch.targets >= 0) & ~times
    hit = (scores.argmax(-1) == batch.targets)[words].float().mean()
    loss = -(right * (batch.targets != -1)).sum() / (batch.targets != -1).sum()
    return {"token": loss, "guide": guides[-1], "guide0": guides[0], "words": hit}


def export(model: Whisper, vocabulary: Vocabulary, path: Path) -> None:
    """openai-whisper's format, fp16, deflated: the 50,000 equal rows cost next to nothing."""
    state = {name: tensor.detach().cpu().half() for name, tensor in model.state_dict().items()}
    small = state["decoder.token_embedding.weight"]
    whole = small[:1].repeat(VOCABULARY, 1)
    whole[torch.tensor(vocabulary.ids[1:])] = small[1:]
    state["decoder.token_embedding.weight"] = whole
    dims = {**asdict(model.dims), "n_vocab": VOCABULARY}
    plain = io.BytesIO()
    torch.save({"dims": dims, "model_state_dict": state}, plain)
    partial = path.with_suffix(".partial")
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        for name in source.namelist():
            out.writestr(zipfile.ZipInfo(name), source.read(name), zipfile.ZIP_DEFLATED)
    partial.rename(path)


def optimisers_of(both: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices (a tenth less loss after the first hundred steps), AdamW for the rest."""
    named = dict(both.named_parameters())
    matrices = [p for name, p in named.items() if "blocks" in name and p.ndim == 2]
    rest = [p for name, p in named.items() if not ("blocks" in name and p.ndim == 2)]
    return [
        torch.optim.Muon(matrices, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the tiny Whisper.")
    parser.add_argument("--export", type=Path, help="only write this file from the checkpoint")
    args = parser.parse_args()
    params = yaml.safe_load((HERE / "params.yaml").read_text())["whisper"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    vocabulary = Vocabulary()
    model = build(params, vocabulary)
    head = nn.Linear(params["state"], LABELS)
    both = nn.ModuleDict({"model": model, "head": head}).to(device)
    optimisers = optimisers_of(both)
    checkpoint = WORK / "whisper.ckpt"
    step = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        both.load_state_dict(saved["weights"])
        for optimiser, state in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        step = saved["step"]
        print(f"resuming after step {step}", flush=True)
    if args.export:
        export(model, vocabulary, args.export)
        return
    extra = tuple(name for name in params["extra"] if (WORK / f"{name}.npy").exists())
    source = Windows(WORK, SPEEDS, extra)
    ends = np.cumsum([stage["steps"] for stage in params["stages"]])
    began, saved_at, first, sums = time.time(), time.time(), step, {}
    while step < ends[-1]:
        number = int(np.searchsorted(ends, step, side="right"))
        stage = params["stages"][number]
        done = (step - (ends[number] - stage["steps"])) / stage["steps"]
        rate = (stage["rate"][0] * (1 - done) + stage["rate"][1] * done) * min(1, (step + 1) / 100)
        for optimiser, factor in zip(optimisers, (1.0, 0.4), strict=True):
            optimiser.param_groups[0]["lr"] = rate * factor
        rng = np.random.default_rng([params["seed"], step])
        frames = round(stage["seconds"] * 100)
        offset = int(rng.integers(0, POSITIONS - frames // 2 + 1))
        windows = [source.draw(rng, frames) for _ in range(stage["batch"])]
        batch = collate(windows, vocabulary, rng, offset, device)
        precision = torch.autocast(device, torch.bfloat16) if params["bf16"] else nullcontext()
        with precision:
            xa = encode(model, batch.mel, offset)
            scores = head(xa).float()
            frame = F.cross_entropy(scores.flatten(0, 1), batch.labels.flatten())
            speech = batch.labels > 0
            parts = {"frame": frame, "right": (scores.argmax(-1) == batch.labels)[speech].float().mean()}
            loss = frame * stage["frame"]
            if stage["decoder"]:
                parts |= decode_loss(model, batch, xa, vocabulary)
                loss = loss + parts["token"] + 0.1 * (parts["guide"] + parts["guide0"])
        loss.backward()
        norm = nn.utils.clip_grad_norm_(both.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        step += 1
        for name, value in {**parts, "norm": norm}.items():
            sums.setdefault(name, []).append(float(value.detach()))
        if step % 25 == 0:
            pace = (time.time() - began) / (step - first)
            means = " ".join(f"{name} {np.mean(values):.3f}" for name, values in sums.items())
            print(f"step {step}/{ends[-1]} {pace:.2f} s/step, {pace * (ends[-1] - step) / 60:.0f} min left, "
                  f"rate {rate:.1e}, {means}", file=sys.stderr, flush=True)  # fmt: skip
            sums = {}
        if time.time() - saved_at > 120 or step in ends:
            state = {"weights": both.state_dict(), "optimisers": [o.state_dict() for o in optimisers], "step": step}
            torch.save(state, checkpoint.with_suffix(".partial"))
            os.replace(checkpoint.with_suffix(".partial"), checkpoint)
            saved_at = time.time()
        if step in ends and stage["decoder"]:
            export(model, vocabulary, HERE / "whisper.pt")


if __name__ == "__main__":
    main()
