"""Trains the tiny XTTS' vocoder: first on what a code's stretch of sound is like, then on the language model's states.

The language model learns slowly to say in its states what the sound is like (the features of xtts_sounds.py), and a
vocoder learns slowly to make sound. Neither waits for the other: the vocoder begins with the true features, and when
the language model can guess them by one matrix, that matrix becomes part of the vocoder's first layer.

Reads   <work>/corpus.npy, <work>/xtts-sounds.pt, <work>/listener.pt
Writes  <work>/xtts-vocoder.pt (resumable)

Run:  python recipe/xtts_vocoder.py [--minutes 20]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
import torch
from corpus import RATE, WORK, keep
from listener import Ear, Listener
from snac_codec import periodicity, power_of
from timed_training import follow, params, script, share_of_rate, train
from torch import Tensor, nn
from torch.nn import functional as F
from xtts_sounds import CHUNK, Features, Sounds

from timbre.families.hifigan import LAST_SLOPE, SLOPE
from timbre.families.xtts.mel import HOP, QUIETEST, SOUND_RATE, MelPower
from timbre.families.xtts.vocoder import FRAME, RATES, LatentVocoder, frames_of
from timbre.families.xtts.vocoder import KERNELS as WIDENING
from timbre.families.xtts.vocoder import RATE as SPEAKS

WIDTH, VECTOR = 128, 64  # channels; numbers of the speaker's vector
CODES, ROWS = 16, 8  # of a batch
EDGE = 1.0  # codes at each end of a crop that are not judged: they lack their neighbours
SIZES = ((2048, 1024), (512, 256))  # FFT lengths, of which each step takes one of each pair
WEIGHTS = {"magnitude": 2.0, "mel": 2.0, "energy": 0.3, "pitch": 1.5, "heard": 0.3}
NOISE = 0.15  # added to the features: the language model will not guess them well


def sound_of(vocoder: LatentVocoder, latents: Tensor, vector: Tensor) -> Tensor:
    """The vocoder's own pass, with channels last and in half precision: twice as fast on a CPU."""
    dtype, frames, who = torch.bfloat16, frames_of(latents), vector[..., None]

    def flat(x: Tensor) -> Tensor:
        return x[:, :, None].to(dtype).contiguous(memory_format=torch.channels_last)

    def convolved(x: Tensor, layer: nn.Conv1d) -> Tensor:
        weight = layer.weight[:, :, None].to(dtype).contiguous(memory_format=torch.channels_last)
        bias = None if layer.bias is None else layer.bias.to(dtype)
        return F.conv2d(x, weight, bias, padding=(0, layer.padding[0]), dilation=(1, layer.dilation[0]))

    x = convolved(flat(frames), vocoder.conv_pre) + flat(vocoder.cond_layer(who))
    for (up, blocks), cond, rate, kernel in zip(vocoder.levels(), vocoder.conds, RATES, WIDENING, strict=True):
        weight = up.weight[:, :, None].to(dtype)
        x = F.conv_transpose2d(
            F.leaky_relu(x, SLOPE), weight, up.bias.to(dtype), (1, rate), (0, (kernel - rate) // 2)
        ) + flat(cond(who))
        total: Any = 0
        for block in blocks:
            inner = x
            for dilated, plain in zip(block.convs1, block.convs2, strict=True):
                step = convolved(F.leaky_relu(inner, SLOPE), dilated)
                inner = inner + convolved(F.leaky_relu(step, SLOPE), plain)
            total = total + inner
        x = total / len(blocks)
    return convolved(F.leaky_relu(x, LAST_SLOPE), vocoder.conv_post)[:, 0, 0].float().tanh()


def at_16k(sound: Tensor) -> Tensor:
    """24 kHz to 16 kHz, by the spectrum of the whole."""
    whole = sound[:, : sound.shape[1] // 3 * 3]
    return torch.fft.irfft(torch.fft.rfft(whole)[:, : whole.shape[1] // 3 + 1], whole.shape[1] // 3 * 2) * 2 / 3


class Distances(nn.Module):
    """How far two sounds (batch, samples) at 24 kHz are apart, in parts."""

    def __init__(self, ear: Listener) -> None:
        super().__init__()
        self.ear = ear.requires_grad_(False)
        self.powers = nn.ModuleDict()
        for size in (size for pair in SIZES for size in pair):
            bands = {2048: 80, 1024: 80, 512: 48, 256: 24}[size]
            self.powers[str(size)] = MelPower(
                SPEAKS, fft=size, hop=size // 4, window=torch.hann_window(size), bands=bands
            )

    def forward(self, made: Tensor, true: Tensor) -> dict[str, Tensor]:
        magnitude, mel = [], []
        for pair in SIZES:
            size = pair[int(torch.randint(len(pair), ()))]
            one = self.powers[str(size)]
            (small_a, mel_a), (small_b, mel_b) = (self.spectrum(one, sound) for sound in (made, true))
            magnitude.append((small_a - small_b).abs().mean())
            mel.append((mel_a - mel_b).abs().mean())
        low_a, low_b = at_16k(made), at_16k(true)
        energy_a, energy_b = (torch.log(s.unfold(1, 320, 160).square().mean(2) + 1e-6) for s in (low_a, low_b))
        with torch.no_grad():
            wanted = self.ear(self.ear.mels(low_b)).softmax(-1)
            periods = periodicity(low_b)
            loud = energy_b[:, : 2 * periods.shape[1] : 2] > np.log(0.01**2)
        heard = F.kl_div(self.ear(self.ear.mels(low_a)).log_softmax(-1), wanted, reduction="none").sum(-1).mean()
        return {
            "magnitude": 4 * torch.stack(magnitude).mean(),
            "mel": torch.stack(mel).mean(),
            "energy": (energy_a - energy_b).abs().mean(),
            "pitch": 4 * (periodicity(low_a) - periods).abs().mean(2)[loud].mean(),
            "heard": heard,
        }

    def spectrum(self, one: MelPower, sound: Tensor) -> tuple[Tensor, Tensor]:
        spectrum = torch.stft(sound, one.fft, one.hop, one.fft, one.window, return_complex=True) / one.window.sum() * 2
        power = power_of(spectrum)
        return power.pow(0.15), torch.log(one.bands @ power * 40 + 1e-6)


@dataclass(frozen=True)
class Crop:
    features: Tensor  # (CODES, K)
    sound: Tensor  # (samples) at 24 kHz
    voice: int


class Crops:
    """Stretches of utterances, with what they are like."""

    def __init__(self, sounds: Sounds, features: Features) -> None:
        self.sounds, self.features = sounds, features
        self.names = list(sounds.of_voice)
        self.samples = int(int(CODES * 4.0) * (SPEAKS / SOUND_RATE)) * FRAME

    def sound_from(self, row: int, frame: int, samples: int) -> np.ndarray:
        """So many samples at 24 kHz of a row's utterance, from a mel frame on, which may lie before it."""
        speed = float(self.sounds.speeds[row])
        whole, start = self.sounds.corpus[self.sounds.rows[row]], round(frame * HOP / SOUND_RATE * speed * RATE)
        count = round(samples / SPEAKS * speed * RATE) + 8
        piece = whole[max(0, start) : max(0, start + count)]
        piece = np.pad(piece, (max(0, -start), 0))
        piece = np.pad(piece, (0, max(0, count - len(piece))))
        made = soxr.resample(piece, RATE * speed, SPEAKS, quality="MQ")[:samples]
        return np.pad(made, (0, samples - len(made))).astype(np.float32)

    def draw(self, random: np.random.Generator) -> Crop:
        row = int(random.integers(len(self.sounds.rows)))
        first, count = int(self.sounds.starts[row]), int(self.sounds.starts[row + 1] - self.sounds.starts[row])
        start, frames = int(random.integers(-6, max(-5, count - 3 * CODES))), CODES * CHUNK
        inside = slice(first + max(0, start), first + min(count, start + frames))
        around = (max(0, -start), frames - max(0, -start) - (inside.stop - inside.start))
        quiet, gain = float(np.log(QUIETEST)), random.uniform(0.7, 1.3)
        mel = F.pad(self.sounds.mel[inside].float(), (0, 0, *around), value=quiet)
        floor = quiet + random.uniform(-4, 2) + 0.5 * torch.randn(mel.shape)
        mel = torch.logaddexp(mel + 2 * np.log(gain), floor).clamp_min(quiet)
        pitch = F.pad(self.sounds.pitch[inside].float(), (0, 0, *around))
        sound = torch.from_numpy(self.sound_from(row, start, self.samples) * np.float32(gain))
        return Crop(self.features(mel, pitch), sound, self.names.index(self.sounds.voices[row]))

    def batch(self, random: np.random.Generator, rows: int = ROWS) -> tuple[Tensor, Tensor, Tensor]:
        many = [self.draw(random) for _ in range(rows)]
        return (
            torch.stack([c.features for c in many]), torch.stack([c.sound for c in many]),
            torch.tensor([c.voice for c in many]),
        )  # fmt: skip


def judged(sound: Tensor) -> Tensor:
    edge = round(EDGE * 4 * SPEAKS / SOUND_RATE) * FRAME
    return sound[:, edge:-edge]


class Course:
    """The vocoder with all that its training keeps from step to step."""

    name, minutes, rate = "xtts-vocoder.pt", "vocoder_minutes", "vocoder_rate"

    def __init__(self, params: dict[str, Any]) -> None:
        torch.manual_seed(0)
        self.path, self.step, self.spent = WORK / self.name, 0, 0.0
        self.highest, self.seconds = params[self.rate], 60 * params[self.minutes]
        self.distances = Distances(Ear.load(WORK).net)
        self.learnt = self.begin(params)
        self.average = {n: p.detach().clone() for n, p in self.learnt.items()}
        self.optimiser = torch.optim.AdamW(self.learnt.values(), self.highest, betas=(0.8, 0.98), weight_decay=1e-4)
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            with torch.no_grad():
                for name, weight in self.learnt.items():
                    weight.copy_(state["learnt"][name])
            self.optimiser.load_state_dict(state["optimiser"])
            self.average, self.step, self.spent = state["average"], state["step"], state["spent"]
        self.random = np.random.default_rng(self.step)

    def begin(self, params: dict[str, Any]) -> dict[str, nn.Parameter]:
        """What is learnt, made or loaded."""
        sounds = Sounds(params["utterances"])
        features = Features.known(sounds)
        self.crops = Crops(sounds, features)
        self.vocoder = LatentVocoder(len(features.scale), VECTOR, WIDTH)
        self.who = nn.Embedding(len(self.crops.names), VECTOR)
        nn.init.normal_(self.who.weight, std=0.125)
        return dict(nn.ModuleDict({"vocoder": self.vocoder, "who": self.who}).named_parameters())

    def spoken(self) -> tuple[Tensor, Tensor]:
        """What the vocoder makes of a batch, and what it should have."""
        features, true, voice = self.crops.batch(self.random)
        noisy = features + NOISE * torch.rand(len(features), 1, 1) * torch.randn_like(features)
        vector = self.who(voice) * (torch.rand(len(voice), 1) > 0.2)
        return sound_of(self.vocoder, noisy, vector), true

    def save(self) -> None:
        learnt = {n: p.detach() for n, p in self.learnt.items()}
        state = {"learnt": learnt, "average": self.average, "optimiser": self.optimiser.state_dict()}
        keep(self.path, {**state, "step": self.step, "spent": self.spent})

    def take(self) -> dict[str, Tensor]:
        done = min(1.0, self.spent / self.seconds)
        rate = self.highest * share_of_rate(self.step, done, 0.1)
        made, true = self.spoken()
        parts = self.distances(judged(made), judged(true))
        loss = sum((WEIGHTS[name] * part for name, part in parts.items()), torch.zeros(()))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.learnt.values(), 5.0)
        self.optimiser.step()
        follow(self.average, self.learnt, self.step, 0.995)
        return parts | {"norm": norm}


def main() -> None:
    asked = params("xtts", "vocoder_minutes", script(__doc__).parse_args())
    train(Course(asked))


if __name__ == "__main__":
    main()
