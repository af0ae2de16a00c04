"""Stage 2: a VITS that makes sound at 32 kHz of semantic codes, phones and a reference's style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbre.families.hifigan import SLOPE, Upsampling, mean_of
from timbre.families.sovits.encoders import Prior, Widths
from timbre.families.sovits.flow import Flow, Posterior
from timbre.families.sovits.spectrogram import BINS, HOP, Spectrograms, below
from timbre.families.sovits.style import StyleEncoder

SPEAKER = 20_480  # width of the speaker's vector that v2Pro hears beside the style: see speaker_vector.py
NARROW = 512  # width of the voice that the prior of v2Pro is told
FRAMES = 2  # of 50 a second, for each code
RELEASED_WIDTHS = Widths()


class Stage2Batch(NamedTuple):
    """B rows, padded at the end with zeros."""

    codes: Tensor  # (B, T / 2)
    magnitudes: Tensor  # (B, 1025, T)
    frames: Tensor  # (B) of T
    text: Tensor  # (B, P)
    text_lengths: Tensor  # (B)
    noise: Tensor  # (B, latents, T)
    starts: Sequence[int]  # frame at which each row's segment begins
    speaker: Tensor | None = None  # (B, 20480)


class Learnt(NamedTuple):
    """What the losses of a training step need."""

    sound: Tensor  # (B, samples) of each row's segment
    z: Tensor  # (B, latents, T), as all below
    z_p: Tensor
    m_p: Tensor
    logs_p: Tensor
    m_q: Tensor
    logs_q: Tensor


class VoiceVocoder(Upsampling):
    """The voice is added once, before the first level."""

    def __init__(self, latents: int, width: int, rates: Sequence[int], kernels: Sequence[int], voice: int) -> None:
        super().__init__(width, tuple(rates), tuple(kernels))
        self.conv_pre = nn.Conv1d(latents, width, 7, padding=3)
        self.cond = nn.Conv1d(voice, width, 1)

    def forward(self, latents: Tensor, voice: Tensor) -> Tensor:  # (B, latents, T), (B, voice, 1) -> (B, 640 T)
        x = self.conv_pre(latents) + self.cond(voice)
        for up, blocks in self.levels():
            x = mean_of(blocks, up(F.leaky_relu(x, SLOPE)))
        return self.sound(x)[:, 0]


class Stage2(nn.Module):  # type: ignore[misc]  # torch is not typed here
    codebook: Tensor  # (1024, HuBERT's width)

    def __init__(
        self, config: Mapping[str, Any], phones: int, speaker: int = SPEAKER, widths: Widths = RELEASED_WIDTHS
    ) -> None:
        """From `config` of a checkpoint; `speaker` is the width of the vector that v2Pro hears."""
        super().__init__()
        sizes = config["model"]
        channels, latents, voice = sizes["hidden_channels"], sizes["inter_channels"], sizes["gin_channels"]
        self.segment: int = config["train"]["segment_size"] // HOP  # frames of a training step
        self.latents: int = latents
        self.phones = phones
        self.version: str = sizes["version"]
        self.pro = "Pro" in self.version
        self.speaker = speaker if self.pro else 0  # width of the vector
        self.enc_p = Prior(sizes, phones, widths)
        self.enc_q: Posterior | None = Posterior(BINS, latents, channels, voice)
        self.flow = Flow(latents, channels, voice)
        rates, kernels = sizes["upsample_rates"], sizes["upsample_kernel_sizes"]
        self.dec = VoiceVocoder(latents, sizes["upsample_initial_channel"], rates, kernels, voice)
        self.ref_enc = StyleEncoder(voice)
        self.ssl_proj = nn.Conv1d(widths.hubert, widths.hubert, FRAMES, stride=FRAMES)
        self.register_buffer("codebook", torch.randn(1024, widths.hubert))
        if self.pro:
            self.sv_emb = nn.Linear(speaker, voice)
            self.prelu = nn.PReLU(voice)
            self.ge_to512 = nn.Linear(voice, NARROW)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def codes(self, hubert: Tensor) -> Tensor:  # (B, 768, T) -> (B, T // 2), the nearest code
        x = self.ssl_proj(hubert).transpose(1, 2)
        return (self.codebook.square().sum(1) - 2 * x @ self.codebook.T).argmin(-1)

    def voice(self, magnitudes: Tensor, mask: Tensor, speaker: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, voice, 1), and as the prior is told it."""
        style = self.ref_enc(magnitudes, mask)
        if not self.pro:
            return style, style
        return self.told(self.prelu(style + self.sv_emb(speaker)[..., None]))

    def told(self, voice: Tensor) -> tuple[Tensor, Tensor]:  # (B, voice, 1)
        """A voice, and as the prior is told it."""
        return voice, self.ge_to512(voice[..., 0])[..., None] if self.pro else voice

    def prior(
        self, codes: Tensor, mask: Tensor, text: Tensor, text_mask: Tensor, voice: Tensor
    ) -> tuple[Tensor, Tensor]:
        content = F.embedding(codes, self.codebook).transpose(1, 2).repeat_interleave(FRAMES, 2)
        mean, deviation = self.enc_p(content, mask, text, text_mask, voice)
        return mean, deviation

    def learn(self, batch: Stage2Batch) -> Learnt:
        assert self.enc_q is not None, "an exported voice cannot be trained"
        mask = below(batch.frames, batch.magnitudes.shape[2])[:, None]
        text_mask = below(batch.text_lengths, batch.text.shape[1])[:, None]
        voice, narrow = self.voice(batch.magnitudes, mask, batch.speaker)
        m_p, logs_p = self.prior(batch.codes, mask, batch.text, text_mask, narrow)
        m_q, logs_q = self.enc_q(batch.magnitudes, mask, voice)
        z = (m_q + batch.noise * logs_q.exp()) * mask
        sound = self.dec(segments(z, batch.starts, self.segment), voice)
        return Learnt(sound, z, self.flow(z, mask, voice), m_p, logs_p, m_q, logs_q)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def speak(self, codes: Tensor, text: Tensor, voices: tuple[Tensor, Tensor], noise: Tensor) -> Tensor:
        """(1, M), (1, P), what `voice` made, (1, latents, 2 M), already scaled -> (1, 1280 M) samples"""
        voice, narrow = voices
        mask = torch.ones(1, 1, FRAMES * codes.shape[1], dtype=torch.bool, device=codes.device)
        mean, deviation = self.prior(codes, mask, text, torch.ones_like(text, dtype=torch.bool)[:, None], narrow)
        latents = mean + noise * deviation.exp()
        return torch.as_tensor(self.dec(self.flow.inverse(latents, mask, voice), voice))


def segments(x: Tensor, starts: Sequence[int], length: int) -> Tensor:  # (B, C, T) -> (B, C, length)
    return torch.stack([row[:, start : start + length] for row, start in zip(x, starts, strict=True)])


def mel_distance(spectrograms: Spectrograms, learnt: Learnt, batch: Stage2Batch) -> Tensor:
    """Mean distance of the log mels; the target's segment is cut from the whole recording's mel."""
    generated = spectrograms.log_mel(spectrograms.magnitudes(learnt.sound))
    recorded = segments(spectrograms.log_mel(batch.magnitudes), batch.starts, generated.shape[2])
    return (generated - recorded).abs().mean()


def prior_divergence(learnt: Learnt, frames: Tensor) -> Tensor:
    """KL divergence of posterior and prior at the drawn latents: summed over channels, a mean over real frames."""
    mask = below(frames, learnt.z.shape[2])[:, None]
    distance = (learnt.z_p - learnt.m_p).square() * (-2 * learnt.logs_p).exp()
    each = learnt.logs_p - learnt.logs_q + (distance - 1) / 2
    return (each * mask).sum() / mask.sum()
