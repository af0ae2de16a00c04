"""The tiny Mimi codec without its training: configuration, start, quantiser, use.

16 kHz, 25 frames a second, 8 codebooks of 512. It starts as a transform codec (MDCT and envelope, then principal
components), for from a random start it never learns phase. What it decodes comes DELAY samples (25 ms) late.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import MimiModel

RATE, FRAME = 16_000, 640  # samples a second, samples per code frame
DELAY = 400  # one MDCT hop (80) and one block of four (320)
CONFIG: dict[str, Any] = dict(  # noqa: C408
    sampling_rate=RATE, upsampling_ratios=[4, 80], num_filters=32, hidden_size=256, num_hidden_layers=3,
    num_attention_heads=4, num_key_value_heads=4, intermediate_size=768, layer_scale_initial_scale=0.01,
    upsample_groups=1, vector_quantization_hidden_dimension=64, codebook_dim=64, codebook_size=512,
    num_quantizers=8, num_semantic_quantizers=1, use_cache=False,
    sliding_window=48,  # positions of 20 ms: never more than what one-second crops have taught
)  # fmt: skip
FAINT = 1e-3  # the signal where it must pass ELU unchanged
WAVES = 40  # MDCT bins of 100 Hz that the encoder starts with
LOUD = 0.2  # the signal's scale inside: small, so that ELU is nearly linear


def mdct(hop: int = 80) -> Tensor:
    """Orthonormal lapped basis (hop, 2 hop)."""
    n, k = np.arange(2 * hop), np.arange(hop)[:, None]
    window = np.sin(np.pi / (2 * hop) * (n + 0.5))
    basis = window * np.cos(np.pi / hop * (n + 0.5 + hop / 2) * (k + 0.5)) * np.sqrt(2 / hop)
    return torch.tensor(basis, dtype=torch.float32)


def bands(count: int, length: int = 160) -> Tensor:
    """Windowed tones (count, length) at mel-spaced pitches, each with its own phase: ears for the envelope."""
    mels = np.linspace(150, 2595 * np.log10(1 + 7500 / 700), count)
    pitch = 700 * (10 ** (mels / 2595) - 1)
    n, window = np.arange(length), np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
    tones = window * np.cos(2 * np.pi * pitch[:, None] * n / RATE + np.arange(count)[:, None] * 2.4)
    return torch.tensor(tones, dtype=torch.float32)


def principal(rows: Tensor, keep: int) -> Tensor:
    """The main directions (keep, dims) of uncentred rows."""
    _, vectors = torch.linalg.eigh((rows.T @ rows / len(rows)).double())
    return vectors.flip(1)[:, :keep].T.float()


@torch.no_grad()
def start_linear(model: MimiModel, sound: Tensor) -> None:
    """Writes a transform codec into the convolutions; `sound` (batch, samples) gives scales and components.

    Of 64 channels at 200 a second the encoder's WAVES hold MDCT bins, faint enough for ELU to be linear, and the rest
    loud tones, which ELU rectifies to the envelope that a linear codec cannot carry. At the full rate nothing but a
    faint copy is left: `latents` and `sounds` skip those layers exactly, and training is several times faster.
    """
    for name, weight in model.named_parameters():
        if "layers" in name and "conv" in name:
            weight.mul_(0.1 if name.endswith("weight") else 0.0)
    enc, dec = model.encoder.encoder_seanet.layers, model.decoder.decoder_seanet.layers
    for layer in (enc[0], enc[1], enc[3], dec[5], dec[6], dec[8]):
        for weight in layer.parameters():
            weight.zero_()
    basis, tones, envelopes = mdct(), bands(64 - WAVES), 64 - WAVES
    scale = F.conv1d(sound[:, None], tones[:, None], stride=80).std((0, 2))
    copies = len(enc[0].conv.weight)  # channels that share the work, for half precision holds no single weight so large
    enc[0].conv.weight[:, 0, -1] = FAINT
    enc[3].conv.weight[:WAVES] = basis[:WAVES, None] * LOUD / FAINT / copies
    enc[3].conv.weight[WAVES:] = tones[:, None] * (3 / scale[:, None, None]) / FAINT / copies
    dec[5].conv.weight[:, 0] = basis[:64] * FAINT
    dec[8].conv.weight[0, 0, -1] = 1 / LOUD / FAINT

    # Four frames' MDCT bins to 50 a second, and the envelopes' mean over eight.
    coefficients = F.conv1d(F.pad(sound[:, None], (80, 0)) * LOUD, basis[:WAVES, None], stride=80)
    fours = coefficients.unfold(2, 4, 4).permute(0, 2, 3, 1).reshape(-1, 4 * WAVES)  # time first
    kept = 128 - envelopes
    first = principal(fours, kept).reshape(kept, 4, WAVES).transpose(1, 2)
    enc[6].conv.weight.mul_(0.2)
    enc[6].conv.weight[:kept] = 0
    enc[6].conv.weight[:kept, :WAVES, 4:] = first
    enc[6].conv.weight[range(kept, 128), range(WAVES, 64)] += 0.125
    enc[8].conv.weight[:128] *= 0.1
    enc[8].conv.weight[128:] *= 3
    enc[8].conv.weight[range(kept), range(kept), -1] += 10
    enc[8].conv.weight[range(kept, 128), range(kept, 128), -1] += 1

    hidden = F.conv1d(F.pad(sound[:, None] * FAINT, (80, 0)), enc[3].conv.weight.sum(1, keepdim=True), stride=80)
    for layer in enc[4:]:
        hidden = layer(hidden)
    even = hidden[:, :128, : hidden.shape[2] // 2 * 2]
    pairs = even.unfold(2, 2, 2).permute(0, 2, 3, 1).reshape(-1, 256)
    second = principal(pairs, 128)
    down, up = model.encoder.downsample.conv.weight, model.decoder.upsample.conv.weight
    for weight in (down, up):
        weight.mul_(0.02)
    down[:128, :128, 2:] += second.reshape(128, 2, 128).transpose(1, 2)
    up[:128, :128, :2] += second.reshape(128, 2, 128).transpose(1, 2)

    quantizer = model.quantizer
    acoustic, semantic = quantizer.acoustic_residual_vector_quantizer, quantizer.semantic_residual_vector_quantizer
    for proj in (acoustic.input_proj.weight, acoustic.output_proj.weight, semantic.output_proj.weight):
        proj.mul_(0.05)
    acoustic.input_proj.weight[range(64), range(64), 0] += 1
    acoustic.output_proj.weight[range(64), range(64), 0] += 1

    dec[0].conv.weight[:kept] *= 0.1
    dec[0].conv.weight[range(kept), range(kept), -1] += 0.1
    dec[2].conv.weight[:kept] *= 0.1
    dec[2].conv.weight[:kept, :WAVES, 4:] += first


def fixed(model: MimiModel) -> set[str]:
    """The names of the full-rate weights, which stay as `start_linear` made them."""
    layers = [f"encoder.encoder_seanet.layers.{n}." for n in (0, 1, 3)]
    layers += [f"decoder.decoder_seanet.layers.{n}." for n in (5, 6, 8)]
    return {name for name, _ in model.named_parameters() if name.startswith(tuple(layers))}


def latents(model: MimiModel, sound: Tensor, half: bool = True) -> Tensor:
    """What model.encoder makes of (batch, samples), fast: by 200 frames a second, the transformer in bfloat16."""
    layers = model.encoder.encoder_seanet.layers
    hidden = F.conv1d(F.pad(sound[:, None] * FAINT, (80, 0)), layers[3].conv.weight.sum(1, keepdim=True), stride=80)
    for layer in layers[4:]:
        hidden = layer(hidden)
    with torch.autocast(sound.device.type, torch.bfloat16, enabled=half):
        hidden = model.encoder.encoder_transformer(hidden.transpose(1, 2)).last_hidden_state.float()
    return model.encoder.downsample(hidden.transpose(1, 2))


def sounds(model: MimiModel, latent: Tensor) -> Tensor:
    """What model.decoder makes of latents, (batch, samples), fast."""
    hidden = model.decoder.upsample(latent).transpose(1, 2)
    with torch.autocast(latent.device.type, torch.bfloat16):
        hidden = model.decoder.decoder_transformer(hidden).last_hidden_state.float().transpose(1, 2)
    layers = model.decoder.decoder_seanet.layers
    for layer in layers[:5]:
        hidden = layer(hidden)
    return F.conv_transpose1d(hidden, layers[5].conv.weight[:, :1], stride=80)[:, 0, :-80] / LOUD / FAINT


class Codebooks:
    """Mimi's quantiser with what training adds: k-means start, moving averages, restarts, straight-through."""

    def __init__(self, model: MimiModel, rate: float = 0.99) -> None:
        q = model.quantizer
        self.parts = (q.semantic_residual_vector_quantizer, q.acoustic_residual_vector_quantizer)
        self.rate = rate

    @torch.no_grad()
    def start(self, latents: Tensor) -> None:
        """k-means, layer by layer, on (batch, dims, frames)."""
        for part in self.parts:
            rows = part.input_proj(latents).transpose(1, 2).reshape(-1, 64)
            for layer in part.layers:
                book = layer.codebook
                centres = rows[torch.randperm(len(rows))[: book.codebook_size]].clone()
                for _ in range(8):
                    near = torch.cdist(rows, centres).argmin(1)
                    counts = torch.bincount(near, minlength=len(centres)).float()
                    sums = torch.zeros_like(centres).index_add_(0, near, rows)
                    centres = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], centres)
                book.cluster_usage.copy_(counts.clamp_min(0.5))
                book.embed_sum.copy_(centres * book.cluster_usage[:, None])
                book._embed = None
                self.reserve()
                rows = rows - book.embed[book.quantize(rows)]

    @torch.no_grad()
    def reserve(self) -> None:
        """Code 0 of codebook 0 is kept far from all speech: to CSM it is the end, and must mean nothing else."""
        book = self.parts[0].layers[0].codebook
        rest = book.embed_sum[1:] / book.cluster_usage[1:, None].clamp_min(1e-5)
        book.cluster_usage[0] = 1
        book.embed_sum[0] = 0
        book.embed_sum[0, 0] = 3 * rest.norm(dim=1).max()
        book._embed = None

    @torch.no_grad()
    def update(self, book: Any, rows: Tensor, codes: Tensor) -> None:
        counts = torch.bincount(codes, minlength=book.codebook_size).float()
        sums = torch.zeros_like(book.embed_sum).index_add_(0, codes, rows)
        book.cluster_usage.mul_(self.rate).add_(counts, alpha=1 - self.rate)
        book.embed_sum.mul_(self.rate).add_(sums, alpha=1 - self.rate)
        dead = (book.cluster_usage < 0.01).nonzero()[:, 0]
        dead = dead[: len(rows) // 8]
        if len(dead):
            book.embed_sum[dead] = rows[torch.randperm(len(rows))[: len(dead)]] * 0.1
            book.cluster_usage[dead] = 0.1
        book._embed = None

    def __call__(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Latents after quantisation (gradients pass straight through), codebook 0's vectors, commitment loss."""
        out, semantic, commitment = torch.zeros((), device=latents.device), None, torch.zeros((), device=latents.device)
        for part in self.parts:
            rows = part.input_proj(latents).transpose(1, 2)  # (batch, frames, 64)
            flat = rows.reshape(-1, rows.shape[-1])
            residual, total = flat, torch.zeros_like(flat)
            layers = list(part.layers)
            if len(layers) > 1 and np.random.rand() < 0.2:  # dropout: the coarse codes must do alone at times
                layers = layers[: np.random.randint(2, len(layers))]
            for layer in layers:
                codes = layer.codebook.quantize(residual.detach())
                chosen = layer.codebook.embed[codes].clone()
                commitment = commitment + F.mse_loss(residual, chosen)
                self.update(layer.codebook, residual.detach(), codes)
                residual, total = residual - chosen, total + chosen
            through = (flat + (total - flat).detach()).view_as(rows)
            semantic = through if semantic is None else semantic
            out = out + part.output_proj(through.transpose(1, 2))
        self.reserve()
        return out, semantic, commitment


def encode(model: MimiModel, sounds: list[np.ndarray], device: str = "cpu") -> list[np.ndarray]:
    """Codes (frames, codebooks) of each sound; the codec is causal: padding changes nothing."""
    longest = -(-max(len(s) for s in sounds) // FRAME) * FRAME
    batch = torch.from_numpy(np.stack([np.pad(s, (0, longest - len(s))) for s in sounds])).to(device)
    with torch.no_grad():
        codes = model.quantizer.encode(latents(model, batch, half=False))  # (codebooks, batch, frames)
    codes = codes.permute(1, 2, 0).cpu().numpy().astype(np.int16)
    return [c[: -(-len(s) // FRAME)] for c, s in zip(codes, sounds, strict=True)]


def round_trip(model: MimiModel, sound: np.ndarray) -> np.ndarray:
    """The sound through the codec, aligned with the original."""
    fill = -(len(sound) + DELAY) % FRAME
    batch = torch.from_numpy(np.pad(sound, (0, DELAY + fill)).astype(np.float32))[None, None]
    with torch.no_grad():
        made = model.decode(model.encode(batch).audio_codes).audio_values[0, 0].numpy()
    return made[DELAY : DELAY + len(sound)]


def export(model: MimiModel, average: dict[str, Tensor], folder: Path) -> None:
    """Averaged weights, codebooks with unit usage so that half precision holds them."""
    state = {k: average.get(k, v).clone() for k, v in model.state_dict().items()}
    for key in [k for k in state if k.endswith("embed_sum")]:
        usage = state[key.replace("embed_sum", "cluster_usage")]
        state[key] = state[key] / usage.clamp_min(1e-5)[:, None]
        usage.fill_(1)
    plain = MimiModel(model.config)
    plain.load_state_dict(state)
    plain.save_pretrained(folder)
