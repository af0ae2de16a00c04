"""The codes of a clip as they lie in data/codes/<family>: arrays by name in one .safetensors file.

The same arrays give the same bytes, and nothing of a model is loaded to read them. What a training learns
from stays on the disk until it is asked for, and the last files are kept: the codes of a thousand hours take no more
memory than those of one.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from timbre.core.errors import DataError
from timbre.core.records import Clip, Example
from timbre.families.protocol import Codes, SpeakerTag, Turn
from timbre.mapping import shards

SUFFIX = ".safetensors"
KEPT = 256  # files whose arrays stay in memory: more than the batches that are made ahead


class StoredCodes(Mapping[str, npt.NDArray[Any]]):
    """Codes of a clip that stay in their file until they are asked for; of its opening, the first `until` frames."""

    def __init__(self, path: Path, until: int | None = None) -> None:
        self.path, self.until = path, until
        with _told(path):
            self.names, whole = _about(path)
        self.frames = whole if until is None else min(until, whole)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name not in self.names:
            raise KeyError(name)
        with _told(self.path):
            changed = shards.carrier(self.path).stat().st_mtime_ns
        return _arrays(self.path, changed)[name][: self.until]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process, on another machine maybe, is given the arrays themselves."""
        return dict, (dict(self),)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{path.stem}: no codes of this clip in {path.parent}; `dvc repro encode` makes them"
        ) from error


def _about(path: Path) -> tuple[tuple[str, ...], int]:
    """Names of the arrays, and frames; of a file by itself, its header alone is read."""
    if not path.exists():
        arrays = load(shards.read(path))
        return tuple(arrays), len(arrays["codes"])
    with safe_open(path, framework="numpy") as file:
        return tuple(file.keys()), int(file.get_slice("codes").get_shape()[0])


@functools.lru_cache(maxsize=KEPT)
def _arrays(path: Path, changed: int) -> Codes:
    return read(path.parent, path.stem)


def to_bytes(codes: Codes) -> bytes:
    content: bytes = save({name: np.ascontiguousarray(array) for name, array in codes.items()})
    return content


def turn(example: Example, folder: Path) -> Turn:
    """What is said in a clip of the dataset, with its codes."""
    return _turn(example, read(folder, example.id))


def stored_turn(example: Example, folder: Path) -> Turn:
    """The same, with codes that stay in their file until they are asked for."""
    return _turn(example, StoredCodes(folder / f"{example.id}{SUFFIX}"))


def _turn(example: Example, codes: Codes) -> Turn:
    speaker = SpeakerTag(example.number, example.source)
    return Turn(example.text, codes, example.language, speaker, Path(example.audio))


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
    if isinstance(turn.codes, StoredCodes):
        codes: Codes = StoredCodes(turn.codes.path, kept)
    else:
        codes = {"codes": turn.codes["codes"][:kept]}
    return turn._replace(text=turn.text[:characters], codes=codes, clip=None)


def read(folder: Path, clip: str) -> Codes:
    path = folder / f"{clip}{SUFFIX}"
    with _told(path):
        codes: Codes = load(shards.read(path))
    return codes


def key(folder: Path, clip: str) -> str:
    """The content key that the codes were made from."""
    return str(json.loads(shards.read(folder / f"{clip}.json"))["key"])


def frames(codes: Codes) -> int:
    return codes.frames if isinstance(codes, StoredCodes) else len(codes["codes"])
