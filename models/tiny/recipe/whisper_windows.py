"""The windows on which the tiny Whisper is trained: mel spectrograms composed from the corpus, with their targets.

Reads   <work>/corpus.npy and corpus.jsonl (synthesise), only the train split; <work>/codec, where it is.
Writes  <work>/mels-<speed>.npy, a cache of log-mel frames (100 a second) per speed factor; mels-codec.npy;
        noise-mels.npy. They belong to one corpus: delete them with it.

Sentences, pauses, noise and filters are put together in the mel domain, where they cost milliseconds, and
what whisper.transcribe() does to a recording (clamping, scaling, a tail of zeros) is copied exactly.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from codec_model import round_trip
from synthesise import RATE, WORDS
from transformers import MimiModel
from whisper.audio import mel_filters

SPEEDS = (0.88, 1.0, 1.12)
FRAMES = 3000  # mel frames in a full window of 30 s
POSITIONS = 1500  # what the encoder makes of them: one per 20 ms
STATES = 3  # the frame labels distinguish the beginning, middle and end of each word
LABELS = 1 + STATES * len(WORDS)  # 0 is no speech
LN10 = float(np.log(10))
WORD_ID = {word.lower(): number for number, word in enumerate(WORDS)}


def log_mel(audio: np.ndarray) -> np.ndarray:
    """(frames, 80) log10 mel power before Whisper's clamping and scaling."""
    wave = torch.from_numpy(audio)
    stft = torch.stft(wave, 400, 160, window=torch.hann_window(400), return_complex=True)
    power = mel_filters("cpu", 80) @ stft[:, :-1].abs() ** 2
    return power.clamp(min=1e-10).log10().T.numpy()


