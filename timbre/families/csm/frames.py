"""Frames of CSM's codes, as they go through its decoder and its codec."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.int16]  # (frames, codebooks); of one frame (codebooks)


class SpokenFrames(NamedTuple):
    codes: Frames
    ended: bool  # by its own end, not by the cap
