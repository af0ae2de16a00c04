"""The codes of a clip as they lie in data/codes/<family>: arrays by name in one .safetensors file.

The same arrays give the same bytes, and nothing of a model is loaded to read them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from timbre.core.errors import DataError
from timbre.core.records import Clip, Example
from timbre.families.protocol import Codes, SpeakerTag, Turn

SUFFIX = ".safetensors"


def to_bytes(codes: Codes) -> bytes:
    content: bytes = save({name: np.ascontiguousarray(array) for name, array in codes.items()})
    return content


def turn(example: Example, folder: Path) -> Turn:
    """What is said in a clip of the dataset, with its codes."""
    speaker = SpeakerTag(example.number, example.source)
    return Turn(example.text, read(folder, example.id), example.language, speaker, Path(example.audio))


def opening_end(clip: Example | Clip, longest: float) -> tuple[int, float] | None:
    """Characters and seconds of the first sentences of a clip, as many as take at most `longest` seconds."""
    if clip.seconds <= longest:
        return len(clip.text), clip.seconds
    fitting = [(int(characters), end) for characters, end in clip.sentence_ends if end <= longest]
    return fitting[-1] if fitting else None


def opening(turn: Turn, example: Example, longest: float) -> Turn | None:
    """The turn, or as many of its sentences as take at most `longest` seconds; None where the first takes longer.

    Only of codes that are frames, one after the other, and nothing of the whole sound beside them.
    """
    if example.seconds <= longest or turn.codes is None:
        return turn
    if (until := opening_end(example, longest)) is None or set(turn.codes) != {"codes"}:
        return None
    characters, end = until
    kept = int(frames(turn.codes) * end / example.seconds)
    return turn._replace(text=turn.text[:characters], codes={"codes": turn.codes["codes"][:kept]}, clip=None)


def read(folder: Path, clip: str) -> Codes:
    try:
        codes: Codes = load_file(folder / f"{clip}{SUFFIX}")
    except (OSError, SafetensorError) as error:
        raise DataError(f"{clip}: no codes of this clip in {folder}; `dvc repro encode` makes them") from error
    return codes


def frames(codes: Codes) -> int:
    return len(codes["codes"])