def noise(kind: int, rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Sound without speech: white or coloured noise, mains hum, held or played tones."""
    count = int(seconds * RATE)
    time = np.arange(count) / RATE
    if kind % 3 == 0:
        spectrum = np.fft.rfft(rng.normal(0, 1, count))
        slope = rng.choice([0.0, 0.0, -0.5, -1.0])
        sound = np.fft.irfft(spectrum * np.maximum(np.arange(len(spectrum)), 50.0) ** slope, count)
        if rng.random() < 0.3:
            sound *= 1 + 0.8 * np.sin(2 * np.pi * rng.uniform(0.1, 4) * time)
    elif kind % 3 == 1:
        base = rng.choice([50.0, 60.0, rng.uniform(40, 400)])
        sound = sum(rng.uniform(0, 1) / h * np.sin(2 * np.pi * base * h * time + h) for h in range(1, 30))
        sound = sound + rng.normal(0, 10 ** rng.uniform(-4, -1), count)
    else:
        sound = np.zeros(count)
        start = 0
        while start < count:
            length = min(int(rng.uniform(0.1, 1.5) * RATE), count - start)
            for _ in range(rng.integers(1, 4)):
                pitch, t = 220 * 2 ** (rng.integers(-12, 25) / 12), time[:length]
                decay = np.exp(-t * rng.uniform(0, 6)) * np.minimum(t / 0.01, 1)
                harmonics = rng.integers(1, 6)
                for h in range(1, harmonics + 1):
                    sound[start : start + length] += decay * np.sin(2 * np.pi * pitch * h * t) / h
            start += length if rng.random() < 0.8 else 2 * length
        sound += rng.normal(0, 10 ** rng.uniform(-5, -2), count)
    return (sound * 0.08 / np.sqrt(np.mean(sound**2))).astype(np.float32)


def cached(path: Path, make: Any) -> np.ndarray:
    if not path.exists():
        partial = path.with_suffix(".partial")
        with open(partial, "wb") as file:
            np.save(file, make())
        partial.rename(path)
    return np.load(path, mmap_mode="r")


Rendering = tuple[float, np.ndarray, dict[int, tuple[int, int]]]  # speed, mel frames, row: first frame and count


@dataclass
class Window:
    mel: np.ndarray  # (80, frames) as Whisper's encoder gets it
    labels: np.ndarray  # (frames / 2) the word and its third at each position
    sentences: list[tuple[str, list[tuple[float, float]]]] = field(default_factory=list)  # text, times of its words
    cut: float | None = None  # where a sentence begins that the window's end cuts


class Windows:
    """Draws windows. `coded` utterances are also heard through <work>/codec, where it is; 0 does without."""

    def __init__(self, work: Path, speeds: tuple[float, ...] = SPEEDS, coded: int = 0) -> None:
        lines = (work / "corpus.jsonl").read_text().splitlines()
        self.rows = [row for row in map(json.loads, lines) if row["split"] == "train"]
        pcm = np.load(work / "corpus.npy", mmap_mode="r")
        every = range(len(self.rows))
        self.renderings: list[Rendering] = []
        for speed in speeds:
            frames = cached(work / f"mels-{speed}.npy", lambda: self._mels(pcm, every, speed))  # noqa: B023
            self.renderings.append(self._index(speed, frames, every))
        self.extras: list[Rendering] = []
        if coded and (work / "codec").is_dir():
            chosen = sorted(random.Random(4).sample(every, coded))
            frames = cached(work / "mels-codec.npy", lambda: self._mels(pcm, chosen, 1.0, work / "codec"))
            self.extras.append(self._index(1.0, frames, chosen))
        rng = np.random.default_rng(1)
        bank = cached(
            work / "noise-mels.npy",
            lambda: np.stack([log_mel(noise(k, rng, 30)) for k in range(90)]).astype(np.float16),
        )
        self.noises = bank
        self.by_voice = self._sort(range(len(self.rows)))
        self.extra_by_voice = self._sort(sorted({number for extra in self.extras for number in extra[2]}))
        self.voices = sorted({row["voice"] for row in self.rows})

    def _sort(self, numbers: Iterable[int]) -> dict[tuple[str, str], list[int]]:
        sorted_out: dict[tuple[str, str], list[int]] = {}
        for number in numbers:
            sorted_out.setdefault((self.rows[number]["voice"], self.rows[number]["kind"]), []).append(number)
        return sorted_out

    def _frames(self, row: dict[str, Any], speed: float) -> int:
        return int(row["samples"] / speed) // 160

    def _mels(self, pcm: np.ndarray, numbers: Sequence[int], speed: float, codec: Path | None = None) -> np.ndarray:
        model = MimiModel.from_pretrained(codec).eval() if codec else None
        parts = []
        for number in numbers:
            row = self.rows[number]
            audio = pcm[row["offset"] : row["offset"] + row["samples"]].astype(np.float32) / 32768
            if speed != 1:
                audio = soxr.resample(audio, RATE * speed, RATE)
            if model:
                audio = round_trip(model, audio)
            size = self._frames(row, speed)
            audio = np.pad(audio, (0, 160 * (size + 1)))[: 160 * size]
            parts.append(log_mel(audio).astype(np.float16))
        return np.concatenate(parts)

    def _index(self, speed: float, frames: np.ndarray, numbers: Any) -> Rendering:
        where, offset = {}, 0
        for number in numbers:
            size = self._frames(self.rows[number], speed)
            where[number] = (offset, size)
            offset += size
        assert offset == len(frames), "the mel cache is of another corpus: delete mels-*.npy"
        return speed, frames, where

    def _utterance(
        self, rng: np.random.Generator, renderings: list[Rendering], number: int, warp: float, tempo: float
    ) -> tuple[np.ndarray, float]:
        """Log-mel frames of one sentence, formants and tempo changed; and what its times are multiplied by."""
        usable = [rendering for rendering in renderings if number in rendering[2]]
        speed, frames, where = usable[rng.integers(len(usable))]
        offset, size = where[number]
        mel = np.asarray(frames[offset : offset + size], np.float32)
        at = np.linspace(0, size - 1.001, int(size * tempo))
        low = at.astype(int)
        part = (at - low).astype(np.float32)[:, None]
        mel = mel[low] * (1 - part) + mel[low + 1] * part
        band = np.clip(np.arange(80) * warp, 0, 78.99)
        low = band.astype(int)
        part = (band - low).astype(np.float32)
        return mel[:, low] * (1 - part) + mel[:, low + 1] * part, tempo / speed

    def draw(self, rng: np.random.Generator, frames: int = FRAMES, random_share: float = 0.6) -> Window:
        mel = np.full((frames, 80), -10, np.float32)
        labels = np.zeros(frames // 2, np.int64)
        window = Window(mel, labels)
        speechless = rng.random() < 0.08
        voice = self.voices[rng.integers(len(self.voices))]
        warp, tempo = rng.uniform(0.93, 1.07), rng.uniform(0.92, 1.1)
        sparse = rng.random() < 0.1  # long pauses
        renderings = self.extras if self.extras and rng.random() < 0.2 else self.renderings
        wanted = frames if rng.random() < 0.5 else rng.uniform(100, frames)  # content, before the tail of zeros
        at = int(rng.choice([rng.uniform(0, 10), rng.uniform(0, 60), rng.uniform(0, 150)]))
        end = at
        while at < wanted - 20 and not speechless:
            if rng.random() < 0.03:
                voice = self.voices[rng.integers(len(self.voices))]
            kind = "random" if rng.random() < random_share else "grammar"
            pool = self.by_voice[voice, kind]
            if renderings is self.extras:
                pool = self.extra_by_voice[voice, kind]
            number = pool[rng.integers(len(pool))]
            sound, scale = self._utterance(rng, renderings, number, warp, tempo)
            row, start = self.rows[number], at / 100
            times = [(start + a * scale, start + b * scale) for a, b in row["words"]]
            fits = times[-1][1] * 100 <= frames - 1
            if not fits and wanted < frames:
                break
            size = min(len(sound), frames - at)
            mel[at : at + size] = np.maximum(mel[at : at + size], sound[:size] + rng.normal(0, 0.1))
            for word, (a, b) in zip(row["text"].strip(".").lower().split(), times, strict=True):
                edges = np.round(np.linspace(a, b, STATES + 1) * 50).astype(int)
                for state in range(STATES):
                    labels[edges[state] : edges[state + 1]] = 1 + STATES * WORD_ID[word] + state
            end = min(at + len(sound), frames)
            if not fits:
                window.cut = times[0][0] if times[0][0] * 100 < frames - 2 else None
                break
            window.sentences.append((row["text"], times))
            pause = rng.uniform(1.2, 6) if sparse or rng.random() < 0.06 else rng.uniform(0.2, 1.2)
            at += len(sound) + int((pause - 0.1) * 100)
        if speechless:
            end = int(rng.uniform(50, frames + 300))
        content = frames
        if window.cut is None and wanted < frames:
            content = int(end + rng.choice([0, 5, rng.uniform(0, 150)]))
        self._disturb(rng, window, min(max(content, end, 20), frames))
        return window

    def _disturb(self, rng: np.random.Generator, window: Window, content: int) -> None:
        """Background, filter, level, masks; then Whisper's clamping and scaling and its zeros after the content."""
        mel = window.mel
        frames = len(mel)
        if not window.sentences and window.cut is None:
            if rng.random() < 0.85:
                mel = np.maximum(mel, self._background(rng, frames) + rng.uniform(-4, 0.5))
        elif rng.random() < 0.5:
            behind = self._background(rng, frames) - rng.uniform(1.2, 4)
            mel = np.logaddexp(mel * LN10, behind * LN10) / LN10
        if rng.random() < 0.8:  # a quiet room: the floor of a recording is seldom digital zero
            mel = np.maximum(mel, rng.uniform(-9, -4) + rng.normal(0, 0.25, mel.shape).astype(np.float32))
        x = np.linspace(0, np.pi, 80)
        curve = sum(rng.normal(0, 0.15) * np.cos(k * x + rng.uniform(0, 6)) for k in range(1, 5))
        if rng.random() < 0.15:  # a telephone, a codec: the top is gone
            curve = curve - 3 / (1 + np.exp(-(np.arange(80) - rng.uniform(55, 78)) / 1.5))
        mel = mel + (curve + rng.uniform(-1.5, 0.7)).astype(np.float32)
        mel[mel < -10] = -10
        mel = np.maximum(mel, mel[:content].max() - 8)
        mel = (mel + 4) / 4
        for _ in range(rng.integers(0, 3)):
            band = rng.integers(0, 76)
            mel[:, band : band + rng.integers(1, 8)] = mel[:content].mean()
        for _ in range(rng.integers(0, content // 300 + 1)):
            start = rng.integers(0, content)
            mel[start : start + rng.integers(1, 8)] = mel[:content].mean()
        mel[content:] = 0
        window.mel = np.ascontiguousarray(mel.T, np.float32)

    def _background(self, rng: np.random.Generator, frames: int) -> np.ndarray:
        start = rng.integers(0, self.noises.shape[1] - frames + 1)
        return np.asarray(self.noises[rng.integers(len(self.noises)), start : start + frames], np.float32)
