"""Trains the tiny GPT-SoVITS' stage 2 as a whole, from the autoencoder that sovits_vocoder.py made.

The prior learns to say of codes, phones and voice what the posterior hears, as GPT-SoVITS does. Codes and sound run
side by side, so half of the rows are spoken from the prior's own latents and compared with the recording too: that is
how it speaks in the end. Later the discriminators join, which training by the pipeline needs. Last, the vocoder alone
goes on, by mels and pitch: it is what learns slowest, and so a step of it costs half.

Reads   <work>/corpus.npy, <work>/corpus.jsonl, <work>/sovits-hubert.pt, <work>/sovits-vocoder.pt
Writes  <work>/sovits-stage2.pt (resumable)

Run:  python recipe/sovits_stage2.py [--minutes 14]
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sovits_model
import torch
from corpus import WORK, Corpus, keep
from sovits_clips import Clip, clips, load_hearing, sound_out
from sovits_vocoder import MEL, SEGMENT, Mels
from timed_training import follow, params, script, share_of_rate, train
from torch import Tensor, nn
from torch.nn import functional as F

from timbre.families.sovits.discriminators import adversarial_loss, discriminator_loss, feature_loss
from timbre.families.sovits.spectrogram import HOP, below
from timbre.families.sovits.stage2 import FRAMES, Stage2, segments
from timbre.families.sovits.text import ids

ROWS, SORTED = 6, 48  # of a batch; clips that are sorted by length at once
DIVERGENCE = 0.33  # weight of the KL divergence: to MEL as 1 to 45, as GPT-SoVITS has it
NOISE = 0.5  # of the prior's deviation, as it will speak
JUDGED = 0.7  # share of the training of all after which the discriminators join
POLISHING = 6e-4  # rate of the vocoder when it goes on alone, at its highest
RATES = {"enc_p.": 2e-3, "flow.": 2e-3, "enc_q.": 4e-4, "dec.": 7e-4, "ref_enc.": 4e-4}


class Heard(NamedTuple):
    """A batch of whole utterances, padded at the end."""

    sound: Tensor  # (B, samples)
    frames: Tensor  # (B)
    codes: Tensor  # (B, T / 2)
    text: Tensor  # (B, P)
    text_lengths: Tensor  # (B)


def batches(pool: dict[str, list[Clip]], corpus: Corpus, random: np.random.Generator) -> Iterator[Heard]:
    everyone = [clip for mine in pool.values() for clip in mine]
    while True:
        some = [everyone[int(i)] for i in random.integers(len(everyone), size=SORTED)]
        some.sort(key=lambda clip: len(clip.codes))
        for start in random.permutation(np.arange(0, SORTED, ROWS)):
            yield stacked(some[start : start + ROWS], corpus)


def stacked(some: list[Clip], corpus: Corpus) -> Heard:
    texts = [ids(clip.row.text) for clip in some]
    longest, width = max(len(clip.codes) for clip in some), max(map(len, texts))
    codes = np.stack([np.pad(clip.codes, (0, longest - len(clip.codes))) for clip in some])
    sounds = [sound_out(corpus, clip.row)[: len(clip.codes) * FRAMES * HOP] for clip in some]
    return Heard(
        torch.stack([F.pad(sound, (0, longest * FRAMES * HOP - len(sound))) for sound in sounds]),
        torch.tensor([len(clip.codes) * FRAMES for clip in some]), torch.tensor(codes),
        torch.tensor([text + [0] * (width - len(text)) for text in texts]), torch.tensor([len(text) for text in texts]),
    )  # fmt: skip


class Course:
    """The model with all that its training keeps from step to step."""

    def __init__(self, minutes: float, polish: float, per_voice: int, work: Path) -> None:
        """`polish`: minutes of the vocoder alone, after the others."""
        torch.manual_seed(0)
        self.path, self.step, self.spent = work / "sovits-stage2.pt", 0, 0.0
        self.whole, self.seconds = minutes * 60, (minutes + polish) * 60
        corpus, self.mels = Corpus(work), Mels()
        pool = clips(per_voice, work)
        self.model = Stage2(sovits_model.STAGE2, sovits_model.PHONES, widths=sovits_model.WIDTHS)
        self.judges = sovits_model.judges()
        self.start(work)
        fixed = sovits_model.still(self.model)
        self.learnt = {
            n: p for n, p in self.model.named_parameters() if n not in fixed and not n.startswith("ssl_proj.")
        }
        self.average = {n: p.detach().clone() for n, p in self.learnt.items()}
        groups = [
            {"params": [p for n, p in self.learnt.items() if n.startswith(part)], "most": rate}
            for part, rate in RATES.items()
        ]
        self.optimiser = torch.optim.AdamW(groups, 1e-3, betas=(0.8, 0.98), weight_decay=0.01)
        self.judging = torch.optim.AdamW(self.judges.parameters(), 1e-3, betas=(0.8, 0.98), weight_decay=0.01)
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.judges.load_state_dict(state["judges"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.judging.load_state_dict(state["judging"])
            self.average, self.step, self.spent = state["average"], state["step"], state["spent"]
        self.random = np.random.default_rng(self.step)
        self.stream = batches(pool, corpus, self.random)

    @torch.no_grad()
    def start(self, work: Path) -> None:
        """The autoencoder's averaged weights, HuBERT's quantiser, and a flow that changes nothing yet."""
        before = torch.load(work / "sovits-vocoder.pt", weights_only=True)
        self.model.load_state_dict(before["model"])
        sovits_model.averaged(self.model, before["average"])
        hearing = load_hearing(work)
        self.model.ssl_proj.load_state_dict(hearing.ssl_proj.state_dict())
        self.model.codebook.copy_(hearing.codebook)
        # Codes that are apart by as much as a phone's embedding is wide.
        self.model.enc_p.ssl_proj.weight.div_(hearing.codebook.std() / 1.0)
        for coupling in self.model.flow.flows[::2]:
            coupling.post.weight.zero_()
            coupling.post.bias.zero_()

    def save(self) -> None:
        state = {"model": self.model.state_dict(), "judges": self.judges.state_dict(), "average": self.average}
        state |= {"optimiser": self.optimiser.state_dict(), "judging": self.judging.state_dict()}
        keep(self.path, {**state, "step": self.step, "spent": self.spent})

    def take(self) -> dict[str, Tensor]:
        done = self.spent / self.whole
        polished = done >= 1
        if polished:
            done = (self.spent - self.whole) / (self.seconds - self.whole)
        share = share_of_rate(self.step, done, 0.03)
        for group in self.optimiser.param_groups:
            group["lr"] = (POLISHING if polished else group["most"]) * share
        parts = self.losses(next(self.stream), done >= JUDGED, polished)
        own = MEL * parts["pitch"] if polished else DIVERGENCE * parts["divergence"]
        whole = MEL * (parts["mel"] + parts["short"]) + own
        if "features" in parts:
            whole = whole + 0.33 * (parts["features"] + parts["adversarial"])
        self.optimiser.zero_grad()
        whole.backward()
        nn.utils.clip_grad_norm_(self.learnt.values(), 5.0)
        self.optimiser.step()
        follow(self.average, self.learnt, self.step, 0.99)
        return parts

    def losses(self, heard: Heard, judged: bool, polished: bool) -> dict[str, Tensor]:
        model = self.model
        magnitudes = self.mels.whole.magnitudes(heard.sound)
        mask = below(heard.frames, magnitudes.shape[2])[:, None]
        text_mask = below(heard.text_lengths, heard.text.shape[1])[:, None]
        starts = [int(self.random.integers(0, int(frames) - SEGMENT + 1)) for frames in heard.frames]
        assert model.enc_q is not None
        with sovits_model.fast_norms(), torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(not polished):
            voice = model.ref_enc(magnitudes, mask)
            m_p, logs_p = model.prior(heard.codes, mask, heard.text, text_mask, voice)
            m_q, logs_q = model.enc_q(magnitudes, mask, voice)
            z = (m_q + torch.randn(m_q.shape) * logs_q.float().exp()) * mask
            z_p = model.flow(z, mask, voice)
            own = slice(0, len(z) // 2)  # rows that are spoken from the prior's latents
            drawn = (m_p[own] + NOISE * torch.randn(m_p[own].shape) * logs_p[own].float().exp()) * mask[own]
            latents = torch.cat((model.flow.inverse(drawn, mask[own], voice[own]), z[own.stop :]))
            latents = segments(latents, starts, SEGMENT)
            with torch.enable_grad():
                made = sovits_model.spoken(model.dec, latents, voice).float()
        true = torch.stack([row[s * HOP : (s + SEGMENT) * HOP] for row, s in zip(heard.sound, starts, strict=True)])
        m_p, logs_p, logs_q, z_p = m_p.float(), logs_p.float(), logs_q.float(), z_p.float()
        each = logs_p - logs_q + ((z_p - m_p).square() * (-2 * logs_p).exp() - 1) / 2
        parts = {"divergence": (each * mask).sum() / mask.sum()}
        parts["mel"], parts["short"] = self.mels.distance(made, true)
        if polished:
            parts["pitch"] = self.mels.pitch(made, true)
        elif judged:
            parts |= self.judged(made, true)
        with torch.no_grad():
            parts["prior"] = self.mels.distance(made[own], true[own])[0]
        return parts

    def judged(self, made: Tensor, true: Tensor) -> dict[str, Tensor]:
        """Teaches the discriminators, then asks them."""
        loss = discriminator_loss(self.asked(true), self.asked(made.detach()))
        self.judging.zero_grad()
        loss.backward()
        self.judging.step()
        self.judges.requires_grad_(False)
        recorded, generated = self.asked(true), self.asked(made)
        self.judges.requires_grad_(True)
        return {"features": feature_loss(recorded, generated), "adversarial": adversarial_loss(generated)}

    def asked(self, sound: Tensor) -> list[list[Tensor]]:
        with torch.autocast("cpu", torch.bfloat16):
            return [[layer.float() for layer in features] for features in self.judges(sound[:, None])]


def main() -> None:
    asked = params("sovits", "stage2_minutes", script(__doc__).parse_args())
    train(Course(asked["stage2_minutes"], asked["polish_minutes"], asked["clips"], WORK))


if __name__ == "__main__":
    main()
