"""Short sounds to add, record or import."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000  # Hz


def write_tone(path: Path, number: int = 0, seconds: float = 1.0) -> Path:
    """A hum; another `number` is another sound."""
    time = np.arange(round(seconds * RATE)) / RATE
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * (150 + 20 * number) * time), RATE)
    return path
