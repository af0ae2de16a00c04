"""Trains the tiny SNAC codec: from a linear transform codec to one of three coarse levels.

The phone recogniser teaches the two coarse levels what is said, so that a language model can plan with them, and near
the end compares what it hears before and after. In the last part the encoder and the codes stay as they are and only
the decoder learns: codes made from then on never grow stale.

Reads   <work>/corpus.npy, <work>/corpus.jsonl, <work>/listener.pt
Writes  <work>/snac.pt (resumable), <work>/snac/ (what `SNAC.from_pretrained` reads)

Run:  python recipe/snac_codec.py [--steps 2400] [--out orpheus/snac]
"""

from __future__ import annotations

import argparse
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from codec import Losses, crops
from corpus import HERE, WORK, Corpus, keep
from listener import Ear, Listener
from snac import SNAC
from snac_model import COARSE, CONFIG, RATE, Codebooks, export, fixed, latents, sounds, start_linear
from torch import Tensor, nn
from torch.nn import functional as F

PARTS = ("wave", "complex", "magnitude", "mel", "energy", "pitch", "heard", "commit", "teach")
SECONDS = 13 * COARSE / RATE  # of a crop


@dataclass(frozen=True)
class Stage:
    share: float  # of the steps
    rate: float
    weights: tuple[float, ...]  # of PARTS
    quantised: bool = True
    encoder: bool = True  # False: only the decoder learns


STAGES = (
    Stage(0.05, 1.2e-3, (1.0, 2.0, 1.0, 1.0, 0.0, 0.5, 0.0, 0.0, 0.3), quantised=False),
    Stage(0.25, 1.2e-3, (0.5, 1.0, 2.0, 1.0, 0.0, 1.0, 0.0, 0.25, 2.0)),
    Stage(0.45, 1.0e-3, (0.2, 0.4, 2.0, 2.0, 0.3, 1.0, 0.2, 0.25, 2.0)),
    Stage(0.25, 0.7e-3, (0.2, 0.4, 2.0, 2.0, 0.5, 1.0, 0.3, 0.0, 0.0), encoder=False),  # its rate falls to 4 %
)


def stage_at(done: float) -> tuple[Stage, float]:
    """The stage at this share of the steps, and its rate."""
    ends = np.cumsum([stage.share for stage in STAGES])
    which = min(int(np.searchsorted(ends, done, side="right")), len(STAGES) - 1)
    stage, within = STAGES[which], (done - ends[which]) / STAGES[which].share + 1
    fall = 0.04 + 0.96 * (1 + math.cos(math.pi * within)) / 2 if which == len(STAGES) - 1 else 1.0
    return stage, stage.rate * fall


