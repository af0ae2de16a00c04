"""flite and espeak-ng as one: a voice speaks a sentence, and the times of its words come along.

Reads and writes nothing but a temporary file; needs Debian's flite and espeak-ng.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

RATE = 16_000  # Hz
EDGE = RATE // 20  # 50 ms of near-silence is left on each side of the speech


@dataclass(frozen=True)
class Voice:
    engine: str  # flite or espeak
    name: str
    speed: float = 1.0  # played this much faster: pitch and formants move together, the tempo is restored
    seen: bool = True  # False: held out of every training


@functools.cache
def flite_phones(voice: str, word: str) -> int:
    """How many phones the word has; a pause at each end is not one."""
    command = ["flite", "-voice", voice, "-ps", "-t", word, "-o", "/dev/null"]
    return len(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()) - 2


def flite_words(voice: str, text: str, printed: str) -> list[list[float]]:
    """Times of words from what -psdur prints: 'pau:0.203 dh:0.251 …' (a phone and its end)."""
    ends = [(phone.split(":")[0], float(phone.split(":")[1])) for phone in printed.split()]
    spans = [[a[1], b[1]] for a, b in itertools.pairwise(ends) if b[0] != "pau"]
    counts = [flite_phones(voice, word) for word in text.strip(".").lower().split()]
    if sum(counts) != len(spans):
        raise ValueError(f"{voice}: {text}: {len(spans)} phones where its words have {sum(counts)}")
    firsts = np.cumsum([0, *counts])
    return [[spans[a][0], spans[b - 1][1]] for a, b in itertools.pairwise(firsts)]


class EspeakEvent(ctypes.Structure):
    _fields_ = [(n, ctypes.c_int) for n in ("type", "id", "position", "length", "milliseconds", "sample")]
    _fields_ += [("user", ctypes.c_void_p), ("phone", ctypes.c_char * 8)]


@functools.cache
def espeak() -> ctypes.CDLL:
    library = ctypes.CDLL("libespeak-ng.so.1")
    library.espeak_Initialize(2, 0, None, 1)  # synchronous, with phone events
    return library


def espeak_words(voice: str, text: str, rate: int) -> list[list[float]]:
    """Times of words from the library's phone events, which name the place in the text where their word begins.

    What espeak-ng speaks as one ("from the") shares its time by letters.
    """
    begins: dict[int, float] = {}  # text position of a word: its first phone, seconds
    callback_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(EspeakEvent))

    def collect(_: Any, __: int, events: Any) -> int:
        for number in range(10_000):
            if events[number].type == 0:  # the last of a block
                break
            if events[number].type == 7:  # a phone
                begins.setdefault(events[number].position - 1, events[number].milliseconds / 1000)
        return 0

    library = espeak()
    library.espeak_SetVoiceByName(voice.encode())
    library.espeak_SetParameter(1, rate, 0)
    callback = callback_type(collect)
    library.espeak_SetSynthCallback(callback)
    library.espeak_Synth(text.encode(), len(text) + 1, 0, 1, 0, 1, None, None)
    known = sorted(position for position in begins if position < len(text) - 1)
    final = max(begins.values())  # the closing pause has a place behind the text
    places = np.interp(
        [m for w in re.finditer(r"\w+", text) for m in w.span()],
        [*known, len(text) - 1],
        [*map(begins.get, known), final],
    )
    return [[float(a), float(b)] for a, b in places.reshape(-1, 2)]


def speak(voice: Voice, text: str, tempo: float, level: float) -> tuple[np.ndarray, list[list[float]]]:
    """Mono float32 at 16 kHz, speech at the given RMS, trimmed to 50 ms around it; and its words' times."""
    stretch = voice.speed / tempo
    with tempfile.NamedTemporaryFile(suffix=".wav", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as file:
        if voice.engine == "flite":
            command = ["flite", "-voice", voice.name, "--setf", f"duration_stretch={stretch:.4f}", "-psdur"]
            command += ["-t", text, "-o", file.name]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            words = flite_words(voice.name, text, printed)
        else:
            rate = round(160 / stretch)  # words a minute
            command = ["espeak-ng", "-v", voice.name, "-s", str(rate), "-w", file.name, text]
            subprocess.run(command, check=True, capture_output=True)
            words = espeak_words(voice.name, text, rate)
        audio, rate = soundfile.read(file.name, dtype="float32")
    audio = soxr.resample(audio, rate * voice.speed, RATE).astype(np.float32)
    frames = audio[: len(audio) // 160 * 160].reshape(-1, 160)  # 10 ms
    loud = np.flatnonzero(np.abs(frames).max(1) > 0.01 * np.abs(audio).max())
    start, end = loud[0] * 160, (loud[-1] + 1) * 160
    audio = audio * (level / np.sqrt(np.mean(audio[start:end] ** 2)))
    audio = np.pad(audio, EDGE)[start : end + 2 * EDGE]
    shift, length = (EDGE - start) / RATE, (end - start) / RATE + 0.05
    words = [[round(float(min(max(t / voice.speed + shift, 0.05), length)), 3) for t in word] for word in words]
    return np.clip(audio, -0.99, 0.99), words
