"""The tiny SNAC codec without its training: configuration, start, quantiser, use.

16 kHz; three levels of 1,024 codes at 12.5, 25 and 50 Hz. It is the package's own `snac.SNAC`; this file fills its
weights. Like the tiny Mimi it starts as a transform codec (MDCT and envelope, then principal components), because from
a random start it never learns phase.
"""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from codec_model import bands, mdct, principal
from snac import SNAC
from torch import Tensor, nn
from torch.nn import functional as F

RATE = 16_000  # Hz
COARSE = 1280  # samples per code of the first level; its frame has 1 + 2 + 4 codes
CONFIG: dict[str, Any] = dict(  # noqa: C408
    sampling_rate=RATE, encoder_dim=32, encoder_rates=[80, 4], latent_dim=128, decoder_dim=256, decoder_rates=[4, 80],
    attn_window_size=None, codebook_size=1024, codebook_dim=16, vq_strides=[4, 2, 1], noise=False, depthwise=False,
)  # fmt: skip
GAIN = 4.0  # brings MDCT coefficients of speech near 1, where Snake bends
WAVES = 40  # MDCT bins of 100 Hz that the encoder starts with; its other channels hear the envelope
KEPT = 128 - 24  # principal components of four MDCT frames in the latents; the other 24 are envelopes
NEARLY_LINEAR = 0.05  # Snake's alpha where the transform must pass


def put(conv: nn.Module, weight: Tensor) -> None:
    """Sets a weight-normed layer's weight. A zero row gets a direction too, or it would divide by zero."""
    size = weight.flatten(1).norm(dim=1)
    held = conv.parametrizations.weight
    held.original0.copy_(size.view_as(held.original0))
    held.original1.copy_(torch.where(size.view_as(held.original0) > 0, weight, torch.ones_like(weight)))
    if conv.bias is not None:
        conv.bias.zero_()


def silence(block: nn.Sequential) -> None:
    """Makes a block's residual units and Snakes pass their input unchanged."""
    for part in block:
        if hasattr(part, "alpha"):
            part.alpha.zero_()
        elif hasattr(part, "block"):
            for conv in (part.block[1], part.block[3]):
                put(conv, torch.zeros_like(conv.weight))


def soften(block: nn.Sequential) -> None:
    """Makes a block's residual units start small."""
    for part in block:
        if hasattr(part, "block"):
            put(part.block[1], part.block[1].weight.detach().clone())
            put(part.block[3], part.block[3].weight.detach() * 0.1)


