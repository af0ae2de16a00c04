"""Trains the tiny GPT-SoVITS' posterior and vocoder as an autoencoder, the first and longest part of stage 2.

What is compared: log mels at three sizes of window, since the one of 64 ms, which GPT-SoVITS itself learns by, blurs
what happens within it. The latents are held near a normal distribution, lightly, so that a prior can be found for them.

Reads   <work>/corpus.npy, <work>/corpus.jsonl
Writes  <work>/sovits-vocoder.pt (resumable), with which sovits_stage2.py goes on

Run:  python recipe/sovits_vocoder.py [--minutes 20]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import sovits_model
import torch
from codec import crops
from corpus import RATE, WORK, Corpus, Utterance, keep
from snac_codec import periodicity
from timed_training import follow, params, script, share_of_rate, train
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.audio_utils import mel_filter_bank

from timbre import audio
from timbre.families.sovits.spectrogram import HOP, Spectrograms
from timbre.families.sovits.spectrogram import RATE as OUT
from timbre.families.sovits.stage2 import Stage2, segments

ROWS, FRAMES, SEGMENT = 8, 64, 32  # of a batch; heard around what is spoken, spoken
MEL, NORMAL = 15.0, 0.1  # weights of each distance of log mels, and of the latents' distance from a normal distribution
SHORT = ((512, 128, 48), (1024, 256, 80))  # FFT, hop, bands: one of these beside GPT-SoVITS' own at each step
RATE_AT_START = 1.5e-3


class Mels(nn.Module):
    """Log mels of a sound at 32 kHz, up to 8 kHz, above which the corpus is empty."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = Spectrograms()
        for size, _, bands in SHORT:
            weights = mel_filter_bank(size // 2 + 1, bands, 0.0, 8000.0, OUT, norm="slaney", mel_scale="slaney")
            self.register_buffer(f"bands{size}", torch.from_numpy(weights).float().T, persistent=False)
            self.register_buffer(f"window{size}", torch.hann_window(size), persistent=False)

    def short(self, sound: Tensor, which: int) -> Tensor:
        size, hop, _ = SHORT[which]
        spectrum = torch.stft(sound, size, hop, size, getattr(self, f"window{size}"), return_complex=True)
        magnitudes = (spectrum.real.square() + spectrum.imag.square() + 1e-8).sqrt()
        return torch.as_tensor((getattr(self, f"bands{size}") @ magnitudes).clamp(min=1e-4).log())

    def pitch(self, made: Tensor, true: Tensor) -> Tensor:
        """How far the periods of 57 to 400 Hz are from the true ones, where it is not quiet."""
        low, wanted = (F.avg_pool1d(sound[:, None], OUT // RATE)[:, 0] for sound in (made, true))
        loud = wanted.unfold(1, 640, 320).square().mean(2) > 0.01**2
        return 4 * (periodicity(low) - periodicity(wanted)).abs().mean(2)[loud].mean()

    def distance(self, made: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        """By GPT-SoVITS' own mels, and by shorter ones."""
        which = int(torch.randint(len(SHORT), ()))
        with torch.no_grad():
            wanted = self.whole.log_mel(self.whole.magnitudes(true)), self.short(true, which)
        long = self.whole.log_mel(self.whole.magnitudes(made))
        return (long - wanted[0]).abs().mean(), (self.short(made, which) - wanted[1]).abs().mean()


def pieces(corpus: Corpus, rows: list[Utterance], random: np.random.Generator, count: int, frames: int) -> Tensor:
    """Random pieces at 32 kHz."""
    some = crops(corpus, rows, random, count, frames * HOP / OUT)
    return torch.from_numpy(np.stack([audio.resample(one, RATE, OUT)[: frames * HOP] for one in some.numpy()]))


class Course:
    """The model with all that its training keeps from step to step."""

    def __init__(self, minutes: float, work: Path) -> None:
        torch.manual_seed(0)
        self.path, self.seconds, self.step, self.spent = work / "sovits-vocoder.pt", minutes * 60, 0, 0.0
        self.corpus, self.mels = Corpus(work), Mels()
        self.rows = self.corpus.of("train")
        sound = pieces(self.corpus, self.rows, np.random.default_rng(0), 60, FRAMES)
        self.model: Stage2 = sovits_model.stage2(self.mels.whole, sound)
        fixed, parts = sovits_model.still(self.model), ("enc_q.", "dec.", "ref_enc.")
        self.learnt = {n: p for n, p in self.model.named_parameters() if n.startswith(parts) and n not in fixed}
        self.average = {n: p.detach().clone() for n, p in self.learnt.items()}
        self.optimiser = torch.optim.AdamW(self.learnt.values(), RATE_AT_START, betas=(0.8, 0.98), weight_decay=0.01)
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.average, self.step, self.spent = state["average"], state["step"], state["spent"]
        self.random = np.random.default_rng(self.step)

    def save(self) -> None:
        state = {"model": self.model.state_dict(), "average": self.average, "optimiser": self.optimiser.state_dict()}
        keep(self.path, {**state, "step": self.step, "spent": self.spent})

    def take(self) -> dict[str, Tensor]:
        done = self.spent / self.seconds
        rate = RATE_AT_START * share_of_rate(self.step, done, 0.1)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        sound = pieces(self.corpus, self.rows, self.random, ROWS, FRAMES)
        starts = [int(start) for start in self.random.integers(8, FRAMES - SEGMENT - 7, size=ROWS)]
        parts = self.losses(sound, starts)
        self.optimiser.zero_grad()
        (MEL * (parts["mel"] + parts["short"]) + NORMAL * parts["normal"]).backward()
        nn.utils.clip_grad_norm_(self.learnt.values(), 5.0)
        self.optimiser.step()
        follow(self.average, self.learnt, self.step, 0.99)
        return parts

    def losses(self, sound: Tensor, starts: list[int]) -> dict[str, Tensor]:
        model, magnitudes = self.model, self.mels.whole.magnitudes(sound)
        mask = torch.ones_like(magnitudes[:, :1], dtype=torch.bool)
        assert model.enc_q is not None
        with sovits_model.fast_norms(), torch.autocast("cpu", torch.bfloat16):
            voice = model.ref_enc(magnitudes, mask)
            mean, deviation = model.enc_q(magnitudes, mask, voice)
            z = mean + torch.randn_like(mean) * deviation.exp()
            made = sovits_model.spoken(model.dec, segments(z, starts, SEGMENT), voice)
        true = torch.stack([row[s * HOP : (s + SEGMENT) * HOP] for row, s in zip(sound, starts, strict=True)])
        long, short = self.mels.distance(made.float(), true)
        mean, deviation = mean.float(), deviation.float()
        normal = ((mean.square() + (2 * deviation).exp() - 1) / 2 - deviation).sum(1).mean()
        return {"mel": long, "short": short, "normal": normal}


def main() -> None:
    asked = params("sovits", "vocoder_minutes", script(__doc__).parse_args())
    train(Course(asked["vocoder_minutes"], WORK))


if __name__ == "__main__":
    main()
