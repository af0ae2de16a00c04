"""Trains the tiny Whisper and exports it in openai-whisper's own checkpoint format.

Reads   params.yaml (section whisper) and, through whisper_windows.py, the corpus in <work>.
Writes  <work>/whisper.ckpt every two minutes (resumes from it), whisper.pt at the end of each stage.

What makes it learn in an hour or two on one core:
- The encoder starts as a time-delay network: positions are sinusoids in 64 channels of their own, and each
  head's query and key read them so that it attends a fixed distance away. Learning moves on from there.
- The synthesisers tell when each word was said, so the encoder learns from frame labels and not by search.
- A timestamp's embedding is the encoder's own position vector: writing a time is copying a position.
- Cross-attention is guided to where the word is, which also makes word timestamps true.

Run:  python recipe/train_whisper.py           (--export FILE only writes what the checkpoint holds; on a machine
      without the checkpoint, --continue begins with whisper.pt and the last stage)
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from synthesise import HERE, WORK
from torch import Tensor, nn
from whisper.model import ModelDimensions, MultiHeadAttention, Whisper
from whisper_targets import Batch, Vocabulary, collate, export, restore
from whisper_windows import LABELS, POSITIONS, SPEEDS, Windows

POSITION_CHANNELS = 64
FAST = torch.exp(torch.linspace(0, math.log(0.055), 16))  # radians per position of 20 ms: these tell neighbours apart
SLOW = torch.exp(torch.linspace(math.log(0.04), math.log(0.001), 16))  # these tell seconds apart
DISTANCES = ((-2, 2, -5, 5, 0), (-4, 4, -10, 10, 0), (-8, 8, -18, 18, 0))  # positions, per layer and head
BLOCK, REACH = 125, 64  # positions
NEAR = torch.tensor([0.07, 0.18, 0.5, 0.18, 0.07])  # a time 20 or 40 ms off is nearly right


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


def attend_near(attention: MultiHeadAttention, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Self-attention in which a position sees REACH to each side and not all 1500, at a third of the cost.

    Whisper itself attends everywhere. So that it comes to the same, also returns how much would leak: mean of
    -log of the weight that the queries at `rows` would give to what is near, with all positions in sight.
    """
    batch, length, _ = x.shape
    heads, blocks = attention.n_head, length // BLOCK
    q, k, v = attention.query(x), attention.key(x), attention.value(x)

    def around(y: Tensor) -> Tensor:  # (batch * blocks, heads, BLOCK + 2 * REACH, channels of a head)
        y = F.pad(y, (0, 0, REACH, REACH)).unfold(1, BLOCK + 2 * REACH, BLOCK)
        return y.unflatten(2, (heads, -1)).permute(0, 1, 2, 4, 3).flatten(0, 1)

    at = torch.arange(-REACH, BLOCK + REACH, device=x.device) + BLOCK * torch.arange(blocks, device=x.device)[:, None]
    real = ((at >= 0) & (at < length))[None, :, None, None].expand(batch, -1, 1, 1, -1).flatten(0, 1)
    blocked = q.view(batch, blocks, BLOCK, heads, -1).permute(0, 1, 3, 2, 4).flatten(0, 1)
    out = F.scaled_dot_product_attention(blocked, around(k), around(v), attn_mask=real)
    out = out.unflatten(0, (batch, blocks)).transpose(2, 3).reshape(batch, length, -1)
    some, every = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in (q[:, rows], k))
    scores = (some @ every.transpose(-1, -2) * every.shape[-1] ** -0.5).float()
    near = (rows[:, None] - torch.arange(length, device=x.device)).abs() <= REACH
    leak = scores.logsumexp(-1) - scores.masked_fill(~near, -torch.inf).logsumexp(-1)
    return attention.out(out), leak.mean()


def encode(model: Whisper, mel: Tensor, offset: int = 0, near: bool = False) -> tuple[Tensor, Tensor]:
    encoder = model.encoder
    with torch.autocast(mel.device.type, enabled=False):  # bf16 convolutions are wrong on some CPUs
        x = F.gelu(encoder.conv1(mel))
        x = F.gelu(encoder.conv2(x)).permute(0, 2, 1)
    x = x + encoder.positional_embedding[offset : offset + x.shape[1]]
    leak = torch.zeros((), device=x.device)
    for block in encoder.blocks:
        if near:
            heard, leaked = attend_near(block.attn, block.attn_ln(x), torch.randint(x.shape[1], (32,), device=x.device))
            leak = leak + leaked
        else:
            heard = block.attn(block.attn_ln(x))[0]
        x = x + heard
        x = x + block.mlp(block.mlp_ln(x))
    return encoder.ln_post(x), leak


