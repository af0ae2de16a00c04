"""The file of a clip: its spans of the recording, faded at every cut, joined, and brought to one loudness."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from timbre import audio
from timbre.audio import delivery, loudness
from timbre.mapping.batch import Files

FADE = 0.005  # seconds in and out at every cut: nobody hears it, and a jump would click


@dataclass(frozen=True)
class Cut:
    """What the file of a clip is made from."""

    recording: Path
    spans: list[list[float]]  # seconds
    loudness: float | None  # LUFS
    key: str


def cut(cuts: Sequence[Cut]) -> Iterator[Files]:
    for job in cuts:
        pieces = []
        for start, end in job.spans:
            samples, rate = audio.read(job.recording, start=start, end=end)
            ramp = np.linspace(0, 1, min(round(FADE * rate), len(samples) // 2), endpoint=False, dtype=np.float32)
            samples[: len(ramp)] *= ramp
            samples[len(samples) - len(ramp) :] *= ramp[::-1]
            pieces.append(samples)
        joined = np.concatenate(pieces)
        gain = 0.0 if job.loudness is None else loudness.gain(joined, rate, job.loudness)
        record = {"key": job.key, "gain": gain, "clipped": round(delivery.clipped_share(joined), 6)}
        flac = audio.flac_bytes(loudness.amplified(joined, gain), rate)
        yield {".flac": flac, ".json": f"{json.dumps(record)}\n".encode()}
