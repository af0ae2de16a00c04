"""How something is said, whatever the words: for how long somebody speaks, and whether it was recorded too loud.

Each question has its one answer here: the stages, the review page and the booth ask it, so that none calls a take
clipped, or silent, that another finds in order. (Silero, which `chunk` asks by default, knows voices from noise; what
is here goes by level alone, for short sounds of which one knows that a voice is in them.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from timbre import audio
from timbre.audio import LEVEL_WINDOW, Samples

LOUD = 95  # percentile of the levels that counts as the loud parts: a click is no voice
QUIET = 10  # percentile of the levels that counts as what is heard while nobody speaks
BELOW = 30  # dB under the loud parts, where speech ends
ABOVE = 8  # dB over the quiet parts, where it begins: noise itself varies so much
FAINT = 10 ** (-60 / 20)  # of full scale; below, nothing is speech, however quiet the rest
STOP = 0.15  # seconds; a shorter gap is a consonant and not a pause
FULL = 0.995  # of full scale, where a microphone, an editor or a model ran out of room: a converter's may lie below 1 …
RUN = 3  # … for so many samples in a row; one alone is a peak that just fits

Array = npt.NDArray[np.float64]


def speech_level(levels: npt.NDArray[np.floating]) -> float:
    """The level (RMS, see audio.levels) above which somebody speaks.

    BELOW the loud parts; where the room is louder than that, ABOVE its noise, but at most half-way to the voice."""
    if not len(levels):
        return FAINT
    noise, loud = np.percentile(levels, [QUIET, LOUD])
    noise = max(float(noise), float(loud) * 10 ** (-2 * BELOW / 20))
    least = max(noise * 10 ** (ABOVE / 20), float(loud) * 10 ** (-BELOW / 20))
    return float(max(min(least, np.sqrt(noise * loud)), FAINT))


def spoken(levels: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """For each level whether somebody speaks there; gaps shorter than STOP belong to the words around them."""
    flags = levels > speech_level(levels)
    places = np.flatnonzero(flags)
    gaps = np.diff(places) - 1
    for place in np.flatnonzero((gaps > 0) & (gaps < STOP / LEVEL_WINDOW)):
        flags[places[place] : places[place + 1]] = True
    return flags


def speech_seconds(samples: Samples, rate: int) -> float:
    """Time that is spoken in; the pauses between, before and after left out."""
    return float(spoken(audio.levels(samples, rate)).sum() * LEVEL_WINDOW)


def clipped_runs(samples: Samples) -> npt.NDArray[np.int64]:
    """(runs, 2) first sample, and the one after the last, of each run at full scale: what was louder there is lost."""
    full = (np.abs(samples) >= FULL).astype(np.int8)
    edges = np.flatnonzero(np.diff(full, prepend=0, append=0)).reshape(-1, 2)
    return np.asarray(edges[edges[:, 1] - edges[:, 0] >= RUN], np.int64)


def clipped_share(samples: Samples) -> float:
    runs = clipped_runs(samples)
    return float((runs[:, 1] - runs[:, 0]).sum() / max(1, len(samples)))


def is_clipped(samples: Samples) -> bool:
    return len(clipped_runs(samples)) > 0