@torch.no_grad()
def start_linear(model: SNAC, sound: Tensor) -> None:
    """Writes a transform codec into the convolutions; `sound` (batch, samples) gives scales and components.

    Of the encoder's 64 channels at 200 Hz WAVES hold MDCT bins, the rest tones whose square (Snake's) is the envelope.
    At the full rate nothing but a copy of the signal is left: `latents` and `sounds` skip those layers exactly, and
    training is several times faster.
    """
    first, wide, narrow, last = model.encoder.block
    silence(wide.block)
    copy = torch.zeros_like(first.weight)
    copy[0, 0, 3] = 1
    put(first, copy)
    basis, tones = mdct(), bands(64 - WAVES)
    scale = F.conv1d(sound[:, None], tones[:, None], stride=80).std((0, 2))
    filters = torch.zeros_like(wide.block[-1].weight)
    filters[:WAVES, 0] = basis[:WAVES] * GAIN
    filters[WAVES:, 0] = tones / scale[:, None]
    put(wide.block[-1], filters)

    soften(narrow.block)
    narrow.block[3].alpha.fill_(1.0)
    narrow.block[3].alpha[:, :WAVES] = NEARLY_LINEAR
    coefficients = analysed(model, sound)[:, :WAVES]
    fours = coefficients[..., : coefficients.shape[2] // 4 * 4].unfold(2, 4, 4)  # (batch, bins, fours, 4)
    components = principal(fours.permute(0, 2, 3, 1).reshape(-1, 4 * WAVES), KEPT)
    components = components.reshape(KEPT, 4, WAVES).transpose(1, 2)
    weight = narrow.block[4].weight.detach() * 0.2
    weight[:KEPT] *= 0.1
    weight[:KEPT, :WAVES, 2:6] += components
    weight[range(KEPT, 128), range(WAVES, 64)] += 0.125
    put(narrow.block[4], weight)
    weight = last.weight.detach() * 0.05
    weight[range(128), range(128), 3] += 1
    put(last, weight)

    first, narrow, wide, snake, last, _ = model.decoder.model
    weight = first.weight.detach() * 0.5
    weight[:KEPT] *= 0.1
    weight[range(KEPT), range(KEPT), 3] += 1
    put(first, weight)
    narrow.block[0].alpha.fill_(1.0)
    narrow.block[0].alpha[:, :KEPT] = NEARLY_LINEAR
    weight = narrow.block[1].weight.detach() * 0.5
    weight[:, :80] *= 0.2
    weight[:KEPT, :WAVES, 2:6] += components
    put(narrow.block[1], weight)
    soften(narrow.block)
    silence(wide.block)
    wide.block[0].alpha.fill_(NEARLY_LINEAR)
    filters = torch.zeros_like(wide.block[1].weight)
    filters[:80, 0] = basis / GAIN
    put(wide.block[1], filters)
    snake.alpha.zero_()
    copy = torch.zeros_like(last.weight)
    copy[0, 0, 3] = 1
    put(last, copy)

    for quantizer in model.quantizer.quantizers:  # each level is taught by `start_projections`
        for conv in (quantizer.in_proj, quantizer.out_proj):
            put(conv, torch.zeros_like(conv.weight))
    start_projections(model, latents(model, sound))


@torch.no_grad()
def start_projections(model: SNAC, latent: Tensor) -> None:
    """Each level sends the main directions of what the levels before it left.

    The last number that it sends is a constant: codes are chosen by angle, and beside a large constant an angle is a
    distance, so that loud and quiet are not the same.
    """
    residual, numbers = latent, CONFIG["codebook_dim"] - 1
    for quantizer in model.quantizer.quantizers:
        pooled = F.avg_pool1d(residual, quantizer.stride)
        rows = pooled.transpose(1, 2).reshape(-1, pooled.shape[1])
        middle = rows.mean(0)
        components = principal(rows - middle, numbers)
        spread = ((rows - middle) @ components.T).norm(dim=1).square().mean().sqrt()
        weight = torch.zeros_like(quantizer.in_proj.weight)
        weight[:numbers, :, 0] = components
        put(quantizer.in_proj, weight)
        put(quantizer.out_proj, weight.transpose(0, 1).contiguous())
        quantizer.in_proj.bias[:numbers] = -components @ middle
        quantizer.in_proj.bias[numbers] = 1.5 * spread
        quantizer.out_proj.bias.copy_(middle)
        sent = quantizer.out_proj(quantizer.in_proj(pooled)).repeat_interleave(quantizer.stride, dim=-1)
        residual = residual[..., : sent.shape[-1]] - sent


def fixed(model: SNAC) -> set[str]:
    """The names of the full-rate weights, which stay as `start_linear` made them."""
    prefixes = ["encoder.block.0.", "encoder.block.1.", "decoder.model.3.", "decoder.model.4."]
    prefixes += [f"decoder.model.2.block.{n}." for n in (1, 2, 3, 4)]
    return {name for name, _ in model.named_parameters() if name.startswith(tuple(prefixes))}


def analysed(model: SNAC, sound: Tensor) -> Tensor:
    """What the encoder's full-rate layers make of (batch, samples), in one convolution."""
    kernel = model.encoder.block[1].block[-1].weight[:, :1].detach()
    return F.conv1d(sound[:, None], kernel, stride=80, padding=40)


def latents(model: SNAC, sound: Tensor) -> Tensor:
    """What model.encoder makes of (batch, samples), fast."""
    hidden = analysed(model, sound)
    for layer in model.encoder.block[2:]:
        hidden = layer(hidden)
    return hidden


def sounds(model: SNAC, latent: Tensor) -> Tensor:
    """What model.decoder makes of latents, (batch, samples), fast."""
    layers = model.decoder.model
    hidden = layers[2].block[0](layers[1](layers[0](latent)))
    kernel = layers[2].block[1].weight[:, :1].detach()
    return torch.tanh(F.conv_transpose1d(hidden, kernel, stride=80, padding=40))[:, 0]


class Codebooks:
    """SNAC's quantiser with what training adds: k-means start, moving averages, restarts, straight-through."""

    RATES = (0.995, 0.99, 0.99)  # of the averages; the first level sees fewest codes a step

    def __init__(self, model: SNAC) -> None:
        self.levels = list(model.quantizer.quantizers)
        self.usage = [torch.ones(level.codebook_size) for level in self.levels]

    @torch.no_grad()
    def start(self, latent: Tensor) -> None:
        """k-means on the sphere, level by level, on (batch, dims, frames)."""
        residual = latent
        for level, usage in zip(self.levels, self.usage, strict=True):
            rows = level.in_proj(F.avg_pool1d(residual, level.stride)).transpose(1, 2).reshape(-1, level.codebook_dim)
            level.codebook.weight.copy_(rows[torch.randperm(len(rows))[: level.codebook_size]])
            for _ in range(10):
                codes = nearest(level, rows)
                counts = torch.bincount(codes, minlength=level.codebook_size).float()
                sums = torch.zeros_like(level.codebook.weight).index_add_(0, codes, rows)
                means = sums / counts.clamp_min(1)[:, None]
                spare = rows[torch.randperm(len(rows))[: level.codebook_size]]
                level.codebook.weight.copy_(torch.where(counts[:, None] > 0, means, spare))
            usage.copy_(counts / counts.sum())
            residual = residual - level(residual)[0]

    @torch.no_grad()
    def update(self, which: int, rows: Tensor, codes: Tensor) -> None:
        """Moves the codes to the mean of what chose them; `usage` is a code's share of all choices."""
        level, usage, rate = self.levels[which], self.usage[which], self.RATES[which]
        counts = torch.bincount(codes, minlength=level.codebook_size).float()
        sums = torch.zeros_like(level.codebook.weight).index_add_(0, codes, rows)
        share = usage * rate + counts / len(rows) * (1 - rate)
        moved = level.codebook.weight * (usage * rate)[:, None] + sums / len(rows) * (1 - rate)
        level.codebook.weight.copy_(moved / share.clamp_min(1e-9)[:, None])
        usage.copy_(share)
        dead = (usage < 0.05 / level.codebook_size).nonzero()[:, 0][: len(rows) // 8]
        if len(dead):
            level.codebook.weight[dead] = rows[torch.randperm(len(rows))[: len(dead)]]
            usage[dead] = 0.3 / level.codebook_size

    def __call__(
        self, latent: Tensor, quantise: bool = True, learn: bool = True
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """Latents after quantisation (gradients pass straight through), the sums of the levels, commitment loss."""
        residual, total, sums = latent, torch.zeros_like(latent), []
        commitment = torch.zeros(())
        for which, level in enumerate(self.levels):
            sent = level.in_proj(F.avg_pool1d(residual, level.stride))
            if quantise:
                rows = sent.transpose(1, 2).reshape(-1, level.codebook_dim)
                codes = nearest(level, rows.detach())
                chosen = level.codebook.weight[codes].detach().view(len(sent), -1, level.codebook_dim).transpose(1, 2)
                scale = level.in_proj.bias[-1].detach().square()  # commitment in units of the level's own spread
                commitment = commitment + (sent - chosen).square().sum(1).mean() / scale
                if learn:
                    self.update(which, rows.detach(), codes)
                sent = sent + (chosen - sent).detach()
            step = level.out_proj(sent).repeat_interleave(level.stride, dim=-1)
            residual, total = residual - step, total + step
            sums.append(total)
        return total, sums, commitment


def nearest(level: nn.Module, rows: Tensor) -> Tensor:
    """The code of each row: the smallest angle, as in the package."""
    return (F.normalize(rows) @ F.normalize(level.codebook.weight).T).argmax(1)


@torch.no_grad()
def encode(model: SNAC, sound: np.ndarray) -> np.ndarray:
    """Codes (coarse frames, 7) in Orpheus' order L1, L2a, L3a, L3b, L2b, L3c, L3d; the end is padded with silence."""
    padded = np.pad(sound.astype(np.float32), (0, -len(sound) % COARSE))
    _, codes = model.quantizer(latents(model, torch.from_numpy(padded)[None]))
    one, two, three = (
        level[0].numpy().astype(np.int16).reshape(-1, width) for level, width in zip(codes, (1, 2, 4), strict=True)
    )
    return np.concatenate([one, two[:, :1], three[:, :2], two[:, 1:], three[:, 2:]], 1)


@torch.no_grad()
def decode(model: SNAC, codes: np.ndarray) -> np.ndarray:
    """The sound of (coarse frames, 7) codes."""
    slots = torch.from_numpy(codes.astype(np.int64))
    levels = [slots[:, which].reshape(1, -1) for which in ([0], [1, 4], [2, 3, 5, 6])]
    return sounds(model, model.quantizer.from_codes(levels))[0].numpy()


def round_trip(model: SNAC, sound: np.ndarray) -> np.ndarray:
    return decode(model, encode(model, sound))[: len(sound)]


def deflate(path: Path) -> None:
    """Rewrites a torch file, which is a zip archive, in compressed form; it loads unchanged."""
    smaller = path.with_suffix(".tmp")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(smaller, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name), old.read(name), zipfile.ZIP_DEFLATED, 9)
    smaller.replace(path)


def export(model: SNAC, average: dict[str, Tensor], folder: Path) -> None:
    """Averaged weights in half precision as `SNAC.from_pretrained` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: average.get(name, weight).detach().half().clone() for name, weight in model.state_dict().items()}
    for name, weight in state.items():
        if not torch.isfinite(weight).all():
            raise ValueError(f"{name}: too large for half precision")
    torch.save(state, folder / "pytorch_model.bin")
    deflate(folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")


def count(model: SNAC) -> tuple[int, int]:
    """Parameters, and how many of them are trained."""
    still = fixed(model)
    sizes = {name: math.prod(p.shape) for name, p in model.named_parameters()}
    return sum(sizes.values()), sum(size for name, size in sizes.items() if name not in still)
