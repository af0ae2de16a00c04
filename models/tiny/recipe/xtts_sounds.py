"""The corpus as the tiny XTTS hears it: mel frames at 22,050 Hz, pitch, phones and words, spliced and stacked.

Some utterances are played faster or slower, which makes other voices of them. Two sentences in five are spliced between
words, anew each time: what comes next must be read, not guessed. All of that happens among mel frames, so that a batch
costs next to nothing.

Reads   <work>/corpus.npy, <work>/corpus.jsonl, <work>/listener.pt
Writes  <work>/xtts-sounds.pt and <work>/xtts-features.pt, once
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
from corpus import RATE, WORK, Corpus, Utterance, keep
from listener import STEP, Ear
from torch import Tensor

from timbre.families.xtts.mel import HOP, QUIETEST, SOUND_RATE, MelPower

MELS = 80
CHUNK = 4  # mel frames of a code
FRAMES = SOUND_RATE / HOP  # a second
SPEEDS = (0.84, 0.92, 1.09, 1.19)
OTHER_SPEED = 0.3  # of the utterances are played at one of these
SPLICED = 0.4  # of the sentences
LOWEST, HIGHEST = 60.0, 400.0  # Hz, of a voice's pitch


@dataclass(frozen=True)
class Heard:
    """An utterance, or what was spliced of two; F mel frames."""

    voice: str  # with the speed at which it was played, where that is another
    text: str
    mel: Tensor  # (F, 80) natural logarithm of power
    pitch: Tensor  # (F, 2) logarithm of the pitch, about 0; and how voiced it is
    phone: Tensor  # (F) what the listener hears
    ends: np.ndarray  # of the words, in frames
    row: int  # of the corpus' rows that are known here
    start: int  # frame of the row at which this begins
    gain: float = 1.0  # of the sound, beside the row's


def mel_power(fft: int) -> MelPower:
    return MelPower(SOUND_RATE, fft=fft, hop=HOP, window=torch.hann_window(1024), bands=MELS)


def spectra(sound: np.ndarray, power: tuple[MelPower, MelPower]) -> tuple[Tensor, Tensor, Tensor]:
    """(samples) at 22,050 Hz -> what the codec hears and what the conditioning encoder hears, (F, 80), and (F, 2)."""
    samples = torch.from_numpy(sound)[None]
    codec, reference = (one(samples)[0].T.clamp_min(QUIETEST).log() for one in power)
    window = power[0].window
    spectrum = torch.stft(samples, 1024, HOP, 1024, window, return_complex=True)[0].abs().square().T
    echo = torch.fft.irfft(spectrum) / torch.fft.irfft(torch.fft.rfft(window).abs().square()).clamp_min(1.0)
    near, far = round(SOUND_RATE / HIGHEST), round(SOUND_RATE / LOWEST)
    best, lag = (echo[:, near:far] / (echo[:, :1] + 1e-6)).max(1)
    pitch = torch.log(SOUND_RATE / (lag + near) / 150)
    voiced = ((best - 0.35) / 0.35).clamp(0, 1)
    return codec, reference, torch.stack([pitch * voiced, voiced], 1)


class Sounds:
    """The utterances that are known, all as one table of frames."""

    def __init__(self, per_voice: int, work: Path = WORK) -> None:
        self.corpus, path = Corpus(work), work / "xtts-sounds.pt"
        rows: dict[str, list[Utterance]] = {}
        for row in self.corpus.of("train"):
            rows.setdefault(row.voice, []).append(row)
        self.rows = [row for mine in rows.values() for row in mine[:per_voice]]
        random = np.random.default_rng(0)
        other = random.random(len(self.rows)) < OTHER_SPEED
        self.speeds = np.where(other, random.choice(SPEEDS, len(self.rows)), 1.0)
        if not path.exists() or torch.load(path, mmap=True, weights_only=True)["per_voice"] != per_voice:
            keep(path, {"per_voice": per_voice, **self.measure(work)})
        kept = torch.load(path, mmap=True, weights_only=True)
        self.mel, self.reference, self.pitch, self.phone = (kept[n] for n in ("mel", "reference", "pitch", "phone"))
        self.starts = kept["starts"].numpy()
        self.voices = [row.voice + ("" if s == 1 else f"×{s}") for row, s in zip(self.rows, self.speeds, strict=True)]
        self.of_voice: dict[str, np.ndarray] = {}
        for voice in sorted(set(self.voices)):
            self.of_voice[voice] = np.flatnonzero([v == voice for v in self.voices])
        self.base = [voice for voice in self.of_voice if "×" not in voice]

    def measure(self, work: Path) -> dict[str, Tensor]:
        ear, began = Ear.load(work), time.time()
        power = (mel_power(1024), mel_power(2048))
        parts: list[list[Tensor]] = [[], [], [], []]
        starts = [0]
        for number, (row, speed) in enumerate(zip(self.rows, self.speeds, strict=True)):
            sound = soxr.resample(self.corpus[row], RATE * speed, SOUND_RATE).astype(np.float32)
            made = spectra(sound, power)
            slow = torch.from_numpy(soxr.resample(self.corpus[row], RATE * speed, RATE).astype(np.float32))[None]
            heard = ear.phones(slow)[0].argmax(-1)
            at = ((torch.arange(len(made[0])) / FRAMES) * RATE / STEP).long().clamp_max(len(heard) - 1)
            for part, values in zip(parts, (*(m.half() for m in made), heard[at].to(torch.uint8)), strict=True):
                part.append(values)
            starts.append(starts[-1] + len(made[0]))
            if number % 1000 == 999:
                left = (time.time() - began) / (number + 1) * (len(self.rows) - number - 1)
                print(f"heard {number + 1} of {len(self.rows)} utterances, {left:.0f} s left", flush=True)
        names = ("mel", "reference", "pitch", "phone")
        return {n: torch.cat(p) for n, p in zip(names, parts, strict=True)} | {"starts": torch.tensor(starts)}

    def heard(self, row: int, first: int = 0, last: int | None = None) -> Heard:
        """A row's words from `first` up to `last`, cut midway between words."""
        utterance, speed = self.rows[row], self.speeds[row]
        words, count = utterance.text.split(), len(utterance.words)
        last = count if last is None else last
        times = np.array(utterance.words) / speed * FRAMES
        cut = [0, *((times[1:, 0] + times[:-1, 1]) / 2).round().astype(int), self.starts[row + 1] - self.starts[row]]
        a, b = int(cut[first]), int(cut[last])
        span = slice(int(self.starts[row]) + a, int(self.starts[row]) + b)
        return Heard(
            self.voices[row], " ".join(words[first:last]), self.mel[span], self.pitch[span], self.phone[span],
            times[first:last, 1] - a, row, a,
        )  # fmt: skip

    def sentence(self, voice: str, random: np.random.Generator, spliced: float = SPLICED) -> Heard:
        one, two = (int(i) for i in random.choice(self.of_voice[voice], size=2))
        if random.random() >= spliced:
            return self.heard(one)
        first = self.heard(one, 0, int(random.integers(1, len(self.rows[one].words))))
        second = self.heard(two, int(random.integers(1, len(self.rows[two].words))))
        ends = np.concatenate([first.ends, second.ends + len(first.mel)])
        joined = [torch.cat([getattr(first, n), getattr(second, n)]) for n in ("mel", "pitch", "phone")]
        return Heard(voice, f"{first.text} {second.text}", *joined, ends, -1, 0)

    def piece(self, voice: str, random: np.random.Generator, frames: int) -> Tensor:
        """(frames, 80) of the reference's mels, of any utterance of a voice; shorter ones go round."""
        row = int(random.choice(self.of_voice[voice]))
        mel = self.reference[int(self.starts[row]) : int(self.starts[row + 1])]
        start = int(random.integers(max(1, len(mel) - frames + 1)))
        mel = mel[start : start + frames]
        return mel.repeat(-(-frames // len(mel)), 1)[:frames]


def framed(heard: Heard, random: np.random.Generator) -> Heard:
    """With a little silence around it, at another level, with a little noise; a whole number of codes."""
    before, after = int(random.integers(0, 10)), int(random.integers(4, 26))
    after += -(len(heard.mel) + before + after) % CHUNK
    quiet = float(np.log(QUIETEST))
    floor = random.uniform(quiet - 3, quiet + 3)  # of the noise
    mel = torch.nn.functional.pad(heard.mel.float(), (0, 0, before, after), value=quiet)
    gain = random.uniform(0.8, 1.25)
    mel = torch.logaddexp(mel + 2 * np.log(gain), floor + 0.5 * torch.randn(mel.shape))
    pitch = torch.nn.functional.pad(heard.pitch.float(), (0, 0, before, after))
    phone = torch.nn.functional.pad(heard.phone.long(), (before, after))
    return Heard(
        heard.voice, heard.text, mel.clamp_min(quiet), pitch, phone, heard.ends + before, heard.row,
        heard.start - before, gain,
    )  # fmt: skip


@dataclass(frozen=True)
class Features:
    """What a code's stretch of sound is like, as few numbers: principal components of its mel frames, and its pitch."""

    stats: Tensor  # (80) the mels' divisors
    mean: Tensor  # (320)
    axes: Tensor  # (320, K)
    scale: Tensor  # (K + 8) of each number, so that the loud ones weigh as is their share

    COMPONENTS = 96

    @classmethod
    def of(cls, sounds: Sounds) -> Features:
        random = np.random.default_rng(0)
        many = [framed(sounds.sentence(v, random), random) for v in sounds.of_voice for _ in range(40)]
        stats = torch.cat([h.mel for h in many]).abs().mean(0)
        flat = torch.cat([(h.mel / stats).reshape(-1, CHUNK * MELS) for h in many])
        mean = flat.mean(0)
        axes = torch.linalg.svd(flat - mean, full_matrices=False).Vh[: cls.COMPONENTS].T.contiguous()
        plain = cls(stats, mean, axes, torch.ones(cls.COMPONENTS + 2 * CHUNK))
        made = torch.cat([plain(h.mel, h.pitch) for h in many])
        return cls(stats, mean, axes, made.std(0).clamp_min(0.25 * made.std(0)[:8].mean()))

    def __call__(self, mel: Tensor, pitch: Tensor) -> Tensor:  # (…, F, 80), (…, F, 2) -> (…, F / 4, K + 8)
        flat = (mel / self.stats).unflatten(-2, (-1, CHUNK)).flatten(-2) - self.mean
        return torch.cat([flat @ self.axes, 2 * pitch.unflatten(-2, (-1, CHUNK)).flatten(-2)], -1) / self.scale

    @classmethod
    def known(cls, sounds: Sounds, work: Path = WORK) -> Features:
        """Measured once: all trainings must mean the same by them."""
        path = work / "xtts-features.pt"
        if not path.exists():
            keep(path, vars(cls.of(sounds)))
        return cls(**torch.load(path, weights_only=True))