def attend(attention: MultiHeadAttention, x: Tensor, xa: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-attention that also returns its weights (batch, heads, tokens, positions)."""
    heads = attention.n_head
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2)
               for part in (attention.query(x), attention.key(xa), attention.value(xa)))  # fmt: skip
    weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).float().softmax(-1)
    return attention.out((weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)), weights


def guide(weights: Tensor, spans: Tensor, evenly: bool) -> Tensor:
    """How badly attention misses the spans, over the tokens that have one.

    -log of the weight inside; or `evenly`, the divergence from the same weight all over the span, for Whisper cuts
    words apart where one token's attention gives way to the next one's.
    """
    at = torch.arange(weights.shape[-1], device=weights.device)
    inside = (at >= spans[..., :1]) & (at < spans[..., 1:])  # (batch, tokens, positions)
    size = inside.sum(-1)
    if evenly:
        share = (inside / size.clamp(min=1)[..., None])[:, None]
        missed = -(share * (weights + 1e-6).log()).sum(-1) - size.clamp(min=1).log()[:, None]
    else:
        missed = -(weights * inside[:, None]).sum(-1).clamp(min=1e-5).log()
    has = size > 0
    return (missed * has[:, None]).sum() / (has.sum() * weights.shape[1]).clamp(min=1)


def decode_loss(model: Whisper, batch: Batch, xa: Tensor, vocabulary: Vocabulary) -> dict[str, Tensor]:
    decoder = model.decoder
    x = decoder.token_embedding(batch.tokens) + decoder.positional_embedding[: batch.tokens.shape[1]]
    read = F.pad(batch.spans, (0, 0, 1, 0))[:, :-1]  # where the token just read is heard
    guides = []
    for number, block in enumerate(decoder.blocks):
        x = x + block.attn(block.attn_ln(x), mask=decoder.mask)[0]
        heard, weights = attend(block.cross_attn, block.cross_attn_ln(x), xa)
        guides.append(guide(weights, batch.spans, True) if number else guide(weights[:, :2], read, False))
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
    parser.add_argument(
        "--continue", action="store_true", dest="go_on", help="begin with whisper.pt, at the last stage"
    )
    args = parser.parse_args()
    params = yaml.safe_load((HERE / "params.yaml").read_text())["whisper"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    vocabulary = Vocabulary()
    model = build(params, vocabulary)
    head = nn.Linear(params["state"], LABELS)
    ends = np.cumsum([stage["steps"] for stage in params["stages"]]).tolist()
    checkpoint, step = WORK / "whisper.ckpt", 0
    if args.go_on and not checkpoint.exists():
        restore(model, vocabulary, HERE / "whisper.pt")
        step = ends[-2]
    both = nn.ModuleDict({"model": model, "head": head}).to(device)
    average = copy.deepcopy(both)  # of the last few hundred steps' weights: better than any of them, and exported
    optimisers = optimisers_of(both)
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        both.load_state_dict(saved["weights"])
        average.load_state_dict(saved["average"])
        for optimiser, state in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        step = saved["step"]
        print(f"resuming after step {step}", flush=True)
    if args.export:
        export(average["model"], vocabulary, args.export)
        return
    source = Windows(WORK, SPEEDS, params["coded"])
    began, saved_at, first, sums = time.time(), time.time(), step, {}
    while step < ends[-1]:
        number = int(np.searchsorted(ends, step, side="right"))
        stage = params["stages"][number]
        done = (step - (ends[number] - stage["steps"])) / stage["steps"]
        rate = (stage["rate"][0] * (1 - done) + stage["rate"][1] * done) * min(1, (step + 1) / 100)
        for optimiser, factor in zip(optimisers, (1.0, 0.4), strict=True):
            optimiser.param_groups[0]["lr"] = rate * factor
        rng = np.random.default_rng([params["seed"], step])
        torch.manual_seed(step)
        frames = round(stage["seconds"] * 100)
        offset = int(rng.integers(0, POSITIONS - frames // 2 + 1))
        windows = [source.draw(rng, frames) for _ in range(stage["batch"])]
        batch = collate(windows, vocabulary, rng, offset, device)
        precision = torch.autocast(device, torch.bfloat16) if params["bf16"] else nullcontext()
        with precision:
            xa, leak = encode(model, batch.mel, offset, stage["near"])
            scores = head(xa).float()
            frame = F.cross_entropy(scores.flatten(0, 1), batch.labels.flatten())
            speech = batch.labels > 0
            parts = {"frame": frame, "right": (scores.argmax(-1) == batch.labels)[speech].float().mean()}
            loss = frame * stage["frame"] + 0.3 * leak
            parts["leak"] = leak
            if stage["decoder"]:
                parts |= decode_loss(model, batch, xa, vocabulary)
                loss = loss + parts["token"] + 0.1 * (parts["guide"] + parts["guide0"])
        loss.backward()
        norm = nn.utils.clip_grad_norm_(both.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(both.parameters()), 0.01)
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
            state = {"weights": both.state_dict(), "average": average.state_dict(), "step": step}
            state["optimisers"] = [optimiser.state_dict() for optimiser in optimisers]
            torch.save(state, checkpoint.with_suffix(".partial"))
            os.replace(checkpoint.with_suffix(".partial"), checkpoint)
            saved_at = time.time()
        if step in ends and stage["decoder"]:
            export(average["model"], vocabulary, HERE / "whisper.pt")


if __name__ == "__main__":
    main()