@dataclass(frozen=True)
class Features:
    """What two sounds are compared by, at one FFT size."""

    complex: Tensor  # the compressed spectrum, real and imaginary parts
    magnitude: Tensor  # compressed
    mel: Tensor
    energy: Tensor  # logs of 20 ms
    periods: Tensor

    @classmethod
    def of(cls, sound: Tensor, losses: Losses, size: int) -> Features:
        window = getattr(losses, f"window{size}")
        spectrum = torch.stft(sound, size, size // 4, size, window, return_complex=True) / window.sum() * 2
        power = power_of(spectrum)
        small = power.pow(0.15)  # |X|^0.3
        bent = torch.view_as_real(spectrum) * (small / power.sqrt())[..., None]
        mel = torch.log(getattr(losses, f"mel{size}") @ power + 1e-6)
        energy = torch.log(sound.unfold(1, 320, 160).square().mean(2) + 1e-6)
        return cls(bent, small, mel, energy, periodicity(sound))


def power_of(spectrum: Tensor) -> Tensor:
    parts = torch.view_as_real(spectrum)
    return parts[..., 0].square() + parts[..., 1].square() + 1e-9


def distances(losses: Losses, made: Tensor, true: Tensor) -> dict[str, Tensor]:
    """The distances of codec.Losses at an FFT size drawn anew for each step, a third of the work; and of the periods,
    whatever their phases, where it is not quiet."""
    size = losses.SIZES[int(torch.randint(len(losses.SIZES), ()))][0]
    a = Features.of(made, losses, size)
    with torch.no_grad():
        b = Features.of(true, losses, size)
        loud = b.energy[:, : 2 * b.periods.shape[1] : 2] > np.log(0.01**2)
    return {
        "wave": (made - true).abs().mean() / 0.08,
        "complex": 2 * (a.complex - b.complex).abs().mean(),
        "magnitude": 4 * (a.magnitude - b.magnitude).abs().mean(),
        "mel": (a.mel - b.mel).abs().mean(),
        "energy": (a.energy - b.energy).abs().mean(),
        "pitch": 4 * (a.periods - b.periods).abs().mean(2)[loud].mean(),
    }


def periodicity(sound: Tensor) -> Tensor:
    """Normalised autocorrelation (batch, frames, lags of 57 to 400 Hz) of 40 ms frames."""
    frames = sound.unfold(1, 640, 320)
    frames = frames - frames.mean(2, keepdim=True)
    echo = torch.fft.irfft(power_of(torch.fft.rfft(frames, 1024)))[..., :281]
    return echo[..., 40:] / (echo[..., :1] + 1e-3)


class Teacher(nn.Module):
    """The listener, and heads that guess its posteriors from the coarse levels.

    A frame of a level is taught all the listener's frames within it: four of the first level's, two of the second's.
    """

    def __init__(self, ear: Listener) -> None:
        super().__init__()
        self.ear = ear.requires_grad_(False)
        classes = ear.head.out_features
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(CONFIG["latent_dim"], 256), nn.GELU(), nn.Linear(256, span * classes))
            for span in (4, 2)
        )

    @torch.no_grad()
    def posteriors(self, sound: Tensor) -> Tensor:
        """(batch, frames at 50 Hz, classes), each the mean of those at the frame's two ends."""
        found = self.ear(self.ear.mels(sound)).softmax(-1)
        return (found + F.pad(found[:, 1:], (0, 0, 0, 1), mode="replicate")) / 2

    def forward(self, sums: list[Tensor], posteriors: Tensor) -> Tensor:
        lost = []
        for head, span, total in zip(self.heads, (4, 2), sums, strict=False):
            guess = head(total[..., ::span].transpose(1, 2))
            guess = guess.view(len(guess), -1, posteriors.shape[2]).log_softmax(-1)
            lost.append(-(posteriors[:, : guess.shape[1]] * guess).sum(-1).mean())
        return torch.stack(lost).mean()

    def heard(self, made: Tensor, true: Tensor) -> Tensor:
        """The distance between what is heard in both."""
        with torch.no_grad():
            wanted = self.ear(self.ear.mels(true)).softmax(-1)
        return F.kl_div(self.ear(self.ear.mels(made)).log_softmax(-1), wanted, reduction="none").sum(-1).mean()


def lesson(
    model: SNAC, books: Codebooks, losses: Losses, teacher: Teacher, sound: Tensor, stage: Stage
) -> dict[str, Tensor]:
    """The losses of one batch; what the stage gives no weight is not computed."""
    with torch.set_grad_enabled(stage.encoder):
        latent = latents(model, sound)
        total, sums, commitment = books(latent, stage.quantised, learn=stage.encoder)
    if stage.encoder and stage.quantised and torch.rand(()) < 0.15:  # the coarse levels must do alone at times
        total = sums[1]
    made = sounds(model, total)
    parts, weights = distances(losses, made, sound), dict(zip(PARTS, stage.weights, strict=True))
    if weights["heard"]:
        parts["heard"] = teacher.heard(made, sound)
    if weights["teach"]:
        parts["teach"] = teacher(sums, teacher.posteriors(sound))
    parts["commit"] = commitment
    parts["all"] = sum((weights[name] * part for name, part in parts.items()), torch.zeros(()))
    return parts


