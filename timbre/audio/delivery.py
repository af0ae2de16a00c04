"""How something is said, whatever the words: how fast, with how much pause, clipped or not."""

from __future__ import annotations

import numpy as np

from timbre import audio
from timbre.audio import Samples

BELOW = 30  # dB under the loud parts, where speech ends
LOUD = 95  # percentile of the levels that counts as the loud parts: a click is no voice
FAINT = 10 ** (-60 / 20)  # of full scale; below, nothing is speech, however quiet the rest
STOP = 0.15  # seconds; a shorter gap is a consonant and not a pause
CLIPPED = 0.999  # of full scale: where a microphone, an editor or a model ran out of room …
IN_A_ROW = 3  # … for so many samples that one hears it


def speech_seconds(samples: Samples, rate: int) -> float:
    """Time that is spoken in; the pauses between, before and after left out."""
    levels = audio.levels(samples, rate)
    if not len(levels):
        return 0.0
    loud = levels > max(float(np.percentile(levels, LOUD)) * 10 ** (-BELOW / 20), FAINT)
    spoken = np.flatnonzero(loud)
    gaps = np.diff(spoken) - 1
    short = gaps[gaps < STOP / audio.LEVEL_WINDOW].sum()
    return float((len(spoken) + short) * audio.LEVEL_WINDOW)


def is_clipped(samples: Samples) -> bool:
    full = np.flatnonzero(np.abs(samples) >= CLIPPED)
    return bool((full[IN_A_ROW - 1 :] - full[: len(full) - IN_A_ROW + 1] == IN_A_ROW - 1).any())