class Course:
    """The model with all that its training keeps from step to step."""

    def __init__(self, work: Path) -> None:
        torch.manual_seed(0)
        self.path, self.step, self.quantised = work / "snac.pt", 0, False
        self.corpus, self.losses = Corpus(work), Losses()
        self.rows = self.corpus.of("train")
        self.model = SNAC(**CONFIG)
        self.teacher = Teacher(Ear.load(work).net)
        if not self.path.exists():
            start_linear(self.model, crops(self.corpus, self.rows, np.random.default_rng(0), 300, 2.0))
        still = fixed(self.model)
        self.learnt = {n: p for n, p in self.model.named_parameters() if n not in still and "codebook" not in n}
        self.average = {n: p.detach().clone() for n, p in self.learnt.items()}
        self.books = Codebooks(self.model)
        weights = [*self.learnt.values(), *self.teacher.heads.parameters()]
        self.optimiser = torch.optim.AdamW(weights, 1e-3, betas=(0.85, 0.98), weight_decay=1e-4)
        if self.path.exists():
            self.resume(torch.load(self.path, weights_only=True))
        self.random = np.random.default_rng(self.step)

    def resume(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        self.teacher.heads.load_state_dict(state["heads"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.books.usage, self.average = state["usage"], state["average"]
        self.step, self.quantised = state["step"], state["quantised"]

    def save(self) -> None:
        state = {"model": self.model.state_dict(), "heads": self.teacher.heads.state_dict(), "average": self.average}
        state |= {"optimiser": self.optimiser.state_dict(), "usage": self.books.usage}
        keep(self.path, {**state, "step": self.step, "quantised": self.quantised})

    @torch.no_grad()
    def start_codes(self) -> None:
        many = [latents(self.model, crops(self.corpus, self.rows, self.random, 50, SECONDS)) for _ in range(16)]
        self.books.start(torch.cat(many))
        self.quantised = True

    @torch.no_grad()
    def fix_codes(self) -> None:
        """The averaged encoder is what will encode: from here on it is the encoder, and its output projections too, on
        which the residual of the next level rests."""
        for name, weight in self.learnt.items():
            if not name.startswith("decoder."):
                weight.copy_(self.average[name])
                weight.requires_grad_(False)

    def take(self, stage: Stage, rate: float) -> dict[str, float]:
        for group in self.optimiser.param_groups:
            group["lr"] = rate * min(1, (self.step + 1) / 50)
        sound = crops(self.corpus, self.rows, self.random, 8, SECONDS)
        parts = lesson(self.model, self.books, self.losses, self.teacher, sound, stage)
        self.optimiser.zero_grad()
        parts["all"].backward()
        nn.utils.clip_grad_norm_(self.learnt.values(), 2.0)
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.values()), list(self.learnt.values()), 0.006)
        self.step += 1
        return {name: part.item() for name, part in parts.items()}


def train(steps: int, work: Path = WORK) -> None:
    course, sums, counts, saved = Course(work), dict.fromkeys(PARTS, 0.0), dict.fromkeys(PARTS, 0), time.time()
    frozen, began, first = False, time.time(), course.step
    while course.step < steps:
        stage, rate = stage_at(course.step / steps)
        if stage.quantised and not course.quantised:
            course.start_codes()
        if not stage.encoder and not frozen:
            course.fix_codes()
            frozen = True
            export(course.model, course.average, work / "snac")
        for name, part in course.take(stage, rate).items():
            if name in sums:
                sums[name], counts[name] = sums[name] + part, counts[name] + 1
        if course.step % 50 == 0:
            told = "  ".join(f"{name} {sums[name] / max(1, counts[name]):.3f}" for name in PARTS)
            pace = (time.time() - began) / (course.step - first)
            print(f"step {course.step}  {told}  {pace:.2f} s a step", flush=True)
            sums, counts = dict.fromkeys(PARTS, 0.0), dict.fromkeys(PARTS, 0)
        if time.time() - saved > 120 or course.step >= steps:
            course.save()
            export(course.model, course.average, work / "snac")
            saved = time.time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, help="in all; default: params.yaml")
    parser.add_argument("--out", type=Path, default=HERE / "orpheus/snac")
    args = parser.parse_args()
    torch.set_num_threads(1)
    train(args.steps or yaml.safe_load((HERE / "params.yaml").read_text())["snac"]["steps"])
    shutil.copytree(WORK / "snac", args.out, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
